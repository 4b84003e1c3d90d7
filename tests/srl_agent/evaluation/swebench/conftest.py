"""Real git repositories for the tests of SWE-bench."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from swebench_clones import run_git


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """A folder with one clone, ``acme/tool``: two commits, the first with files of many kinds,
    the second on no branch.
    """
    folder = tmp_path / "clones" / "acme" / "tool"
    (folder / "src" / "deep").mkdir(parents=True)
    run_git(folder, "init", "-q", "-b", "main")
    (folder / "src" / "tool.py").write_bytes(b"VALUE = 1\n")
    (folder / "src" / "deep" / "latin.py").write_bytes(
        b"# -*- coding: latin-1 -*-\nNAME = 'caf\xe9'\n"
    )
    (folder / "run me.sh").write_bytes(b"#!/bin/sh\r\n")
    (folder / "run me.sh").chmod(0o755)
    (folder / "link.py").symlink_to("src/tool.py")
    (folder / "picture.png").write_bytes(b"\x89PNG\0\1")
    (folder / "model.bin").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    (folder / "données.txt").write_text("un\n")
    with open(os.fsencode(folder) + b"/bytes\xff.py", "wb") as file:
        file.write(b"x = 1\n")
    (folder / "line\nfeed.py").write_text("x = 1\n")
    run_git(folder, "add", "-A")
    run_git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor/library")
    run_git(folder, "commit", "-q", "-m", "first")
    run_git(folder, "checkout", "-q", "--detach")
    (folder / "src" / "tool.py").write_bytes(b"VALUE = 2\n")
    run_git(folder, "commit", "-q", "-a", "-m", "second, on no branch")
    return tmp_path / "clones"
