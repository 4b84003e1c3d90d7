"""Repositories as people's images hold them: a start costs nothing, and a patch holds what changed
since then, whatever the state of the repository was.
"""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srl_envs.sandbox import DockerSandbox, SandboxLimits
from srl_envs.sandbox.images import image_of_tree, sealed_image

pytestmark = pytest.mark.docker

STATES = {
    "clean": "true",
    "edited": "echo edited > a.txt; rm c.txt; chmod +x b.txt",
    "staged": "echo staged > a.txt; git add a.txt; echo more >> a.txt; git rm -q --cached c.txt",
    "untracked": "mkdir new; echo new > new/u.txt; touch $'odd\\n\"name' $'\\351'",
    "forced": "echo '*.log' > .gitignore; echo x > f.log; echo y > g.log; git add -f f.log",
    "assumed": "git update-index --assume-unchanged a.txt; echo hidden > a.txt",
    "skipped": "git update-index --skip-worktree a.txt c.txt; echo hidden > a.txt; rm c.txt",
    "split index": "git update-index --split-index; echo edited > a.txt",
    "no index": "rm .git/index; echo '*.log' > .gitignore; echo x > f.log",
    "damaged index": "head -c 100 /dev/urandom > .git/index",
    "inside": "git init -q full; cd full; echo i > i.txt; git add -A; git commit -qm i; cd ..; "
    "git init -q empty; echo e > empty/e.txt",
    "submodule": "git init -q s; cd s; echo i > i.txt; git add -A; git commit -qm i; cd ..; "
    "git add s; git commit -qm s; echo changed > s/i.txt",
    "sparse": "git sparse-checkout init --cone; git sparse-checkout set d",
    "no commit": "rm -rf .git; git init -q .; git add a.txt",
    "sha256": "rm -rf .git; git init -q --object-format=sha256 .; git add -A; git commit -qm one",
    "separate": "mv .git /srv/separate; echo 'gitdir: /srv/separate' > .git",
    "worktree": "cd /work; mv worktree /srv/main; git -C /srv/main worktree add -q /work/worktree",
    "borrowed": "mv .git /srv/lender; git clone -q -s --bare /srv/lender .git; "
    "git config core.bare false; git reset -q --hard",
    "shallow": "git init -q /srv/deep; rm -rf .git; git clone -q --depth 1 --no-checkout "
    "file:///work/clean .git/t; mv .git/t/.git /srv/s; rm -rf .git; mv /srv/s .git; git reset -q",
    "conflict": "git checkout -q -b o; echo o > a.txt; git commit -qam o; git checkout -q main; "
    "echo m > a.txt; git commit -qam m; git merge -q o || true",
    "packed": "git gc -q",
    "filters": "echo '*.txt text eol=crlf' > .gitattributes; git config core.autocrlf true",
    "unreadable": "chmod 000 c.txt d",
    "large": "head -c 20000000 /dev/urandom > large.bin",
}
MAKE = """set -e
git config --global user.name T; git config --global user.email t@example.org
git config --global init.defaultBranch main; git config --global advice.detachedHead false
make() {
    mkdir -p "/work/$1/d"; cd "/work/$1"; git init -q .
    for name in a.txt b.txt c.txt d/e.txt; do echo "$name" > $name; done
    git add -A; git commit -q -m one
}
"""


@pytest.fixture(scope="module")
def states_image(engine: Any, base_image: str) -> Iterator[str]:
    """An image with a repository in each of the states, below ``/work``."""
    script = MAKE + "".join(f"make '{name}'\n(set +e; {do})\n" for name, do in STATES.items())
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        dockerfile = f"FROM {base_image}\nCOPY make.sh /\nRUN bash /make.sh; rm /root/.gitconfig"
        for file, text in (("Dockerfile", dockerfile), ("make.sh", script)):
            member = tarfile.TarInfo(file)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    context.seek(0)
    name = f"srl-tests-{uuid.uuid4().hex[:12]}:a"
    engine.images.build(
        fileobj=context, custom_context=True, tag=name, network_mode="none", rm=True
    )
    yield name
    engine.images.remove(name, force=True)


def written(engine: Any, sandbox: DockerSandbox) -> int:
    listed = engine.api.containers(size=True, filters={"id": sandbox.container_id})
    return int(listed[0].get("SizeRw", 0))


@pytest.mark.parametrize("state", STATES)
def test_a_patch_holds_what_changed_since_the_start_alone(
    engine: Any, states_image: str, small_limits: SandboxLimits, state: str
) -> None:
    with DockerSandbox(states_image, workdir=f"/work/{state}", limits=small_limits) as sandbox:
        assert written(engine, sandbox) == 0
        assert sandbox.diff() == ""
        # Reading a split index tells git that its other file is in use.
        objects = "find -L .git /srv -type f ! -name 'sharedindex.*' -printf '%p %C@ %s\\n' | sort"
        before = sandbox.run(objects).output
        sandbox.run("echo changed >> b.txt; echo new > n.txt; mkdir -p d; echo deep > d/n.txt")
        patch = sandbox.diff()
        assert sandbox.run(objects).output == before
        assert written(engine, sandbox) < 100_000  # a folder's entry in an overlay counts
    assert patch.count("diff --git") == 3
    for expected in ("a/b.txt b/b.txt", "a/n.txt b/n.txt", "a/d/n.txt b/d/n.txt"):
        assert f"diff --git {expected}\n" in patch
    assert "+changed\n" in patch and "+new\n" in patch and "+deep\n" in patch


def test_a_patch_of_an_edited_start_is_against_that_start(
    states_image: str, small_limits: SandboxLimits
) -> None:
    with DockerSandbox(states_image, workdir="/work/edited", limits=small_limits) as sandbox:
        sandbox.run("echo again > a.txt; git checkout -q c.txt; chmod -x b.txt")
        patch = sandbox.diff()
    assert "-edited\n+again\n" in patch
    assert "new file mode 100644\n" in patch and "old mode 100755\nnew mode 100644\n" in patch


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_seen(
    states_image: str, small_limits: SandboxLimits
) -> None:
    with DockerSandbox(states_image, workdir="/work/clean", limits=small_limits) as sandbox:
        sandbox.run("echo other > o.tx_; touch -r b.txt o.tx_; mv o.tx_ b.txt")
        assert "-b.txt\n+other\n" in sandbox.diff()


def test_images_that_we_build_pack_their_objects(
    engine: Any, base_image: str, tmp_path: Path, image_name: str, small_limits: SandboxLimits
) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"{number}\n")
    image_of_tree(tmp_path, f"{image_name}:latest", base=base_image)
    sealed_image(f"{image_name}:latest", f"{image_name}:sealed")
    try:
        for tag in ("latest", "sealed"):
            with DockerSandbox(f"{image_name}:{tag}", limits=small_limits) as sandbox:
                counted = sandbox.run("git count-objects -v").output
                assert "count: 0\n" in counted and "packs: 1\n" in counted
                assert sandbox.diff() == ""
    finally:
        engine.images.remove(f"{image_name}:sealed", force=True)


def test_the_start_of_an_image_is_read_once(
    engine: Any, states_image: str, small_limits: SandboxLimits
) -> None:
    """Its other sandboxes start no container beside their own."""
    created = []
    settings: Any = {"limits": small_limits, "capabilities": ("KILL",)}  # no other test's

    def diff_of_one() -> None:
        with DockerSandbox(states_image, workdir="/work/packed", **settings) as sandbox:
            since = sandbox.run("date +%s.%N").output.strip()
            sandbox.diff()
            until = sandbox.run("date +%s.%N").output.strip()
        happened = engine.api.events(since, until, filters={"event": "create"}, decode=True)
        created.append(sum(event["Type"] == "container" for event in happened))

    diff_of_one()
    diff_of_one()
    assert created[0] >= 1 and created[1] == 0
