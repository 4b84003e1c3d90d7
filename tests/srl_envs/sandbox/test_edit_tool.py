"""The file tool, on real files in a folder, and against the observations recorded with SWE-agent."""

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
from srl_envs.sandbox.edit_tool import MAX_SHOWN_CHARS, EditTool
from srl_envs.sandbox.file_text import FileText
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
        found = [top, *(entry for entry in top.rglob("*") if len(entry.relative_to(top).parts) <= depth)] if top.is_dir() else [top]
        return sorted("/" + f"{entry.relative_to(self.root)}/".removeprefix("./")[: None if entry.is_dir() else -1] for entry in found)


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
    assert call(tool, "view") == "Here's the result of running `cat -n` on /testbed/a.txt:\n     1\tone\n     2\t        two\n     3\t\n     4\tfour"
    assert call(tool, "view", "//testbed/./a.txt") == call(tool, "view"), "a path is shown in its normal form"


@pytest.mark.parametrize("content", ["", "\n", "a\n"])
def test_view_of_an_almost_empty_file(sandbox: FolderSandbox, content: str) -> None:
    lines = content.split("\n")
    expected = "\n".join(["Here's the result of running `cat -n` on /testbed/a.txt:", *(f"{i:6}\t{line}" for i, line in enumerate(lines, 1))])
    assert call(put(sandbox, content), "view") == expected.rstrip()


@pytest.mark.parametrize(("view_range", "shown"), [("[2, 3]", [2, 3]), ("[3,-1]", [3, 4]), (" [ 1 , 1 ] ", [1]), ("[1, 4]", [1, 2, 3, 4]), ("", [1, 2, 3, 4])])
def test_view_of_a_range(sandbox: FolderSandbox, view_range: str, shown: list[int]) -> None:
    seen = call(put(sandbox, "l1\nl2\nl3\nl4"), "view", view_range=view_range)
    assert seen.splitlines()[1:] == [f"{number:6}\tl{number}" for number in shown]


@pytest.mark.parametrize(
    ("view_range", "reason"),
    [
        ("[0, 2]", "Invalid `view_range`: [0, 2]. Its first element `0` should be within the range of lines of the file: [1, 4]"),
        ("[5, 5]", "Invalid `view_range`: [5, 5]. Its first element `5` should be within the range of lines of the file: [1, 4]"),
        ("[1, 9]", "Invalid `view_range`: [1, 9]. Its second element `9` should be smaller than the number of lines in the file: `4`"),
        ("[3, 2]", "Invalid `view_range`: [3, 2]. Its second element `2` should be larger or equal than its first `3`"),
        ("[2, -2]", "Invalid `view_range`: [2, -2]. Its second element `-2` should be larger or equal than its first `2`"),
        *((text, "Invalid `view_range`. It should be a list of two integers.") for text in ["[1]", "1, 2", "[1, 2, 3]", "[a, 2]", "[1.0, 2]", "[" * 10**5]),
        (f"[1, {'9' * 5000}]", "Invalid `view_range`. It should be a list of two integers."),
    ],
)
def test_view_of_a_wrong_range(sandbox: FolderSandbox, view_range: str, reason: str) -> None:
    assert call(put(sandbox, "l1\nl2\nl3\nl4"), "view", view_range=view_range) == reason


def test_view_of_a_folder_shows_two_levels_without_hidden_names(sandbox: FolderSandbox) -> None:
    for path in ["setup.py", "pkg/a.py", "pkg/sub/deep.py", ".git/config", "pkg/.hidden"]:
        sandbox.write_file(f"/testbed/{path}", "")
    shown = ["/testbed", "/testbed/pkg", "/testbed/pkg/a.py", "/testbed/pkg/sub", "/testbed/setup.py"]
    tool = EditTool(sandbox)
    for path in ["/testbed", "/testbed/"]:
        header, *lines = call(tool, "view", path).splitlines()
        assert header == "Here's the files and directories up to 2 levels deep in /testbed, excluding hidden items:"
        assert lines == shown
    assert call(tool, "view", "/").splitlines()[1:] == ["/", "/testbed", "/testbed/pkg", "/testbed/setup.py"]
    assert call(tool, "view", "/testbed", view_range="[1, 2]") == "The `view_range` parameter is not allowed when `path` points to a directory."


def test_a_hidden_folder_that_is_asked_for_is_shown(sandbox: FolderSandbox) -> None:
    sandbox.write_file("/testbed/.github/ci.yml", "")
    assert call(EditTool(sandbox), "view", "/testbed/.github").splitlines()[1:] == ["/testbed/.github", "/testbed/.github/ci.yml"]


def test_long_files_are_clipped(sandbox: FolderSandbox) -> None:
    seen = call(put(sandbox, "0123456789\n" * 100_000), "view")
    head, mark, _ = seen.partition(MARK)
    assert mark and head.endswith("  1455\t012345"), "16,000 characters of the file, line numbers not counted"
    one_line = call(put(sandbox, "x" * 1_000_000), "view")
    assert len(one_line) < MAX_SHOWN_CHARS + 1000


def test_a_file_larger_than_the_sandbox_gives_is_an_observation(sandbox: FolderSandbox) -> None:
    seen = call(put(sandbox, b"x" * (sandbox.limit + 1)), "view")
    assert seen == "Ran into /testbed/a.txt is larger than 2000000 bytes while trying to read /testbed/a.txt"


# --- against the recordings ---------------------------------------------------------------------------------------------------------------


def recorded_calls(shared_data: Path) -> Iterator[tuple[str, list[tuple[dict[str, str], str]]]]:
    """Each trajectory's calls of the file tool, with what was observed (a terminal's carriage returns taken out)."""
    for line in (shared_data / "swe_trajectories" / "swe_smith_xml_6.jsonl").read_text().splitlines():
        row = json.loads(line)
        texts = [text_of(message["content"]) for message in json.loads(row["messages"])]
        pairs = [pair for pair in itertools.pairwise(texts[2:]) if "<function=str_replace_editor>" in pair[0]]
        yield (
            row["instance_id"],
            [(dict(GRAMMARS["xml"].parse(action).arguments), seen.removeprefix("OBSERVATION:\n").replace("\r\n", "\n")) for action, seen in pairs],
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
    """A file that a recorded call on an otherwise unknown file can have met: what was shown, and filler where nothing was."""
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
        header = next(lines[above] for above in range(first - 1, 0, -1) if re.match(r" *(async )?def ", lines[above]))
        indentation = " " * (len(header) - len(header.lstrip()) + 4)
        lines |= dict.fromkeys(range(first, last + 1), f"{indentation}filler = 'a line that the recording does not show'")
    if MARK in seen:  # clipped in the middle of a function's first line
        cut = lines[max(lines)]
        lines[max(lines)] += "]" * (cut.count("[") - cut.count("]")) + ")" * (cut.count("(") - cut.count(")")) + ": pass"
    return "\n".join(lines[number] for number in sorted(lines))


def test_recorded_observations_come_out_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    predicted, formatted, folders = [], [], []
    for instance_id, calls in recorded_calls(shared_data):
        (tmp_path / instance_id).mkdir()
        sandbox = FolderSandbox(tmp_path / instance_id)
        tool = EditTool(sandbox)
        known: set[str] = set()  # files whose whole contents the recording has shown, so that what follows is predicted from the calls alone
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
                if arguments["command"] == "view" and "view_range" not in arguments and MARK not in seen and not seen.startswith("<NOTE>"):
                    known.add(path)
            assert tool.run(arguments) == seen, where
    # every call of the file tool in the recordings; of "formatted" the contents were taken from the recorded observation itself
    assert (len(predicted), len(formatted), len(folders)) == (29, 50, 1)
