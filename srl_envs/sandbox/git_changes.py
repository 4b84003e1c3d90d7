"""What commands changed in a sandbox's repository, as a patch; the index stays as it is.

How the repository was at the start is read from a fresh sandbox of the same image, when
the first patch of that image is asked for, so that a start costs nothing however large the
repository is. Then a diff takes the working tree in and compares the two.

Both happen with a git folder of our own outside the repository: its settings, attributes
and index are ours, so that none that commands leave in ``.git`` or ``.gitattributes``
(filters, line ends, another working tree, files to exclude) decides what the patch says.
Objects of the repository are read, and never written or touched: git marks an object that
it would write again as fresh, and below an overlay that copies the object, or a whole
pack. So our git sees its own objects alone, but for the calls that read others.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from srl_envs.sandbox.box import Box, BrokenBoxError
from srl_envs.sandbox.protocol import DamagedRepositoryError, SandboxError

_NO_REPOSITORY, _NO_TOOL = 3, 4
_MAX_DIFF = 64 * 1024 * 1024
_MAX_START = 512 * 1024 * 1024
_TIMEOUT_S = 120.0
_STARTS_KEPT = 32
_SECTION = re.compile(rb"^(?=diff --git )", re.MULTILINE)

_GIT = r"""
set -e -o pipefail
workdir=$1
for name in $(compgen -v GIT_); do unset "$name"; done
unset XDG_CONFIG_HOME
export GIT_CONFIG_NOSYSTEM=1 GIT_OPTIONAL_LOCKS=0 GIT_LITERAL_PATHSPECS=1 LC_ALL=C
for tool in git find grep head mktemp tar; do
    type -P $tool >/dev/null || { echo $tool >&2; exit 4; }
done
cd "$workdir" 2>/dev/null && [ -e .git ] || exit 3
for place in /var/tmp /tmp /dev/shm; do
    own=$(mktemp -d "$place/.srl-XXXXXX") && break
done
[ -d "$own" ] || exit 1 # mktemp said why
trap 'rm -rf "$own"' EXIT
export HOME=$own
theirs() {
    git -c core.fsmonitor=false -c core.hooksPath=/dev/null -c core.splitIndex=false \
        -c index.sparse=false "$@"
}
ours() {
    GIT_DIR=$own/git GIT_WORK_TREE=$workdir git -c core.hooksPath=/dev/null \
        -c core.excludesFile=/dev/null -c core.attributesFile=/dev/null -c core.quotePath=true \
        -c core.fsmonitor=false -c core.untrackedCache=false -c core.fsync=none "$@"
}
ours_and_theirs() { GIT_ALTERNATE_OBJECT_DIRECTORIES="\"$(< "$own/objects")\"" ours "$@"; }
new_files() { ours ls-files --others --exclude-standard "$@"; }
# Folders inside with a repository of their own: submodules, and what git will not look into.
nested() {
    if ours ls-files --stage | grep '^160000 ' >/dev/null; then
        ours ls-files --stage -z | while IFS= read -r -d '' entry; do
            case $entry in (160000*) printf '%s\0' "${entry#*$'\t'}" ;; esac
        done
    fi
    new_files -z | while IFS= read -r -d '' name; do
        case $name in (*/) printf '%s\0' "${name%/}" ;; esac
    done
}
# Everything that is not ignored. What cannot be read is left as it was. Repositories inside the
# repository are folders like others.
take() {
    ours update-index -q --refresh >/dev/null 2>&1 || true # before add, which reads what differs
    ours add -A --ignore-errors . >/dev/null 2>&1 || true
    nested | while IFS= read -r -d '' folder; do
        [ -e "$folder/.git" ] || continue
        ours rm -r -f -q --cached --ignore-unmatch -- "$folder" 2>/dev/null || true
        find "./$folder" -name .git -prune -o \( -type f -o -type l \) -print0 |
            ours update-index --add -z --stdin 2>/dev/null || true
    done
}
# What is ignored and was added all the same.
take_forced() {
    { theirs ls-files --cached --ignored --exclude-standard -z || true; } 2>/dev/null |
        ours update-index --add --remove -z --stdin 2>/dev/null || true
}
"""

_RECORD = (
    _GIT
    + r"""
printf '[safe]\n\tdirectory = *\n' > "$own/.gitconfig"
paths=$(theirs rev-parse --git-path objects --git-path index --show-object-format)
{ read -r objects; read -r index; read -r format; } <<< "$paths"
[ "$format" = sha256 ] && format=--object-format=sha256 || format=
GIT_DIR=$own/git git init -q --template= $format
(cd "$objects" && pwd -P) > "$own/objects"
mkdir -p "$own/git/info"
printf '%s\n' "* $2" > "$own/git/info/attributes"
cp -p "$index" "$own/git/index" 2>/dev/null || true
ours ls-files >/dev/null 2>&1 || rm -f "$own/git/index" # it leans on another file, or is broken
if [ ! -e "$own/git/index" ]; then
    commit=$(theirs rev-parse -q --verify 'HEAD^{commit}') && ours_and_theirs read-tree "$commit"
    take_forced
fi
if ours ls-files -v | grep '^[a-zS] ' >/dev/null; then
    for mark in assume-unchanged skip-worktree; do
        ours ls-files -z | ours update-index "--no-$mark" -z --stdin
    done
fi
take
ours_and_theirs write-tree --missing-ok > "$own/tree"
tar -C "$own" -cf - .
"""
)

_DIFF = (
    _GIT
    + r"""
head -c "$4" | tar -C "$own" -xf -
printf '%s\n' "* $2" > "$own/git/info/attributes"
take
take_forced
ours_and_theirs diff-index --cached --binary --full-index -M --no-ext-diff --no-textconv \
    --no-color --src-prefix=a/ --dst-prefix=b/ "$(< "$own/tree")" | head -c "$3"
"""
)
_AS_IT_IS = "-text -filter -ident -working-tree-encoding !eol"


def diff(
    box: Box,
    workdir: str,
    image: Hashable,
    fresh: Callable[[], AbstractContextManager[Box]],
) -> str:
    """The patch from the start of a sandbox to now; always valid Unicode.

    Changes to text that is not UTF-8 are in it as git writes those of binary files.

    Args:
        box: Whose changes are wanted.
        workdir: Where its repository is.
        image: What determines how the repository was at the start.
        fresh: Gives a started container in that state.

    Raises:
        DamagedRepositoryError: There is no repository any more, it is not as it was, or
            the patch is larger than 64 MiB.
        SandboxError: The image never had a repository, or lacks git; or the engine
            failed.
    """
    start = _start_of(image, workdir, fresh)
    patch = _patch(box, workdir, start, _AS_IT_IS)
    try:
        return patch.decode()
    except UnicodeDecodeError:
        binary = _patch(box, workdir, start, f"{_AS_IT_IS} -diff")
        return _in_ascii(patch, binary).decode()


_starts: OrderedDict[Hashable, Future[bytes]] = OrderedDict()
_starts_lock = threading.Lock()


def _start_of(
    image: Hashable, workdir: str, fresh: Callable[[], AbstractContextManager[Box]]
) -> bytes:
    """How the repository of an image is at the start, as an archive; read once a process."""
    key = (image, workdir)
    with _starts_lock:
        known = _starts.get(key)
        future = known or Future()
        _starts[key] = future
        _starts.move_to_end(key)
        while len(_starts) > _STARTS_KEPT:
            _starts.popitem(last=False)
    if known is None:
        try:
            with fresh() as box:
                future.set_result(_read_start(box, workdir))
        except BaseException as error:
            with _starts_lock:
                _starts.pop(key, None)
            given_up = SandboxError(f"Reading {workdir} of an image was interrupted.")
            future.set_exception(error if isinstance(error, Exception) else given_up)
            raise
    return future.result()


def _read_start(box: Box, workdir: str) -> bytes:
    problem = f"The repository {workdir} in the image {box.image} cannot be read"
    try:
        read = box.execute(
            ["bash", "-p", "-c", _RECORD, "bash", workdir, _AS_IT_IS],
            timeout=600.0,
            max_output=_MAX_START,
        )
    except BrokenBoxError as error:
        raise SandboxError(f"{problem}: {error}") from None
    if read.exit_code == _NO_REPOSITORY:
        raise SandboxError(
            f"There is no diff: {workdir} in the image {box.image} is not a git repository."
        )
    if read.exit_code == _NO_TOOL:
        raise SandboxError(
            f"There is no diff: the image {box.image} has no {read.error}. Install it there."
        )
    if read.exit_code:
        raise SandboxError(f"{problem} by git: {read.error[-500:]}")
    return read.output


def _patch(box: Box, workdir: str, start: bytes, attributes: str) -> bytes:
    arguments = [workdir, attributes, str(_MAX_DIFF + 1), str(len(start))]
    try:
        made = box.execute(
            ["bash", "-p", "-c", _DIFF, "bash", *arguments], timeout=_TIMEOUT_S, stdin=start
        )
    except BrokenBoxError as error:
        raise DamagedRepositoryError(f"The changes in {workdir} cannot be read: {error}") from None
    if made.exit_code in (_NO_REPOSITORY, _NO_TOOL):
        raise DamagedRepositoryError(
            f"{workdir} in the sandbox is not a git repository any more, or git was removed: "
            "there is no diff."
        )
    if len(made.output) > _MAX_DIFF:
        raise DamagedRepositoryError(
            f"The changes in {workdir} are a patch of more than {_MAX_DIFF >> 20} MiB."
        )
    if made.exit_code:
        raise DamagedRepositoryError(
            f"git cannot read the changes in {workdir}: "
            f"{made.error[-500:] or f'exit code {made.exit_code}'}"
        )
    return made.output


def _in_ascii(patch: bytes, binary: bytes) -> bytes:
    """A patch in which each file that is not UTF-8 is as in ``binary``, the same patch in ASCII.

    In a patch a line of text has a mark before it, so only git's own lines can begin as a
    section does.
    """
    sections, others = _SECTION.split(patch), _SECTION.split(binary)
    heads = [[part.partition(b"\n")[0] for part in parts] for parts in (sections, others)]
    if heads[0] != heads[1]:  # other renames were found
        return binary
    return b"".join(map(_utf8_or, sections, others))


def _utf8_or(section: bytes, other: bytes) -> bytes:
    try:
        section.decode()
    except UnicodeDecodeError:
        return other
    return section
