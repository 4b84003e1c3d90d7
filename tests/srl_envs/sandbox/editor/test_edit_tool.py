"""The file tool, on real files in a folder and against observations recorded with SWE-agent."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.commands import GRAMMARS
from srl_envs.sandbox import DockerSandbox, SandboxLimits
from srl_envs.sandbox.editor.edit_tool import COMMANDS, MAX_FILE_BYTES, MAX_SHOWN_CHARS, EditTool
from srl_envs.sandbox.editor.file_text import FileText
from srl_envs.sandbox.protocol import SandboxError, SandboxFileError

MARK = "<response clipped><NOTE>To save on context only part of this file has been shown to you."


class FolderSandbox:
    """The file calls of a sandbox on a folder that stands for its root."""

    workdir = "/testbed"
    limit = 2_000_000

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "testbed").mkdir()

    def real(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def read_file(self, path: str) -> bytes:
        try:
            content = self.real(path).read_bytes()
        except OSError as error:
            raise SandboxFileError(f"{path}: {error.strerror}") from error
        if len(content) > self.limit:
            raise SandboxFileError(f"{path} is larger than {self.limit} bytes")
        return content

    def write_file(self, path: str, content: str | bytes) -> None:
        try:
            self.real(path).parent.mkdir(parents=True, exist_ok=True)
            self.real(path).write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise SandboxFileError(f"{path}: {error.strerror}") from error

    def list_files(self, path: str, depth: int = 1) -> list[str]:
        top = self.real(path)
        if not top.exists():
            raise SandboxFileError(f"No such file or folder: {path}")
        found = (
            [
                top,
                *(entry for entry in top.rglob("*") if len(entry.relative_to(top).parts) <= depth),
            ]
            if top.is_dir()
            else [top]
        )
        return sorted(
            "/"
            + f"{entry.relative_to(self.root)}/".removeprefix("./")[
                : None if entry.is_dir() else -1
            ]
            for entry in found
        )


@pytest.fixture
def sandbox(tmp_path: Path) -> FolderSandbox:
    return FolderSandbox(tmp_path)


def put(sandbox: FolderSandbox, content: str | bytes, path: str = "/testbed/a.txt") -> EditTool:
    sandbox.write_file(path, content)
    return EditTool(sandbox)


def call(tool: EditTool, command: str, path: str = "/testbed/a.txt", **arguments: str) -> str:
    return tool.run({"command": command, "path": path, **arguments})


def test_view_numbers_the_lines_and_expands_tabs(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, "one\n\ttwo\n\nfour")
    assert (
        call(tool, "view")
        == "Here's the result of running `cat -n` on /testbed/a.txt:\n     1\tone\n     "
        "2\t        two\n     3\t\n     4\tfour"
    )
    assert call(tool, "view", "//testbed/./a.txt") == call(tool, "view"), (
        "a path is shown in its normal form"
    )


@pytest.mark.parametrize("content", ["", "\n", "a\n"])
def test_view_of_an_almost_empty_file(sandbox: FolderSandbox, content: str) -> None:
    lines = content.split("\n")
    expected = "\n".join(
        [
            "Here's the result of running `cat -n` on /testbed/a.txt:",
            *(f"{i:6}\t{line}" for i, line in enumerate(lines, 1)),
        ]
    )
    assert call(put(sandbox, content), "view") == expected.rstrip()


@pytest.mark.parametrize(
    ("view_range", "shown"),
    [
        ("[2, 3]", [2, 3]),
        ("[3,-1]", [3, 4]),
        (" [ 1 , 1 ] ", [1]),
        ("[1, 4]", [1, 2, 3, 4]),
        ("", [1, 2, 3, 4]),
    ],
)
def test_view_of_a_range(sandbox: FolderSandbox, view_range: str, shown: list[int]) -> None:
    seen = call(put(sandbox, "l1\nl2\nl3\nl4"), "view", view_range=view_range)
    assert seen.splitlines()[1:] == [f"{number:6}\tl{number}" for number in shown]


@pytest.mark.parametrize(
    ("view_range", "reason"),
    [
        (
            "[0, 2]",
            "Invalid `view_range`: [0, 2]. Its first element `0` should be within the "
            "range of lines of the file: [1, 4]",
        ),
        (
            "[5, 5]",
            "Invalid `view_range`: [5, 5]. Its first element `5` should be within the "
            "range of lines of the file: [1, 4]",
        ),
        (
            "[1, 9]",
            "Invalid `view_range`: [1, 9]. Its second element `9` should be smaller "
            "than the number of lines in the file: `4`",
        ),
        (
            "[3, 2]",
            "Invalid `view_range`: [3, 2]. Its second element `2` should be larger or "
            "equal than its first `3`",
        ),
        (
            "[2, -2]",
            "Invalid `view_range`: [2, -2]. Its second element `-2` should be larger or "
            "equal than its first `2`",
        ),
        *(
            (text, "Invalid `view_range`. It should be a list of two integers.")
            for text in ["[1]", "1, 2", "[1, 2, 3]", "[a, 2]", "[1.0, 2]", "[" * 10**5]
        ),
        (f"[1, {'9' * 5000}]", "Invalid `view_range`. It should be a list of two integers."),
    ],
)
def test_view_of_a_wrong_range(sandbox: FolderSandbox, view_range: str, reason: str) -> None:
    assert call(put(sandbox, "l1\nl2\nl3\nl4"), "view", view_range=view_range) == reason


def test_view_of_a_folder_shows_two_levels_without_hidden_names(sandbox: FolderSandbox) -> None:
    for path in ["setup.py", "pkg/a.py", "pkg/sub/deep.py", ".git/config", "pkg/.hidden"]:
        sandbox.write_file(f"/testbed/{path}", "")
    shown = [
        "/testbed",
        "/testbed/pkg",
        "/testbed/pkg/a.py",
        "/testbed/pkg/sub",
        "/testbed/setup.py",
    ]
    tool = EditTool(sandbox)
    for path in ["/testbed", "/testbed/"]:
        header, *lines = call(tool, "view", path).splitlines()
        assert (
            header == "Here's the files and directories up to 2 levels deep in /testbed, "
            "excluding hidden items:"
        )
        assert lines == shown
    assert call(tool, "view", "/").splitlines()[1:] == [
        "/",
        "/testbed",
        "/testbed/pkg",
        "/testbed/setup.py",
    ]
    assert (
        call(tool, "view", "/testbed", view_range="[1, 2]")
        == "The `view_range` parameter is not allowed when `path` points to a directory."
    )


def test_a_hidden_folder_that_is_asked_for_is_shown(sandbox: FolderSandbox) -> None:
    sandbox.write_file("/testbed/.github/ci.yml", "")
    assert call(EditTool(sandbox), "view", "/testbed/.github").splitlines()[1:] == [
        "/testbed/.github",
        "/testbed/.github/ci.yml",
    ]


def test_long_files_are_clipped(sandbox: FolderSandbox) -> None:
    seen = call(put(sandbox, "0123456789\n" * 100_000), "view")
    head, mark, _ = seen.partition(MARK)
    assert mark and head.endswith("  1455\t012345"), (
        "16,000 characters of the file, line numbers not counted"
    )
    one_line = call(put(sandbox, "x" * 1_000_000), "view")
    assert len(one_line) < MAX_SHOWN_CHARS + 1000


def test_a_file_larger_than_the_sandbox_gives_is_an_observation(sandbox: FolderSandbox) -> None:
    seen = call(put(sandbox, b"x" * (sandbox.limit + 1)), "view")
    assert (
        seen == "Ran into /testbed/a.txt is larger than 2000000 bytes while trying to read "
        "/testbed/a.txt"
    )


@pytest.mark.parametrize("command", ["view", "str_replace", "insert", "undo_edit"])
def test_a_file_of_millions_of_lines_is_not_opened(sandbox: FolderSandbox, command: str) -> None:
    sandbox.limit = 2 * MAX_FILE_BYTES
    seen = call(
        put(sandbox, b"\n" * (MAX_FILE_BYTES + 1)),
        command,
        old_str="a",
        new_str="b",
        insert_line="0",
    )
    assert (
        seen == "Ran into a file of 4194305 bytes, more than 4194304, "
        "while trying to read /testbed/a.txt"
    )


ODD_PATHS = [
    "/tmp/large",
    "/tmp/circle",
    "/tmp/pipe",
    "/tmp/file/below",
    "/tmp/nowhere/below",
    "/dev/null",
    "/dev/shm/new",
    "/proc/self/mem",
    "/proc/new",
    "/tmp/" + "n" * 300,
    "/tmp/" + "n/" * 3000,
    "/tmp/nul\0",
    "/tmp/\ud800",
    "/",
    "/tmp/new",
]


@pytest.mark.docker
def test_whatever_a_real_sandbox_says_of_a_path_is_an_observation(base_image: str) -> None:
    with DockerSandbox(
        base_image, workdir="/tmp", limits=SandboxLimits(cpus=0.5, memory_mib=256, read_mib=1)
    ) as sandbox:
        sandbox.run(
            "head -c 1500000 /dev/zero > large; ln -s circle circle; mkfifo pipe; "
            "touch file; ln -s /nowhere/x nowhere"
        )
        tool = EditTool(sandbox)
        for path in ODD_PATHS:
            for command in COMMANDS:
                seen = call(
                    tool, command, path, old_str="a", new_str="b", file_text="x", insert_line="0"
                )
                assert seen and len(seen) < MAX_SHOWN_CHARS + 1000
        for command in ("view", "str_replace", "insert", "undo_edit"):
            seen = call(tool, command, "/tmp/large", old_str="a", new_str="b", insert_line="0")
            assert seen.startswith(
                "Ran into /tmp/large: 1500000 bytes are more than"
            ) and seen.endswith("may have while trying to read /tmp/large")
        seen = call(tool, "create", "/tmp/more", file_text="x" * 1_500_000)
        assert seen.startswith("Ran into /tmp/more: 1500000 bytes") and seen.endswith(
            "may have while trying to write to /tmp/more"
        )


def test_create_writes_the_text_as_it_is(sandbox: FolderSandbox) -> None:
    tool = EditTool(sandbox)
    assert (
        call(tool, "create", file_text="a\r\n\tb") == "File created successfully at: /testbed/a.txt"
    )
    assert sandbox.read_file("/testbed/a.txt") == b"a\r\n\tb"
    assert (
        call(tool, "create", "/testbed/empty", file_text="")
        == "File created successfully at: /testbed/empty"
    )
    assert sandbox.read_file("/testbed/empty") == b""


def test_create_changes_nothing_that_is_there(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, "old")
    assert (
        call(tool, "create", file_text="new")
        == "File already exists at: /testbed/a.txt. Cannot overwrite files using command `create`."
    )
    assert (
        call(tool, "create", "/testbed", file_text="new")
        == "File already exists at: /testbed. Cannot overwrite files using command `create`."
    )
    assert sandbox.read_file("/testbed/a.txt") == b"old"
    seen = call(tool, "create", "/testbed/no/such/b.txt", file_text="new")
    assert seen == "The parent directory /testbed/no/such does not exist. Please create it first."
    assert "while trying to write to /testbed/a.txt/b" in call(
        tool, "create", "/testbed/a.txt/b", file_text="new"
    ), "a file in the place of a folder"


def test_str_replace_shows_the_surroundings(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, "".join(f"l{number}\n" for number in range(1, 21)))
    seen = call(tool, "str_replace", old_str="l10\nl11", new_str="new\nlines\nhere")
    assert seen == (
        "The file /testbed/a.txt has been edited. "
        "Here's the result of running `cat -n` on a snippet of /testbed/a.txt:\n"
        "     5\tl5\n     6\tl6\n     7\tl7\n     8\tl8\n     9\tl9\n"
        "    10\tnew\n    11\tlines\n    12\there\n"
        "    13\tl12\n    14\tl13\n    15\tl14\n"
        "Review the changes and make sure they are as expected. Edit the file again if necessary."
    )
    assert sandbox.read_file("/testbed/a.txt").decode().split() == [
        *(f"l{i}" for i in range(1, 10)),
        "new",
        "lines",
        "here",
        *(f"l{i}" for i in range(12, 21)),
    ]


def test_str_replace_without_new_str_deletes(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, "keep drop\n")
    call(tool, "str_replace", old_str=" drop")
    assert sandbox.read_file("/testbed/a.txt") == b"keep\n"
    call(tool, "str_replace", old_str="keep\n", new_str="")
    assert sandbox.read_file("/testbed/a.txt") == b""
    call(tool, "str_replace", old_str="", new_str="once\n")
    assert sandbox.read_file("/testbed/a.txt") == b"once\n", (
        "an empty text occurs once in an empty file"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"old_str": "zzz"},
            "No replacement was performed, old_str `zzz` did not appear verbatim in "
            "/testbed/a.txt.",
        ),
        (
            {"old_str": "b"},
            "No replacement was performed. Multiple occurrences of old_str `b` in lines "
            "[2, 4]. Please ensure it is unique",
        ),
        (
            {"old_str": "b\nc"},
            "No replacement was performed. Multiple occurrences of old_str `b\nc` in "
            "lines [2, 4]. Please ensure it is unique",
        ),
        (
            {"old_str": ""},
            "No replacement was performed. Multiple occurrences of old_str `` in lines "
            "[1, 2, 3, 4, 5]. Please ensure it is unique",
        ),
        (
            {"old_str": "a", "new_str": "a"},
            "No replacement was performed, old_str `a` is the same as new_str `a`.",
        ),
        ({"new_str": "x"}, "Parameter `old_str` is required for command: str_replace"),
    ],
)
def test_str_replace_that_cannot_be_done(
    sandbox: FolderSandbox, arguments: dict[str, str], reason: str
) -> None:
    tool = put(sandbox, "a\nb b\nc\nb\nc")
    assert call(tool, "str_replace", **arguments) == reason
    assert sandbox.read_file("/testbed/a.txt") == b"a\nb b\nc\nb\nc"


def test_line_ends_tabs_and_missing_last_line_end_stay(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, b"all:\r\n\tmake x\r\nunix\n\tmake y\rlast\tone")
    call(tool, "str_replace", old_str="make x", new_str="make x\n\tmake z")
    call(tool, "str_replace", old_str="unix\n", new_str="unix\r\nagain\r\n")
    assert (
        sandbox.read_file("/testbed/a.txt")
        == b"all:\r\n\tmake x\r\n\tmake z\r\nunix\nagain\n\tmake y\rlast\tone"
    )
    call(tool, "insert", insert_line="7", new_str="end")
    assert sandbox.read_file("/testbed/a.txt").endswith(b"\tmake y\rlast\tone\r\nend")


def test_text_copied_from_what_was_shown_matches_tabs(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, b"func f() {\n\treturn 1\n}\n\tkept\n")
    seen = call(tool, "str_replace", old_str="        return 1", new_str="        return 2")
    assert "     2\t        return 2\n" in seen
    assert sandbox.read_file("/testbed/a.txt") == b"func f() {\n        return 2\n}\n\tkept\n"


@pytest.mark.parametrize(
    ("line", "content"),
    [
        ("0", "x\ny\na\nb\n"),
        ("1", "a\nx\ny\nb\n"),
        ("2", "a\nb\nx\ny\n"),
        ("3", "a\nb\n\nx\ny"),
        (" 1 ", "a\nx\ny\nb\n"),
    ],
)
def test_insert_puts_lines_after_a_line(sandbox: FolderSandbox, line: str, content: str) -> None:
    call(put(sandbox, "a\nb\n"), "insert", insert_line=line, new_str="x\ny")
    assert sandbox.read_file("/testbed/a.txt").decode() == content


def test_insert_shows_four_lines_around(sandbox: FolderSandbox) -> None:
    seen = call(
        put(sandbox, "".join(f"l{number}\n" for number in range(1, 21))),
        "insert",
        insert_line="10",
        new_str="new",
    )
    assert seen == (
        "The file /testbed/a.txt has been edited. "
        "Here's the result of running `cat -n` on a snippet of the edited file:\n"
        "     7\tl7\n     8\tl8\n     9\tl9\n    10\tl10\n    11\tnew\n    12\tl11\n    "
        "13\tl12\n    14\tl13\n    15\tl14\n"
        "Review the changes and make sure they are as expected (correct indentation, "
        "no duplicate lines, etc). Edit the file again if necessary."
    )


@pytest.mark.parametrize("line", ["-1", "4", "x", "", "1.0", "9" * 5000])
def test_insert_outside_the_file(sandbox: FolderSandbox, line: str) -> None:
    seen = call(put(sandbox, "a\nb\n"), "insert", insert_line=line, new_str="x")
    assert (
        seen == f"Invalid `insert_line` parameter: {line}. "
        "It should be within the range of lines of the file: [0, 3]"
    )
    assert sandbox.read_file("/testbed/a.txt") == b"a\nb\n"


def test_undo_goes_back_edit_by_edit(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, b"a\r\n")
    other = put(sandbox, "other", "/testbed/b.txt")
    call(tool, "str_replace", old_str="a", new_str="b")
    call(tool, "insert", insert_line="1", new_str="c")
    seen = call(tool, "undo_edit")
    assert (
        seen == "Last edit to /testbed/a.txt undone successfully. "
        "Here's the result of running `cat -n` on /testbed/a.txt:\n     1\tb\n     2"
    )
    assert sandbox.read_file("/testbed/a.txt") == b"b\r\n"
    assert call(tool, "undo_edit", "/testbed/b.txt") == "No edit history found for /testbed/b.txt."
    call(tool, "undo_edit")
    assert sandbox.read_file("/testbed/a.txt") == b"a\r\n"
    assert call(tool, "undo_edit") == "No edit history found for /testbed/a.txt."
    assert call(other, "undo_edit") == "No edit history found for /testbed/a.txt.", (
        "each tool has its own history"
    )


def test_undo_of_create_leaves_the_file_as_created(sandbox: FolderSandbox) -> None:
    tool = EditTool(sandbox)
    call(tool, "create", file_text="a")
    call(tool, "str_replace", old_str="a", new_str="b")
    assert "undone successfully" in call(tool, "undo_edit")
    assert "undone successfully" in call(tool, "undo_edit")
    assert sandbox.read_file("/testbed/a.txt") == b"a"
    assert call(tool, "undo_edit") == "No edit history found for /testbed/a.txt."


def test_a_refused_edit_leaves_no_history(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, "a")
    call(tool, "str_replace", old_str="zzz", new_str="b")
    call(tool, "str_replace", old_str="a", new_str="\udc80")
    assert call(tool, "undo_edit") == "No edit history found for /testbed/a.txt."


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {},
            "Parameter `command` is required. The allowed commands for the "
            'str_replace_editor tool are: "view", "create", "str_replace", "insert", '
            '"undo_edit"',
        ),
        (
            {"command": "delete", "path": "/testbed/a.txt"},
            "Unrecognized command delete. The allowed commands for the "
            'str_replace_editor tool are: "view", "create", "str_replace", "insert", '
            '"undo_edit"',
        ),
        ({"command": "view"}, "Parameter `path` is required for command: view"),
        (
            {"command": "create", "path": "/testbed/new"},
            "Parameter `file_text` is required for command: create",
        ),
        (
            {"command": "insert", "path": "/testbed/a.txt", "new_str": "x"},
            "Parameter `insert_line` is required for command: insert",
        ),
        (
            {"command": "insert", "path": "/testbed/a.txt", "insert_line": "1"},
            "Parameter `new_str` is required for command: insert",
        ),
        (
            {"command": "view", "path": "pkg/a.py"},
            "The path pkg/a.py is not an absolute path, it should start with `/`. "
            "Maybe you meant /testbed/pkg/a.py?",
        ),
        (
            {"command": "view", "path": "/testbed/none"},
            "The path /testbed/none does not exist. Please provide a valid path.",
        ),
        (
            {"command": "undo_edit", "path": "/testbed/none"},
            "The path /testbed/none does not exist. Please provide a valid path.",
        ),
        (
            {"command": "view", "path": "/test\0bed"},
            "The path '/test\\x00bed' does not exist. Please provide a valid path.",
        ),
        (
            {"command": "view", "path": "/\ud800"},
            "The path '/\\ud800' does not exist. Please provide a valid path.",
        ),
        (
            {"command": "str_replace", "path": "/testbed", "old_str": "a", "new_str": "b"},
            "The path /testbed is a directory and only the `view` command can be used "
            "on directories",
        ),
        (
            {"command": "undo_edit", "path": "/testbed"},
            "The path /testbed is a directory and only the `view` command can be used "
            "on directories",
        ),
    ],
)
def test_a_wrong_call_is_an_observation(
    sandbox: FolderSandbox, arguments: dict[str, str], reason: str
) -> None:
    assert put(sandbox, "a").run(arguments) == reason


def test_a_file_that_is_not_utf8_keeps_its_encoding(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, b"caf\xe9\n\xff\x00\n")
    assert call(tool, "view").splitlines()[1] == "     1\tcaf\xe9"
    call(tool, "str_replace", old_str="caf\xe9", new_str="th\xe9")
    assert sandbox.read_file("/testbed/a.txt") == b"th\xe9\n\xff\x00\n"
    seen = call(tool, "str_replace", old_str="th\xe9", new_str="\u20ac")
    assert seen.startswith("Ran into 'latin-1' codec can't encode character") and seen.endswith(
        "while trying to write to /testbed/a.txt"
    )
    assert sandbox.read_file("/testbed/a.txt") == b"th\xe9\n\xff\x00\n"


def test_a_failure_of_the_machinery_passes_through(sandbox: FolderSandbox) -> None:
    class Broken(FolderSandbox):
        def read_file(self, path: str) -> bytes:
            raise SandboxError("the daemon is down")

    (sandbox.root / "other").mkdir()
    with pytest.raises(SandboxError, match="daemon"):
        call(EditTool(Broken(sandbox.root / "other")), "view")


def test_a_large_file_is_edited(sandbox: FolderSandbox) -> None:
    tool = put(sandbox, "0123456\t\r\n" * 190_000 + "end\r\n", "/testbed/big.py")
    assert "\n190001\tEND\n" in call(
        tool, "str_replace", "/testbed/big.py", old_str="end", new_str="END"
    )
    assert sandbox.read_file("/testbed/big.py").endswith(b"0123456\t\r\nEND\r\n")
    for often in ["", "0"]:
        seen = call(tool, "str_replace", "/testbed/big.py", old_str=often, new_str="x")
        assert (
            seen.startswith(
                "No replacement was performed. Multiple occurrences of old_str "
                f"`{often}` in lines [1, 2, 3,"
            )
            and MARK in seen
        )


def test_a_long_python_file_is_abbreviated(sandbox: FolderSandbox) -> None:
    body = "".join(f"    x{number} = {number}\n" for number in range(1500))
    tool = put(
        sandbox,
        f"import os\n\n\ndef long():\n{body}\n\ndef short():\n    return 1\n",
        "/testbed/a.py",
    )
    head, *lines, tail = call(tool, "view", "/testbed/a.py").splitlines()
    assert head.startswith("<NOTE>This file is too large to display entirely.") and tail.startswith(
        "<IMPORTANT><NOTE>The above file has been abbreviated."
    )
    assert [line.strip() for line in lines] == [
        *["1 import os", "2", "3", "4 def long():", "5 ... eliding lines 5-1504 ..."],
        *["1505", "1506", "1507 def short():", "1508     return 1"],
    ]
    call(tool, "insert", "/testbed/a.py", insert_line="1508", new_str='"""open string')
    assert call(tool, "view", "/testbed/a.py").startswith(
        "Here's the result of running `cat -n` on /testbed/a.py:\n     1\timport os\n"
    )


CONTENTS = st.one_of(
    st.binary(),
    st.text(alphabet=st.sampled_from("ab\t\r\n\x0c\u2028\xe9")).map(lambda text: text.encode()),
)


@given(CONTENTS)
def test_reading_and_writing_loses_no_byte(content: bytes) -> None:
    text = FileText.of(content)
    assert text.text.encode(text.encoding) == content
    assert "\r" not in text.shown


LINES = st.lists(st.text(alphabet="ab\t", max_size=3), min_size=1, max_size=6)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), LINES, st.data())
def test_an_edit_changes_its_lines_only(
    lines: list[str], end: str, new: list[str], data: st.DataObject
) -> None:
    text = FileText.of(end.join(lines).encode())
    first = data.draw(st.integers(0, len(lines) - 1))
    last = data.draw(st.integers(first, len(lines) - 1))
    if len(lines) > 1:
        assert text.with_lines(first, last, new).text == end.join(
            [*lines[:first], *new, *lines[last + 1 :]]
        )
        assert text.with_inserted(first, new).text == end.join(
            [*lines[:first], *new, *lines[first:]]
        )
        assert text.with_inserted(len(lines), new).text == end.join([*lines, *new])


# --- against the recordings


def recorded_calls(shared_data: Path) -> Iterator[tuple[str, list[tuple[dict[str, str], str]]]]:
    """Each trajectory's calls of the file tool, with what was observed (a terminal's carriage
    returns taken out).
    """
    for line in (
        (shared_data / "swe_trajectories" / "swe_smith_xml_6.jsonl").read_text().splitlines()
    ):
        row = json.loads(line)
        texts = [text_of(message["content"]) for message in json.loads(row["messages"])]
        pairs = [
            pair
            for pair in itertools.pairwise(texts[2:])
            if "<function=str_replace_editor>" in pair[0]
        ]
        yield (
            row["instance_id"],
            [
                (
                    dict(GRAMMARS["xml"].parse(action).arguments),
                    seen.removeprefix("OBSERVATION:\n").replace("\r\n", "\n"),
                )
                for action, seen in pairs
            ],
        )


def text_of(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def numbered_lines(observation: str, separator: str = "\t") -> dict[int, str]:
    """The lines that an observation shows, by number; a separator at its very end was stripped."""
    found = re.findall(rf"^ *(\d+)(?:{separator}(.*))?$", observation, re.MULTILINE)
    return {int(number): text for number, text in found}


def filler(count: int) -> list[str]:
    return ["# a line that the recording does not show"] * count


def file_before(arguments: dict[str, str], seen: str) -> str:
    """A file that a recorded call on an otherwise unknown file can have met: what was shown, and
    filler where nothing was.
    """
    if seen.startswith("<NOTE>"):
        return file_abbreviated_as(seen)
    shown = numbered_lines(seen.partition(MARK)[0])
    first, text = min(shown), "\n".join(shown.values())
    if arguments["command"] == "str_replace":
        assert first > 1, "where the edit begins is known only if five lines are shown above it"
        new, old = arguments["new_str"], arguments["old_str"]
        above = "".join(f"{line}\n" for line in list(shown.values())[:5])
        text = above + text[len(above) :].replace(new, old, 1)
    if MARK in seen:
        text += "x" * MAX_SHOWN_CHARS
    whole = arguments["command"] == "view" and "view_range" not in arguments
    return "\n".join([*filler(first - 1), text, *filler(0 if whole else 9)])


def file_abbreviated_as(seen: str) -> str:
    """A Python file with functions where an abbreviated view says that it leaves some out."""
    lines: dict[int, str] = {}
    for number, text in re.findall(r"^ *(\d+) (.*)$", seen.partition(MARK)[0], re.MULTILINE):
        elided = re.fullmatch(r"\.\.\. eliding lines (\d+)-(\d+) \.\.\.", text)
        if elided is None:
            lines[int(number)] = text
            continue
        first, last = map(int, elided.groups())
        if first in lines:  # a body in a body that is left out: its function begins one line above
            lines[first - 1] = re.sub(r"\S.*", "def filler():", lines[first - 1])
        header = next(
            lines[above]
            for above in range(first - 1, 0, -1)
            if re.match(r" *(async )?def ", lines[above])
        )
        indentation = " " * (len(header) - len(header.lstrip()) + 4)
        lines |= dict.fromkeys(
            range(first, last + 1),
            f"{indentation}filler = 'a line that the recording does not show'",
        )
    if MARK in seen:  # clipped in the middle of a function's first line
        cut = lines[max(lines)]
        lines[max(lines)] += (
            "]" * (cut.count("[") - cut.count("]"))
            + ")" * (cut.count("(") - cut.count(")"))
            + ": pass"
        )
    return "\n".join(lines[number] for number in sorted(lines))


def test_recorded_observations_come_out_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    predicted, formatted, folders = [], [], []
    for instance_id, calls in recorded_calls(shared_data):
        (tmp_path / instance_id).mkdir()
        sandbox = FolderSandbox(tmp_path / instance_id)
        tool = EditTool(sandbox)
        # Files that the recording has shown in full: what follows is predicted from the calls.
        known: set[str] = set()
        for arguments, seen in calls:
            path = arguments["path"]
            where = (instance_id, arguments["command"], path)
            sandbox.real(path).parent.mkdir(parents=True, exist_ok=True)
            if "directories up to 2 levels deep" in seen:
                names = seen.splitlines()[1:]
                for name in sorted(names, reverse=True):
                    if not sandbox.real(name).is_dir():
                        sandbox.write_file(name, "")
                assert sorted(tool.run(arguments).splitlines()) == sorted(seen.splitlines()), where
                folders.append(where)
                continue
            if path in known or arguments["command"] == "create":
                predicted.append(where)
                known.add(path)
            else:
                sandbox.write_file(path, file_before(arguments, seen))
                formatted.append(where)
                if (
                    arguments["command"] == "view"
                    and "view_range" not in arguments
                    and MARK not in seen
                    and not seen.startswith("<NOTE>")
                ):
                    known.add(path)
            assert tool.run(arguments) == seen, where
    # every call of the file tool in the recordings; of "formatted" the contents were taken from the
    # recorded observation itself
    assert (len(predicted), len(formatted), len(folders)) == (29, 50, 1)
