"""What commands changed in a repository inside a container, as a patch, without touching the index that they see.

At the start the working tree is written as a git tree; a diff writes it again and compares the two. Index and new objects of both stand in a folder of
their own outside the repository, so that neither ``git status`` nor ``git log`` inside tells of it.
"""

from __future__ import annotations

from typing import Any

from srl_envs.sandbox.container_exec import execute
from srl_envs.sandbox.protocol import DamagedRepositoryError, SandboxError

_OWN = "/var/lib/srl-envs"
_NO_GIT = 3
_MAX_DIFF = 64 * 1024 * 1024

# Settings that commands may have left in .git/config or the environment must not decide what the patch says.
_GIT = """
set -e
unset GIT_DIR GIT_WORK_TREE GIT_CONFIG GIT_EXTERNAL_DIFF GIT_DIFF_OPTS
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 LC_ALL=C
git() {
    command git -C "$workdir" -c safe.directory='*' -c core.fsmonitor=false -c core.hooksPath=/dev/null -c core.autocrlf=false -c core.safecrlf=false \\
        -c core.fileMode=true -c core.symlinks=true -c core.excludesFile=/dev/null -c core.attributesFile=/dev/null -c core.splitIndex=false \\
        -c diff.noprefix=false -c diff.mnemonicPrefix=false -c diff.renames=true -c core.quotePath=true "$@"
}
workdir=$1 own=$2
command -v git >/dev/null && objects=$(git rev-parse --git-path objects 2>/dev/null) || exit 3
case $objects in (/*) ;; (*) objects=$workdir/$objects ;; esac
export GIT_ALTERNATE_OBJECT_DIRECTORIES=$objects GIT_OBJECT_DIRECTORY=$own/objects GIT_INDEX_FILE=$own/index
"""

_RECORD = (
    _GIT
    + """
mkdir -p "$own/objects"
index=$(unset GIT_INDEX_FILE; git rev-parse --git-path index)
case $index in (/*) ;; (*) index=$workdir/$index ;; esac
cp -p "$index" "$own/index" 2>/dev/null || true
git add -A .
git write-tree > "$own/tree"
"""
)

# Files that the repository ignores count if they were added all the same: those in the index that commands see.
_DIFF = (
    _GIT
    + """
cp -p "$own/index" "$own/index-now"
export GIT_INDEX_FILE=$own/index-now
git add -A .
(unset GIT_INDEX_FILE; git ls-files -z || true) 2>/dev/null | git update-index --add --remove -z --stdin 2>/dev/null || true
git diff-index --cached --binary --full-index -M --no-ext-diff --no-textconv --no-color --src-prefix=a/ --dst-prefix=b/ "$(cat "$own/tree")" | head -c "$3"
"""
)


def record_start(client: Any, container: str, workdir: str) -> None:
    """Write down how the repository stands; a folder without one is fine, and has no diff later.

    Raises:
        SandboxError: git is there and failed.
    """
    recorded = execute(client, container, ["bash", "-c", _RECORD, "bash", workdir, _OWN])
    if recorded.exit_code not in (0, _NO_GIT):
        raise SandboxError(f"The repository {workdir} in the image cannot be read by git: {recorded.text.strip()[:500]}")


def diff(client: Any, container: str, workdir: str) -> str:
    """The patch from the start to now.

    Raises:
        DamagedRepositoryError: There is no repository any more, it is not as it was, or the patch is larger than 64 MiB.
        SandboxError: The engine failed.
    """
    made = execute(client, container, ["bash", "-o", "pipefail", "-c", _DIFF, "bash", workdir, _OWN, str(_MAX_DIFF + 1)])
    if made.exit_code == _NO_GIT:
        raise DamagedRepositoryError(f"{workdir} in the sandbox is no git repository (any more), or git is missing: there is no diff.")
    if len(made.text) > _MAX_DIFF:
        raise DamagedRepositoryError(f"The changes in {workdir} are larger than {_MAX_DIFF} bytes.")
    if made.exit_code:
        raise DamagedRepositoryError(f"git cannot tell the changes in {workdir}: {made.text.strip()[-500:]}")
    return made.text
