"""What commands changed in a container's repository, as a patch; the index stays as it is.

At the start the working tree is written as a git tree; a diff writes it again and
compares the two. Both happen with a git folder of our own outside the repository: its
settings, attributes and index are ours, so that none that commands leave in ``.git`` or
``.gitattributes`` (filters, line ends, another working tree, files to exclude) decides
what the patch says. Objects of the repository are read, none is written there.
"""

from __future__ import annotations

from srl_envs.sandbox.container import BrokenContainerError, Container
from srl_envs.sandbox.protocol import DamagedRepositoryError, SandboxError

_OWN = "/var/tmp/.srl-envs"  # every user of an image can write there
_NO_GIT = 3
_MAX_DIFF = 64 * 1024 * 1024
_TIMEOUT_S = 120.0

_GIT = """
set -e
workdir=$1 own=$2
cd "$workdir" 2>/dev/null && [ -e .git ] && command -v git >/dev/null || exit 3
for name in $(compgen -v GIT_); do unset "$name"; done
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 LC_ALL=C
theirs() { command git -C "$workdir" -c safe.directory='*' -c core.fsmonitor=false -c core.hooksPath=/dev/null "$@"; }
ours() {
    GIT_DIR=$own/git GIT_WORK_TREE=$workdir command git -C "$workdir" -c core.hooksPath=/dev/null -c core.excludesFile=/dev/null \\
        -c core.attributesFile=/dev/null -c core.quotePath=true "$@"
}
# Everything that is not ignored, and what was ignored and added all the same. What cannot be read is left as it was. Repositories inside the repository
# are folders like others.
take() {
    ours add -A --ignore-errors . 2>/dev/null || true
    (theirs ls-files --cached --ignored --exclude-standard -z || true) 2>/dev/null | ours update-index --add --remove -z --stdin 2>/dev/null || true
    (find . -path ./.git -prune -o -name .git -print0 -prune || true) 2>/dev/null | while IFS= read -r -d '' nested; do
        folder=${nested%/.git} folder=${folder#./}
        ours rm -r -f -q --cached --ignore-unmatch -- "$folder" 2>/dev/null || true
        find "./$folder" -name .git -prune -o \\( -type f -o -type l \\) -print0 | sed -z 's|^\\./||' | ours update-index --add -z --stdin 2>/dev/null || true
    done
}
"""

_RECORD = (
    _GIT
    + """
objects=$(theirs rev-parse --git-path objects) index=$(theirs rev-parse --git-path index)
mkdir -p "$own"
GIT_DIR=$own/git command git init -q
mkdir -p "$own/git/info" "$own/git/objects/info"
realpath -- "$objects" > "$own/git/objects/info/alternates"
echo '* -text -filter -ident -working-tree-encoding !eol' > "$own/git/info/attributes"
: > "$own/git/info/exclude"
cp -p "$index" "$own/git/index" 2>/dev/null && ours ls-files >/dev/null 2>&1 || rm -f "$own/git/index"
take
ours write-tree > "$own/tree"
cp -p "$own/git/index" "$own/index"
"""
)

_DIFF = (
    _GIT
    + """
cp -p "$own/index" "$own/git/index"
take
ours diff-index --cached --binary --full-index -M --no-ext-diff --no-textconv --no-color --src-prefix=a/ --dst-prefix=b/ "$(cat "$own/tree")" | head -c "$3"
"""
)


def record_start(container: Container, workdir: str) -> None:
    """Write down how the repository stands; a folder without one is fine, and has no diff later.

    Raises:
        SandboxError: git is there and failed.
    """
    try:
        recorded = container.execute(
            ["bash", "-o", "pipefail", "-c", _RECORD, "bash", workdir, _OWN], timeout=600.0
        )
    except BrokenContainerError as error:
        raise SandboxError(
            f"The repository {workdir} in the image {container.image} cannot be read: {error}"
        ) from None
    if recorded.exit_code not in (0, _NO_GIT):
        raise SandboxError(
            f"The repository {workdir} in the image {container.image} cannot be read by git: "
            f"{recorded.text.strip()[:500]}"
        )


def diff(container: Container, workdir: str) -> str:
    """The patch from the start to now.

    Raises:
        DamagedRepositoryError: There is no repository any more, it is not as it was, or
            the patch is larger than 64 MiB.
        SandboxError: The engine failed.
    """
    try:
        made = container.execute(
            ["bash", "-o", "pipefail", "-c", _DIFF, "bash", workdir, _OWN, str(_MAX_DIFF + 1)],
            timeout=_TIMEOUT_S,
        )
    except BrokenContainerError as error:
        raise DamagedRepositoryError(f"The changes in {workdir} cannot be told: {error}") from None
    if made.exit_code == _NO_GIT:
        raise DamagedRepositoryError(
            f"{workdir} in the sandbox is not a git repository (any more), or git is missing: "
            "there is no diff."
        )
    if len(made.text) > _MAX_DIFF:
        raise DamagedRepositoryError(f"The changes in {workdir} are larger than {_MAX_DIFF} bytes.")
    if made.exit_code:
        raise DamagedRepositoryError(
            f"git cannot tell the changes in {workdir}: "
            f"{made.text.strip()[-500:] or f'exit code {made.exit_code}'}"
        )
    return made.text
