"""Images for sandboxes: a base from Debian packages, and repositories at one commit.

In other people's images, the repository's later commits are removed.

A repository in an image must not hold the answer: no later commits, references, reflogs
or packed objects, no remote, no hidden tests. So the repository is made anew, with one
commit, from the files of the commit alone.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import docker.errors

from srl_envs.errors import ConfigError
from srl_envs.sandbox.archives import archive_of_commit, archive_of_folder
from srl_envs.sandbox.box import BrokenBoxError
from srl_envs.sandbox.container import Container
from srl_envs.sandbox.docker_sandbox import BASE_IMAGE
from srl_envs.sandbox.engine import connect, engine_call, usable_image
from srl_envs.sandbox.protocol import SandboxError

BASE_PACKAGES = (
    "bash",
    "ca-certificates",
    "git",
    "patch",
    "procps",
    "python-is-python3",
    "python3",
    "python3-pytest",
    "python3-setuptools",
)
"""What the base image holds beyond Debian's smallest variant."""

_BUILD_S = 3600.0  # a set-up may compile

# One commit by nobody at a fixed time, so that the same files give the same commit on every
# machine.
_ONE_COMMIT = """
set -eo pipefail
cd "$1"
files_of() { find "$1" -name .git -prune -o \\( -type f -o -type l \\) -print0; }
if [ -e .git ]; then
    git -c safe.directory='*' ls-files -z --stage | while IFS= read -r -d '' entry; do
        path=${entry#*$'\\t'}
        if [ "${entry%% *}" != 160000 ]; then printf '%s\\0' "$path"; elif [ -d "$path" ]; then files_of "$path"; fi
    done
else
    files_of .
fi > /tmp/.srl-files
rm -rf .git
find . -name .git -prune -exec rm -rf {} +
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=srl GIT_AUTHOR_EMAIL=srl@localhost GIT_AUTHOR_DATE='2000-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=srl GIT_COMMITTER_EMAIL=srl@localhost GIT_COMMITTER_DATE='2000-01-01T00:00:00Z'
git init -q -b main .
git update-index --add --remove -z --stdin < /tmp/.srl-files
rm /tmp/.srl-files
git commit -q --no-gpg-sign -m 'Start of the task'
git repack -a -d -q
"""

_SETUP_PATCH = "tmp/.srl-setup.patch"
_APPLY = f"""cd "$1" || exit
git -c safe.directory='*' apply --whitespace=nowarn /{_SETUP_PATCH} && rm /{_SETUP_PATCH}"""


def has_image(image: str, client: Any = None) -> bool:
    """Whether the engine holds an image.

    Raises:
        SandboxError: The engine cannot be reached.
    """
    with engine_call(f"look for the image {image}"):
        try:
            (client or connect()).api.inspect_image(image)
        except docker.errors.ImageNotFound:
            return False
    return True


def image_id(image: str) -> str:
    """The engine's id of an image, which changes when the name is given to another.

    Raises:
        SandboxError: The engine cannot be reached, or does not hold the image.
    """
    with engine_call(f"look for the image {image}"):
        try:
            return str(connect().api.inspect_image(image)["Id"])
        except docker.errors.ImageNotFound:
            raise SandboxError(
                f"The engine does not hold the image {image}: pull or build it."
            ) from None


def build_base(
    image: str = BASE_IMAGE,
    *,
    suite: str = "bookworm",
    mirror: str = "http://deb.debian.org/debian",
    force: bool = False,
) -> bool:
    """Make the base image from Debian packages, without an image registry.

    Needs root and ``debootstrap``; takes about half a minute.

    Args:
        image: Its name.
        suite: Release of Debian.
        mirror: Where the packages come from.
        force: Make it again if it is there.

    Returns:
        False if it was there already.

    Raises:
        ConfigError: This machine cannot run debootstrap.
        SandboxError: debootstrap or the engine failed.
    """
    client = connect(deadline=_BUILD_S)
    if not force and has_image(image, client):
        return False
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise ConfigError(
            "The base image is made by debootstrap, as root: apt-get install debootstrap. Or name "
            "any image with bash, git and Python instead."
        )
    with tempfile.TemporaryDirectory(prefix="srl-base-") as folder:
        root = Path(folder) / "root"
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(BASE_PACKAGES)}",
            suite,
            str(root),
            mirror,
        ]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            raise SandboxError(f"debootstrap failed: {(made.stdout + made.stderr).strip()[-500:]}")
        for unwanted in ("var/cache/apt/archives", "var/lib/apt/lists", "debootstrap"):
            shutil.rmtree(root / unwanted, ignore_errors=True)
        with (
            subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar,
            engine_call("import the base image"),
        ):
            assert tar.stdout is not None
            repository, tag = _name_and_tag(image)
            client.api.import_image_from_stream(
                tar.stdout,
                repository=repository,
                tag=tag,
                changes=["ENV LANG=C.UTF-8", 'CMD ["bash"]'],
            )
    return True


def image_of_tree(
    folder: Path,
    image: str,
    *,
    base: str = BASE_IMAGE,
    workdir: str = "/testbed",
    setup: str = "",
    network: str = "none",
    leave_out: Sequence[str] = (),
) -> None:
    """Make an image of a folder's files as a repository with one commit.

    Args:
        folder: Its files are copied, symbolic links as links; a ``.git`` in it, at
            whatever depth, is not.
        image: The image's name; its tag is ``latest`` if it has none.
        base: The image that it is built on; must hold bash and git.
        workdir: The repository's folder.
        setup: A bash script that runs in the repository before the commit, for example
            to install dependencies; empty runs none.
        network: ``"none"``, or the network that ``setup`` needs (``"host"``).
        leave_out: What is not copied: hidden tests. A pattern matches a file's path or
            a folder above it (``"tests"``, ``"tests/"``, ``"src/*/tests"``); one
            without a slash matches at any depth (``"test_*.py"``).

    Raises:
        ConfigError: There is no such folder, or a pattern matches nothing.
        SandboxError: The engine, the base image or ``setup`` failed.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder.")
    _image_of_archive(
        archive_of_folder(folder, workdir, leave_out), image, base, workdir, setup, network
    )


def image_of_commit(
    repository: str | Path,
    commit: str,
    image: str,
    *,
    base: str = BASE_IMAGE,
    workdir: str = "/testbed",
    setup: str = "",
    network: str = "none",
    leave_out: Sequence[str] = (),
) -> None:
    """Make an image of a git repository at one commit; its copy has a single commit.

    Args:
        repository: Path of a clone, bare or not, or an address that git can clone.
        commit: Name or hash.
        image: See :func:`image_of_tree`, like the rest.
        base: See there.
        workdir: See there.
        setup: See there.
        network: See there.
        leave_out: See there.

    Raises:
        ConfigError: The repository or the commit does not exist, or a pattern matches
            nothing.
        SandboxError: The engine, the base image or ``setup`` failed.
    """
    import git

    with tempfile.TemporaryDirectory(prefix="srl-repository-") as scratch:
        try:
            clone = (
                git.Repo(repository)
                if Path(repository).exists()
                else git.Repo.clone_from(str(repository), scratch, bare=True)
            )
            archive = archive_of_commit(clone.commit(commit), workdir, leave_out)
        except ConfigError:  # a ValueError too
            raise
        except (git.exc.GitError, git.exc.ODBError, ValueError, OSError) as error:
            raise ConfigError(
                f"The commit {commit} of {repository} cannot be read: {str(error).strip()[:300]}"
            ) from None
    _image_of_archive(archive, image, base, workdir, setup, network)


def sealed_image(
    image: str,
    sealed: str,
    *,
    workdir: str = "/testbed",
    patch: str = "",
    leave_out: Sequence[str] = (),
) -> None:
    """Make an image like another, whose repository keeps its files but has one commit.

    It has no remote and no further objects: neither past nor future can be read.

    For images of others (SWE-bench's, SWE-smith's), whose repository may hold the fix
    as a later commit. Versions that a build reads from tags are gone too; packages that
    are installed already keep theirs.

    Args:
        image: The image.
        sealed: The new one's name.
        workdir: Where the repository is.
        patch: Applied first: a bug to be found.
        leave_out: Paths of files that are deleted first: hidden tests.

    Raises:
        SandboxError: The engine failed, the image is missing, there is no repository in
            ``workdir``, the patch does not apply, or a file to be left out is missing.
    """
    with _container(image, "none") as container:
        _run(container, 'test -e "$1/.git"', workdir, f"find a repository in {workdir} of {image}")
        if patch:
            with engine_call("copy files into a container"):
                container.client.api.put_archive(container.id, "/", _archive_of_patch(patch))
            _run(container, _APPLY, workdir, f"apply the set-up's patch in {workdir} of {image}")
        for path in leave_out:
            script = f'cd "$1" && rm -- {shlex.quote(path)}'
            _run(container, script, workdir, f"leave {path} out of {image}")
        _commit(container, workdir, sealed)


def _archive_of_patch(patch: str) -> bytes:
    content = (patch if patch.endswith("\n") else f"{patch}\n").encode("utf-8", "surrogateescape")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(_SETUP_PATCH)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _image_of_archive(
    archive: IO[bytes], image: str, base: str, workdir: str, setup: str, network: str
) -> None:
    archive.seek(0)
    with _container(base, network) as container:
        _run(container, 'mkdir -p "$1"', workdir, "make a folder")
        with engine_call("copy files into a container"):
            container.client.api.put_archive(
                container.id, "/", archive
            )  # not at workdir: the engine refuses links that lead above where it unpacks
        if setup:
            _run(container, f'cd "$1" || exit\n{setup}', workdir, f"set up {image}")
        _commit(container, workdir, image)


@contextmanager
def _container(image: str, network: str) -> Iterator[Container]:
    client = connect(deadline=_BUILD_S)
    host_config = client.api.create_host_config(
        network_mode=network, security_opt=["no-new-privileges"]
    )
    container = Container(
        client,
        usable_image(client, image),
        image,
        entrypoint=["bash", "-p", "-c", "exec 3<> <(:); read -r -u 3"],
        host_config=host_config,
    )
    try:
        container.start()
        yield container
    finally:
        container.remove()
        client.close()


def _commit(container: Container, workdir: str, image: str) -> None:
    _run(container, _ONE_COMMIT, workdir, "make the repository")
    repository, tag = _name_and_tag(image)
    with engine_call(f"write the image {image}"):
        container.client.api.commit(
            container.id,
            repository=repository,
            tag=tag,
            changes=[f"WORKDIR {workdir}", 'CMD ["bash"]', "ENTRYPOINT []"],
        )


def _run(container: Container, script: str, workdir: str, purpose: str) -> None:
    try:
        command = ["bash", "-c", script, "bash", workdir]
        done = container.execute(command, timeout=_BUILD_S, repeatable=False)
    except BrokenBoxError as error:
        raise SandboxError(f"Could not {purpose}: {error}") from None
    if done.exit_code:
        said = done.error or done.output.decode("utf-8", "replace").strip()
        raise SandboxError(f"Could not {purpose}: {said[-500:] or f'exit code {done.exit_code}'}")


def _name_and_tag(image: str) -> tuple[str, str]:
    name, colon, tag = image.rpartition(":")
    return (
        (name, tag) if colon and "/" not in tag else (image, "latest")
    )  # registry:5000/name has no tag
