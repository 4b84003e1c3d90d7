"""What every sandbox promises about its diff: all changes, as a patch that makes of a clean copy
what stands in the sandbox.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from srl_envs.fleet.remote import RemoteSandbox
from srl_envs.sandbox import DamagedRepositoryError, Sandbox

# Contents, names, modes and links of all that git does not ignore, as one hash, with an index
# apart.
TREE = (
    "export GIT_INDEX_FILE=$(mktemp -u) && git -c safe.directory='*' -c core.autocrlf=false "
    "add -A . 2>/dev/null && git write-tree"
)
SEEN = (  # nothing of it writes the index anew
    "export GIT_OPTIONAL_LOCKS=0; git status --porcelain=v1; git diff --cached; "
    "git -c diff.autoRefreshIndex=false diff; git log --oneline --all; "
    "git stash list; git count-objects -v; ls -la --time-style=full-iso .git; git config -l"
)
IDENTITY = "git config user.name Agent; git config user.email agent@example.org; "


def assert_patch_makes_the_same(sandbox: Sandbox, repository: Path, folder: Path) -> str:
    patch = sandbox.diff()
    copy = folder / "copy"
    shutil.copytree(repository, copy, symlinks=True)
    subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "-"],
        cwd=copy,
        input=patch.encode("utf-8", "surrogateescape"),
        check=True,
    )
    applied = subprocess.run(
        ["bash", "-c", TREE], cwd=copy, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert applied == sandbox.run(f"cd {sandbox.workdir} && ({TREE})").output.strip()
    return patch


def test_without_changes_there_is_no_patch(sandbox: Sandbox) -> None:
    assert sandbox.diff() == ""
    sandbox.run(
        "touch README.md; cat crlf.txt; git status; python3 src/deep/module.py; "
        "touch noise.log; mkdir build empty; touch build/x"
    )
    assert sandbox.diff() == ""


@pytest.mark.parametrize(
    "change",
    [
        "echo new > new.txt",
        "mkdir -p a/b/c && echo new > a/b/c/new.txt",
        "touch empty",
        "rm src/deep/module.py",
        "rm -r src",
        "git mv src/numbers.txt src/renamed.txt",
        "mv src/numbers.txt moved.txt && sed -i s/7/seven/ moved.txt",
        "chmod -x script.sh && chmod +x README.md",
        "printf '\\0\\1\\2' > picture.bin && head -c 3000 /dev/urandom > new.bin",
        "printf 'one\\r\\n2\\r\\nthree\\n' > crlf.txt && printf 'new\\r\\n' > new_crlf.txt",
        "printf 'caf\\351\\nnew \\351\\377\\n' > latin1.txt",
        "printf 'still no newline' > no_newline.txt && printf '# A project' > README.md",
        "printf 'a\\n\\n\\n  \\t \\n' > README.md",
        "rm link && ln -s src link && ln -s /etc/passwd outside",
        "rm link && echo file > link",
        "rm README.md && mkdir README.md && echo inside > README.md/file",
        (
            "echo x > 'src/name with space.txt' && touch $'tab\\tand \"quote' 'é.txt' "
            "$'\\351' && echo y > $'tab\\tand \"quote'"
        ),
        "echo staged > new.txt && git add new.txt && echo more >> new.txt",
        (
            "echo staged > README.md && git add -A && git rm -q --cached crlf.txt && git "
            "reset -q README.md"
        ),
        IDENTITY
        + (
            "echo committed > README.md && git commit -qam one && echo then > then.txt && "
            "git add -A && git commit -qm two && rm then.txt"
        ),
        IDENTITY
        + "git checkout -qb other && echo there > there.txt && git add -A && git commit -qm there",
        IDENTITY
        + (
            "git rm -q crlf.txt && git commit -qm gone && git checkout -q --orphan fresh && "
            "git commit -qm fresh"
        ),
        IDENTITY + "echo stashed > README.md && git stash -q && echo kept > kept.txt",
        "echo '*.txt' >> .gitignore && echo ignored > ignored.txt && echo changed > crlf.txt",
        (
            "git config core.autocrlf true; git config diff.noprefix true; "
            "git config diff.renames false; git config color.ui always; echo x > new.txt"
        ),
        (
            "git config core.fileMode false; git config core.quotePath false; "
            "chmod -x script.sh; touch é"
        ),
        (
            "echo '* -diff' > .gitattributes; echo '*.txt text eol=lf' >> .gitattributes; "
            "echo x > new.txt"
        ),
        (
            "git update-index --assume-unchanged README.md; "
            "git update-index --skip-worktree crlf.txt; echo hidden > README.md; "
            "echo hidden > crlf.txt"
        ),
        "touch .git/index.lock; echo x > new.txt",
        (
            "export GIT_DIR=/nowhere GIT_INDEX_FILE=/nowhere GIT_EXTERNAL_DIFF=false; "
            "git config diff.external false; echo x > new.txt"
        ),
        "cd src/deep; echo x > new.txt; rm ../numbers.txt",
        "echo x > new.txt; exit",
    ],
)
def test_the_patch_makes_of_a_clean_copy_what_stands_inside(
    sandbox: Sandbox, small_repository: Path, tmp_path: Path, change: str
) -> None:
    sandbox.run(change)
    sandbox.run("unset GIT_DIR GIT_INDEX_FILE GIT_EXTERNAL_DIFF")
    patch = assert_patch_makes_the_same(sandbox, small_repository, tmp_path)
    assert patch.startswith("diff --git a/") and patch.endswith("\n")


def test_a_rename_is_told_as_one(sandbox: Sandbox) -> None:
    sandbox.run("mv src/numbers.txt src/renamed.txt")
    assert "rename from src/numbers.txt\nrename to src/renamed.txt\n" in sandbox.diff()


def test_ignored_files_are_left_out(sandbox: Sandbox) -> None:
    sandbox.run(
        "echo x > noise.log; mkdir -p build/deep; echo x > build/deep/file; echo x > seen.txt"
    )
    assert sandbox.diff().count("diff --git") == 1


def test_an_ignored_file_counts_if_it_was_added_all_the_same(sandbox: Sandbox) -> None:
    sandbox.run("echo kept > forced.log; echo not > other.log; git add -f forced.log")
    patch = sandbox.diff()
    assert "forced.log" in patch and "other.log" not in patch
    sandbox.run("head -c 100 /dev/urandom > .git/index")
    assert "forced.log" not in sandbox.diff()


@pytest.mark.parametrize(
    "change",
    [
        "true",
        (
            "echo staged > README.md; git add README.md; echo more >> README.md; "
            "echo new > new.txt; git rm -q --cached crlf.txt"
        ),
        IDENTITY
        + (
            "echo committed > new.txt; git add -A; git commit -qm one; "
            "git add -N latin1.txt; echo x > untracked.txt"
        ),
    ],
)
def test_commands_cannot_tell_that_a_diff_was_made(sandbox: Sandbox, change: str) -> None:
    sandbox.run(f"{change}; git status >/dev/null")
    before = sandbox.run(SEEN).output
    index = sandbox.read_file(".git/index")
    patch = sandbox.diff()
    assert sandbox.read_file(".git/index") == index
    assert sandbox.run(SEEN).output == before
    assert sandbox.diff() == patch


def test_a_diff_does_not_disturb_the_shell(sandbox: Sandbox) -> None:
    sandbox.run("cd src; kept=yes; echo x > new.txt; (exit 3)")
    assert "src/new.txt" in sandbox.diff()
    assert sandbox.run("echo $? $kept; pwd").output == f"3 yes\n{sandbox.workdir}/src\n"


@pytest.mark.parametrize(
    "damage",
    [
        "rm -rf .git",
        "mv .git ../elsewhere",
        "rm -rf .git && echo nonsense > .git",
        "rm .git/HEAD",
        "rm -rf .git/objects",
        "cd / && rm -rf $OLDPWD",
        "cd / && rm -rf $OLDPWD && touch $OLDPWD",
        "cd / && mv $OLDPWD /elsewhere && ln -s $OLDPWD $OLDPWD",
        "rm -rf .git && git init -q && git add -A",
        "echo '[broken' > .git/config",
        (
            "mkdir trap; git init -q trap; cd trap; touch a; git add a; cd ..; "
            "rm -rf trap/.git/objects"
        ),
    ],
)
def test_a_destroyed_repository_is_the_commands_doing(sandbox: Sandbox, damage: str) -> None:
    """A diff that is still right is as good as the error; a wrong one, or a failure of the
    machinery, is not.
    """
    sandbox.run(f"echo changed > README.md; {damage}")
    try:
        patch = sandbox.diff()
    except DamagedRepositoryError:
        return
    assert (
        "+changed\n" in patch and patch.replace("diff --git a/trap/", "").count("diff --git") == 1
    )


def test_no_repository_at_all_is_told(sandbox: Sandbox) -> None:
    sandbox.run("rm -rf .git")
    with pytest.raises(DamagedRepositoryError, match="repository"):
        sandbox.diff()
    assert sandbox.run("echo still here").output == "still here\n"


@pytest.mark.parametrize(
    "trick",
    [
        "git config filter.x.clean 'sleep 100000'; echo '* filter=x' > .gitattributes",
        (
            "git config core.worktree /tmp; git config core.trustctime false; "
            "git config core.checkStat minimal"
        ),
        "echo '*.md working-tree-encoding=UTF-16' > .gitattributes; echo '*' > .git/info/exclude",
        "git config core.fsmonitor 'sleep 100000'; git config core.ignoreStat true",
        (
            "printf '#!/bin/sh\\nsleep 100000' > .git/hooks/post-index-change; "
            "chmod +x .git/hooks/post-index-change"
        ),
        "echo '* text eol=crlf' > .git/info/attributes",
    ],
)
def test_settings_left_in_the_repository_do_not_decide(sandbox: Sandbox, trick: str) -> None:
    sandbox.run(trick + "; printf 'changed\\r\\n' > README.md; echo new > new.txt")
    patch = sandbox.diff()
    assert "new.txt" in patch and "+changed\r\n" in patch


@pytest.mark.parametrize("path", ["crlf.txt", "src", "new.txt", "new"])
def test_what_cannot_be_read_does_not_take_the_rest_with_it(sandbox: Sandbox, path: str) -> None:
    sandbox.run(
        f"echo new > new.txt; mkdir new; echo new > new/file; chmod 000 {path}; "
        "echo changed > README.md; echo also > other.txt"
    )
    patch = sandbox.diff()
    assert "+changed" in patch and "+also" in patch
    assert "deleted file" not in patch


def test_a_folder_that_became_a_link_does_not_hide_a_forced_file(sandbox: Sandbox) -> None:
    sandbox.run("mv src other; ln -s other src; echo kept > z_forced.log; git add -f z_forced.log")
    assert "z_forced.log" in sandbox.diff()


def test_repositories_inside_are_folders_like_others(sandbox: Sandbox) -> None:
    sandbox.run(
        "git init -q empty; git init -q full; cd full; echo inside > file.txt; git add -A; "
        + IDENTITY
        + "git commit -qm inside"
    )
    patch = sandbox.diff()
    assert "full/file.txt" in patch and "+inside" in patch and "Subproject" not in patch


@pytest.mark.usefixtures("changeable_system")
def test_a_git_that_never_ends_is_the_commands_doing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    import srl_envs.sandbox.git_changes as git_changes

    if isinstance(sandbox, RemoteSandbox):
        pytest.skip("the bound is that of another process, and takes two minutes there")
    monkeypatch.setattr(git_changes, "_TIMEOUT_S", 3.0)
    sandbox.run(
        "rm -f /usr/bin/git; printf '#!/bin/sh\\nsleep 100000\\n' > /usr/bin/git; "
        "chmod +x /usr/bin/git"
    )
    with pytest.raises(DamagedRepositoryError, match="did not end"):
        sandbox.diff()
