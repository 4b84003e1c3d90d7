"""Text that leaves a sandbox is valid Unicode, whatever the bytes inside are."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from srl_envs.sandbox import Sandbox, SandboxFileError
from srl_envs.sandbox.editor import EditTool

NAMES = r"""$'caf\351.txt' $'\377\376' $'\355\240\200' $'\xf0\x9f' $'line\nend\351'"""


def valid(text: str) -> str:
    text.encode()
    return text


@pytest.mark.parametrize(
    "content",
    [r"caf\351\n", r"\377\376a\0b\0", r"\355\240\200\n", r"ok\n\351\nok\n", r"\xf0\x9f\n"],
)
def test_a_patch_of_any_bytes_is_text_and_applies(
    sandbox: Sandbox, small_repository: Path, tmp_path: Path, content: str
) -> None:
    sandbox.run(
        f"printf '{content}' > latin1.txt; printf '{content}' > new.txt; cd src; "
        f"printf '{content}' >> numbers.txt; git mv numbers.txt moved.txt; "
        f"touch {NAMES}; mkdir $'f\\351'; printf '{content}' > $'f\\351/x'; echo plain > plain.txt"
    )
    patch = valid(sandbox.diff())
    assert "+plain\n" in patch  # what is UTF-8 can still be read
    copy = tmp_path / "copy"
    shutil.copytree(small_repository, copy, symlinks=True)
    subprocess.run(["git", "apply"], cwd=copy, input=patch.encode(), check=True)
    inside = "find . -name .git -prune -o -type f -exec md5sum {} + | sort"
    here = subprocess.run(inside, shell=True, cwd=copy, capture_output=True, check=True).stdout
    assert here.decode(errors="replace") == sandbox.run(f"cd {sandbox.workdir}; {inside}").output


def test_names_and_outputs_of_any_bytes_are_text(sandbox: Sandbox) -> None:
    sandbox.run(f"mkdir odd; cd odd; touch {NAMES}; mkdir $'d\\351'; touch $'d\\351/below'")
    listed = sandbox.list_files("odd", 2)
    assert len(listed) == 8 and all(map(valid, listed))
    assert f"{sandbox.workdir}/odd/caf\ufffd.txt" in listed
    valid(sandbox.run("ls; cat *; printf '\\355\\240\\200\\351'; cd $'d\\351'; pwd").output)
    assert valid(sandbox.run("exit; ").output) == ""
    assert sandbox.run("ls").output == "below\n"  # a new shell, in the same folder
    tool = EditTool(sandbox)
    valid(tool.run({"command": "view", "path": f"{sandbox.workdir}/odd"}))


def test_lone_surrogates_of_a_model_do_not_come_back(sandbox: Sandbox) -> None:
    lone = json.loads(r'"a\ud800b\udce9"')
    valid(sandbox.run(f"echo {lone}; ls {lone}").output)
    tool, path = EditTool(sandbox), f"{sandbox.workdir}/README.md"
    calls: list[dict[str, str]] = [
        {"command": lone, "path": path},
        {"command": "view", "path": f"{path}{lone}"},
        {"command": "view", "path": lone},
        {"command": "view", "path": path, "view_range": lone},
        {"command": "create", "path": f"{path}{lone}", "file_text": "x"},
        {"command": "create", "path": f"{path}2", "file_text": lone},
        {"command": "str_replace", "path": path, "old_str": lone, "new_str": "x"},
        {"command": "str_replace", "path": path, "old_str": "# A project", "new_str": lone},
        {"command": "insert", "path": path, "insert_line": lone, "new_str": "x"},
        {"command": "insert", "path": path, "insert_line": "0", "new_str": lone},
        {"command": "undo_edit", "path": lone},
    ]
    for call in calls:
        valid(tool.run(call))
    with pytest.raises(SandboxFileError):
        sandbox.write_file("new.txt", "\ud800")
    assert sandbox.diff() == ""
