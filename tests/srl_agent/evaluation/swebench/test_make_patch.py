"""Patches, taken by a real ``git apply`` on a clean checkout, and read back."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swebench_clones import run_git

from srl_agent.evaluation.swebench.make_patch import (
    FileChange,
    make_patch,
    normalized_patch,
    python_problems,
)
from srl_agent.evaluation.swebench.read_patch import patched_files

NUMBERED = b"".join(b"line %d\n" % number for number in range(30))
CHANGES = {
    "text": FileChange(
        "src/a.py", NUMBERED, NUMBERED.replace(b"line 3\n", b"x\ny\n").replace(b"line 20\n", b"")
    ),
    "hunks that touch": FileChange(
        "a", NUMBERED, NUMBERED.replace(b"line 3\n", b"x\n").replace(b"line 10\n", b"y\n")
    ),
    "first line": FileChange("a", b"a\nb\n", b"b\n"),
    "all lines": FileChange("a", b"a\nb\n", b""),
    "from empty": FileChange("a", b"", b"a\n"),
    "one line": FileChange("a", b"a\n", b"b\n"),
    "no newline before": FileChange("a", b"a\nb", b"a\nb\n"),
    "no newline after": FileChange("a", b"a\nb\n", b"a\nb"),
    "no newline at all": FileChange("a", b"a\nb", b"x\nb"),
    "new": FileChange("new/deep/a.py", None, b"x\n"),
    "new and empty": FileChange("new/__init__.py", None, b""),
    "new without newline": FileChange("a", None, b"x"),
    "new script": FileChange("run", None, b"#!/bin/sh\n", "100755"),
    "removed": FileChange("a", b"a\nb\n", None),
    "removed and empty": FileChange("a", b"", None),
    "removed script": FileChange("run", b"#!/bin/sh\n", None, "100755"),
    "script": FileChange("run", b"#!/bin/sh\n", b"#!/bin/bash\n", "100755"),
    "CRLF": FileChange("a", b"a\r\nb\r\nc", b"a\r\nx\r\nc"),
    "mixed ends": FileChange("a", b"a\r\nb\nc\rd\n", b"a\nb\r\nc\rd\n"),
    "UTF-8": FileChange("a", "é\n茶\n".encode(), "é\n茶茶\n\u2028\x85\x0c\n".encode()),
    "Latin-1": FileChange("a", b"caf\xe9\nb\n", b"caf\xe9\nx\n"),
    "Latin-1 far away": FileChange(
        "a", b"caf\xe9\n" + NUMBERED, b"caf\xe9\n" + NUMBERED[:-1] + b"0\n"
    ),
    "large Latin-1": FileChange("a", b"\xe9" + NUMBERED * 50, b"\xe8" + bytes(range(1, 256)) * 50),
    "removed Latin-1": FileChange("a", b"\xe9", None),
    "removed binary": FileChange("a", bytes(range(256)), None),
    "space": FileChange("a b/c d.py", b"a\n", b"b\n"),
    "new with space": FileChange("a b/c d.py", None, b"b\n"),
    "removed with space": FileChange("a b/c d.py", b"b\n", None),
    "quotes": FileChange('it\'s "quoted".py', b"a\n", b"b\n"),
    "new with quotes": FileChange('a "b" c', None, b"b\n"),
    "backslash": FileChange("a\\b\tc", b"a\n", b"b\n"),
    "not ASCII": FileChange("données/茶.py", b"a\n", b"b\n"),
    "binary with a name": FileChange('caf\u00e9 "x"', b"\xe9", b"\xe8"),
    "header in the text": FileChange(
        "a", b"-- a/x\n++ b/y\n@@ -1 +1 @@\n", b"++ b/y\n-- a/z\ndiff --git a/a b/b\n"
    ),
    "blank lines": FileChange("a", b"\n\n\na\n", b"\n\nb\n\n"),
}


def checkout(folder: Path, *changes: FileChange) -> Path:
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "main")
    run_git(folder, "config", "core.fileMode", "true")
    for change in changes:
        if change.old is not None:
            (folder / change.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / change.path).write_bytes(change.old)
            (folder / change.path).chmod(int(change.mode[-3:], 8))
    (folder / "untouched").write_text("x\n")
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-q", "-m", "base")
    return folder


def files_in(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mode & 0o100)
        for file in folder.rglob("*")
        if file.is_file() and ".git" not in file.relative_to(folder).parts
    }


def after(*changes: FileChange) -> dict[str, tuple[bytes, int]]:
    files = {
        change.path: (change.new, int(change.mode, 8) & 0o100)
        for change in changes
        if change.new is not None
    }
    return {**files, "untouched": (b"x\n", 0)}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_git_applies_it_and_takes_it_back(change: FileChange, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout", change)
    before = files_in(folder)
    patch = make_patch([change])
    run_git(folder, "apply", "--verbose", "-", stdin=patch.encode("utf-8"))
    assert files_in(folder) == after(change)
    run_git(folder, "apply", "--check", "--reverse", "-", stdin=patch.encode("utf-8"))
    run_git(folder, "apply", "--reverse", "-", stdin=patch.encode("utf-8"))
    assert files_in(folder) == before


LINE = st.sampled_from(
    [
        b"a\n",
        b"b\n",
        b"\n",
        b"c\r\n",
        b"-- a/x\n",
        b"++ b\n",
        b"\\ No newline at end of file\n",
        b"\xc3\xa9\n",
        b"\xe9\n",
        b"d\re\x0c\n",
        b"@@ -1 +1 @@\n",
    ]
)
CONTENT = st.builds(
    lambda lines, end: b"".join(lines) + end,
    st.lists(LINE, max_size=12),
    st.sampled_from([b"", b"end"]),
) | st.binary(max_size=30)


@given(st.lists(st.tuples(CONTENT | st.none(), CONTENT | st.none()), min_size=8, max_size=12))
@settings(max_examples=15)
def test_git_applies_whatever_changes(contents: list[tuple[bytes | None, bytes | None]]) -> None:
    changes = [FileChange(f"f{number}", old, new) for number, (old, new) in enumerate(contents)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = checkout(Path(scratch) / "checkout", *changes)
        before = files_in(folder)
        patch = make_patch(changes)
        if patch:
            run_git(folder, "apply", "-", stdin=patch.encode())
            assert files_in(folder) == after(*changes)
            run_git(folder, "apply", "--reverse", "-", stdin=patch.encode())
        assert files_in(folder) == before


def test_git_says_the_same_of_names_and_modes(tmp_path: Path) -> None:
    changes = [
        change
        for name, change in CHANGES.items()
        if change.path not in ("a", "run") and not name.startswith("binary")
    ][::2]
    unique = list({change.path: change for change in changes}.values())
    folder = checkout(tmp_path / "checkout", *unique)
    run_git(folder, "apply", "-", stdin=make_patch(unique).encode())
    assert files_in(folder) == after(*unique)
    run_git(folder, "add", "-A")
    ours = [
        line
        for line in make_patch(unique).split("\n")
        if re.match(r"(diff --git|new file|deleted file|index|---|\+\+\+) ", line)
    ]
    theirs = run_git(
        folder,
        "-c",
        "core.quotePath=false",
        "diff",
        "--cached",
        "--full-index",
        "--binary",
        "--no-renames",
    ).split("\n")
    assert sorted(ours) == sorted(
        line
        for line in theirs
        if re.match(r"(diff --git|new file|deleted file|index|---|\+\+\+) ", line)
    )


def test_only_what_cannot_be_text_is_binary() -> None:
    binary = {
        name for name, change in CHANGES.items() if "GIT binary patch" in make_patch([change])
    }
    assert binary == {
        "Latin-1",
        "large Latin-1",
        "removed Latin-1",
        "removed binary",
        "binary with a name",
    }


def test_nothing_changes_nothing() -> None:
    assert make_patch([FileChange("a", b"x\n", b"x\n")]) == make_patch([]) == ""


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_patch_is_read_back(change: FileChange) -> None:
    other = FileChange("other.py", b"a\n", b"b\n")
    files = {
        file.new_path or file.old_path: file for file in patched_files(make_patch([change, other]))
    }
    file = files.pop(change.path)
    assert (file.old_path, file.new_path) == (
        None if change.old is None else change.path,
        None if change.new is None else change.path,
    )
    [read] = files.values()
    assert (read.removed, read.added) == (("a",), ("b",))
    if "GIT binary" not in make_patch([change]):
        old, new = (
            (content or b"").decode("utf-8", "replace").split("\n")
            for content in (change.old, change.new)
        )
        assert set(file.removed) <= set(old) and set(file.added) <= set(new)
        assert bool(file.removed or file.added) == ((change.old or b"") != (change.new or b""))


@given(
    st.lists(
        st.sampled_from(
            [
                b"a\n",
                b"b\n",
                b"\n",
                b"-- a/x\n",
                b"++ b\n",
                b"\r\n",
                b"\xc3\xa9\n",
                b"diff --git a/a b/b\n",
            ]
        ),
        max_size=12,
    ),
    st.data(),
)
def test_reading_gives_the_lines_that_were_written(old: list[bytes], data: st.DataObject) -> None:
    new = data.draw(st.permutations(old)) + data.draw(st.sampled_from([[], [b"end"], [b"end\n"]]))
    change = FileChange("f", b"".join(old), b"".join(new))
    for file in patched_files(make_patch([change])):
        assert len(file.added) - len(file.removed) == len(new) - len(old)
        assert set(file.added) <= {line.decode().removesuffix("\n") for line in new}


@pytest.mark.shared_data
def test_real_gold_patches_are_read(shared_data: Path) -> None:
    for line in (
        (shared_data / "swe_bench_verified" / "verified_full_columns_100.jsonl")
        .read_text()
        .splitlines()
    ):
        row = json.loads(line)
        for patch in (row["patch"], row["test_patch"]):
            files = patched_files(patch)
            assert [(file.old_path or file.new_path) for file in files] == re.findall(
                r"^diff --git a/(\S+) b/\S+$", patch, flags=re.MULTILINE
            )
            assert sum(len(file.added) for file in files) == sum(
                line.startswith("+") and not re.match(r"\+\+\+ (b/|/dev)", line)
                for line in patch.split("\n")
            )
            assert normalized_patch(patch)


def test_patches_without_headers_of_git() -> None:
    patch = (
        "--- a.py\t2024-01-01\n+++ a.py\n@@ -1 +1 @@\n-x\n+y\n--- /dev/null\n+++ b/b "
        "c.py\n@@ -0,0 +1,2 @@\n+x\n+y\n"
    )
    assert [
        (file.old_path, file.new_path, file.removed, file.added) for file in patched_files(patch)
    ] == [
        ("a.py", "a.py", ("x",), ("y",)),
        (None, "b c.py", (), ("x", "y")),
    ]
    rename = (
        "diff --git a/old name.py b/new.py\nsimilarity index 100%\nrename from old "
        "name.py\nrename to new.py\n"
    )
    assert [(file.old_path, file.new_path) for file in patched_files(rename)] == [
        ("old name.py", "new.py")
    ]
    assert patched_files("no patch at all\n+x\n-y") == [] and patched_files("") == []
    assert [
        file.old_path
        for file in patched_files(
            'diff --git "a/caf\\303\\251 \\"x\\"" "b/caf\\303\\251 \\"x\\""\n'
        )
    ] == ['café "x"']


@given(st.text())
def test_any_text_is_read_as_a_patch(text: str) -> None:
    patched_files(text)
    patched_files(f"diff --git {text}\n--- {text}\n+++ {text}\n@@ -1 +1 @@\n{text}")
    normalized_patch(text)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"x = 1\n", b"x = 2\n", ""),
        (b"x = 1\n", b"x = (\n", "line 1: '(' was never closed"),
        (b"x = 1\n", b"def f():\nx\n", "line 2: expected an indented block"),
        (b"x = 1\n", b"x = '\x00'\n", "null byte"),
        (b"x = 1\n", b"x = '\xe9'\n", "utf"),
        (b"x = 1\n", b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", ""),
        (b"print 1\n", b"print 2\n", ""),
        (b"print 1\n", b"print(\n", ""),
        (None, b"x = 1\n", ""),
        (None, b"", ""),
        (None, b"x = (\n", "was never closed"),
        (b"x = 1\n", None, ""),
        (b"x = 1\n", b"x = '\\d'\n", ""),
        (b"x = 1\n", b"(" * 5000 + b")" * 5000, "too many nested parentheses"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_python_that_no_longer_parses(old: bytes | None, new: bytes | None, reason: str) -> None:
    problems = python_problems([FileChange("a.py", old, new), FileChange("a.txt", old, new)])
    assert [problem.path for problem in problems] == (["a.py"] if reason else [])
    assert all(reason in problem.reason for problem in problems)


def patch_of(old: str, new: str, path: str = "a.py") -> str:
    return make_patch([FileChange(path, old.encode(), new.encode())])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            patch_of("a\nb\n", "a\nx = 1\n"),
            patch_of("0\n1\n2\n3\n4\na\nb\n", "0\n1\n2\n3\n4\na\nx = 1\n"),
        ),
        (patch_of("b\n", "x = f( 1 )\n"), patch_of("b\n", "x=f(1)  \n")),
        (patch_of("b\n", "\n\nx\n"), patch_of("b\n", "x\n\n")),
        (patch_of("b\n", "\tx\n"), patch_of("b\n", "        x\n")),
        (patch_of("b\n", "return  x\n"), patch_of("b\n", "return x\n")),
        (patch_of("b\r\n", "x\r\n"), patch_of("b\n", "x\n")),
        (
            patch_of("b", "c") + patch_of("b", "c", "b.py"),
            patch_of("b\n", "c\n", "b.py") + patch_of("b", "c"),
        ),
        ("", "no patch"),
        ("", patch_of("a\n", "a\n\n")),
    ],
)
def test_patches_that_are_the_same(one: str, other: str) -> None:
    assert normalized_patch(one) == normalized_patch(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (patch_of("b\n", "x\n"), patch_of("b\n", "y\n")),
        (patch_of("b\n", "x\n"), patch_of("b\n", "x\n", "b.py")),
        (patch_of("b\n", "x\n"), patch_of("c\n", "x\n")),
        (patch_of("b\n", "    x\n"), patch_of("b\n", "        x\n")),
        (patch_of("b\n", "not x\n"), patch_of("b\n", "notx\n")),
        (patch_of("b\n", "x\ny\n"), patch_of("b\n", "y\nx\n")),
        (make_patch([FileChange("a.py", b"", None)]), ""),
        (make_patch([FileChange("a.py", None, b"")]), make_patch([FileChange("a.py", b"", None)])),
        (
            make_patch([CHANGES["Latin-1"]]),
            make_patch([FileChange("a", b"caf\xe9\nb\n", b"caf\xe9\ny\n")]),
        ),
    ],
)
def test_patches_that_are_not_the_same(one: str, other: str) -> None:
    assert normalized_patch(one) != normalized_patch(other)
