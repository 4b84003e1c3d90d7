"""Which files of a folder or a commit get into an image."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import git
import pytest

from srl_envs.errors import ConfigError
from srl_envs.sandbox.archives import archive_of_commit, archive_of_folder

FILES = [
    "app.py",
    "src/app/tests/test_deep.py",
    "src/app/util.py",
    "tests/data/x.txt",
    "tests/test_app.py",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    return tmp_path


def commit_of(folder: Path) -> git.Commit:
    repository = git.Repo.init(folder)
    repository.git.add("-A", "-f")
    repository.git.execute(
        [
            "git",
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.org",
            "-c",
            "commit.gpgSign=false",
            "commit",
            "-q",
            "-m",
            "x",
        ]
    )
    return repository.head.commit


def files_in(archive) -> list[str]:
    with tarfile.open(fileobj=archive) as tar:
        return sorted(member.name.removeprefix("testbed/") for member in tar if not member.isdir())


@pytest.mark.parametrize("of_commit", [False, True])
@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ([], FILES),
        (["tests"], ["app.py", "src/app/util.py"]),
        (["tests/"], ["app.py", "src/app/util.py"]),
        (["test_*.py"], ["app.py", "src/app/util.py", "tests/data/x.txt"]),
        (["./tests/data"], [name for name in FILES if name != "tests/data/x.txt"]),
        (["tests/*"], ["app.py", "src/app/tests/test_deep.py", "src/app/util.py"]),
        (["src/*/tests"], [name for name in FILES if "test_deep" not in name]),
        (
            ["**/test_app.py", "util.py"],
            ["app.py", "src/app/tests/test_deep.py", "tests/data/x.txt"],
        ),
        (["**/app.py"], FILES[1:]),
    ],
)
def test_what_a_pattern_matches_is_left_out(
    folder: Path, patterns: list[str], kept: list[str], of_commit: bool
) -> None:
    archive = (
        archive_of_commit(commit_of(folder), "/testbed", patterns)
        if of_commit
        else archive_of_folder(folder, "/testbed", patterns)
    )
    assert files_in(archive) == kept


@pytest.mark.parametrize("pattern", ["test", "nope/*", "", "/", "tests/test_ap.py"])
def test_a_pattern_that_matches_nothing_is_told(folder: Path, pattern: str) -> None:
    with pytest.raises(ConfigError, match="matches nothing"):
        archive_of_folder(folder, "/testbed", ["tests", pattern])
    with pytest.raises(ConfigError, match="matches nothing in the commit"):
        archive_of_commit(commit_of(folder), "/testbed", [pattern])


def test_a_commit_is_taken_as_it_is_whatever_its_attributes_say(folder: Path) -> None:
    (folder / ".gitattributes").write_text(
        "app.py export-ignore\nversion.txt export-subst\n*.txt eol=crlf\n"
    )
    (folder / "version.txt").write_text("$Format:%H$\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("../outside")
    (folder / "same").mkdir()
    (folder / "same" / "util.py").write_text("src/app/util.py\n")
    (folder / "späte Datei").write_bytes(bytes(range(256)))
    with tarfile.open(fileobj=archive_of_commit(commit_of(folder), "/testbed", [])) as tar:
        members = {member.name.removeprefix("testbed/"): member for member in tar}
        assert set(FILES) < set(members)
        contents = {
            name: tar.extractfile(member).read()
            for name, member in members.items()
            if member.isfile()
        }
    assert contents["version.txt"] == b"$Format:%H$\n"
    assert contents["same/util.py"] == contents["src/app/util.py"] == b"src/app/util.py\n"
    assert contents["späte Datei"] == bytes(range(256))
    assert members["link"].issym() and members["link"].linkname == "../outside"
    assert (members["run.sh"].mode, members["app.py"].mode, members["src/app"].mode) == (
        0o755,
        0o644,
        0o755,
    )


def test_no_repository_gets_in(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", str(folder / "vendor" / "library")], check=True)
    (folder / "vendor" / "library" / "code.py").write_text("")
    commit_of(folder / "src")
    assert files_in(archive_of_folder(folder, "/testbed", [])) == [*FILES, "vendor/library/code.py"]
