"""A right patch is judged right in any image; what an image forbids is not a verdict."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from srl_envs.sandbox import DockerSandbox, Sandbox, SandboxError, SandboxLimits
from srl_envs.swe.tasks.images import sandbox_of
from srl_envs.swe.tasks.verification import patch_verdict
from srl_envs.trajectory import ExpertStep, Trajectory

pytestmark = pytest.mark.docker

MAKE = (
    "git config --global user.name T; git config --global user.email t@example.org; "
    "mkdir -p '/test bed/pkg' && cd '/test bed' && git init -q . && echo old > pkg/a.txt && "
    "echo two > b.txt && git add -A && git commit -q -m one; useradd -m dev"
)
VARIANTS = {
    "plain": "",
    "of another user": "RUN chown -R dev '/test bed'",
    "all of another user": "RUN chown -R dev '/test bed'\nUSER dev",
    "prefixes": "RUN git config --system diff.noprefix true && "
    "git config --system diff.mnemonicPrefix true && git config --system color.ui always && "
    "git -C '/test bed' config diff.noprefix true && "
    "git -C '/test bed' config apply.whitespace error",
    "variables": "ENV GIT_DIR=/nowhere GIT_WORK_TREE=/nowhere GIT_EXTERNAL_DIFF=false",
    "edited": "RUN cd '/test bed' && echo edited > b.txt && echo more >> pkg/a.txt",
    "staged": "RUN cd '/test bed' && echo staged > b.txt && git add -A && echo more >> pkg/a.txt",
    "untracked": "RUN cd '/test bed' && mkdir x.egg-info && echo 1 > x.egg-info/SOURCES.txt && "
    "echo made > made.txt",
    "worktree": "RUN mv '/test bed' /main && git -C /main worktree add -q -b w '/test bed'",
    "repositories inside": "RUN cd '/test bed' && git init -q empty && git init -q full && "
    "cd full && echo x > f && git add -A && git commit -qm f && echo y > f",
    "shell": "ENV SHELLOPTS=noclobber:noglob",
}
# Prints as pytest does, and is not pytest.
TEST = (
    'cd -- "$PWD"; echo "= short test summary info ="; '
    "if grep -q new pkg/a.txt; then echo PASSED t.py::test_a; else echo FAILED t.py::test_a; fi"
)
CHANGE = (
    "sed -i 's/old/new/' pkg/a.txt; echo three >> b.txt; "
    "for name in x.egg-info/SOURCES.txt made.txt; do "
    'if [ -e "$name" ]; then echo again >> "$name"; fi; done; echo n > new.txt'
)


@pytest.fixture(scope="module")
def image(engine: Any, base_image: str) -> Iterator[str]:
    name = f"srl-tests-{uuid.uuid4().hex[:12]}:a"
    build(engine, name, f"FROM {base_image}", f"RUN {MAKE}")
    yield name
    engine.images.remove(name, force=True)


def build(engine: Any, name: str, *lines: str) -> None:
    file = io.BytesIO("\n".join(lines).encode())
    engine.images.build(fileobj=file, tag=name, network_mode="none", rm=True)


def task_in(image: str) -> Trajectory:
    metadata = {
        "image": image,
        "workdir": "/test bed",
        "test_command": TEST,
        "FAIL_TO_PASS": ["t.py::test_a"],
    }
    return Trajectory("t", "It fails.", (ExpertStep("ls"),), domain="swe", metadata=metadata)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_right_patch_is_judged_right(
    engine: Any, image: str, small_limits: SandboxLimits, variant: str
) -> None:
    name = f"srl-tests-{uuid.uuid4().hex[:12]}:a"
    build(engine, name, f"FROM {image}", VARIANTS[variant])
    task = task_in(name)

    def make(one: Trajectory) -> Sandbox:
        def docker(image: str, /, **settings: Any) -> Sandbox:
            return DockerSandbox(image, **{**settings, "limits": small_limits})

        return sandbox_of(one, docker)

    try:
        with make(task) as sandbox:  # type: ignore[attr-defined]
            sandbox.run(CHANGE)
            patch = sandbox.diff()
        assert "+new" in patch and "+three" in patch
        verdict = patch_verdict(task, patch, make)
        assert verdict and verdict.resolved is True
        verdict = patch_verdict(task, "", make)
        assert verdict and verdict.resolved is False
    finally:
        engine.images.remove(name, force=True)


def test_a_repository_that_its_user_may_not_write_is_no_verdict(
    engine: Any, image: str, small_limits: SandboxLimits
) -> None:
    name = f"srl-tests-{uuid.uuid4().hex[:12]}:a"
    build(engine, name, f"FROM {image}", "USER 12345")
    patch = "diff --git a/b.txt b/b.txt\n--- a/b.txt\n+++ b/b.txt\n@@ -1 +1 @@\n-two\n+new\n"

    def make(one: Trajectory) -> Sandbox:
        return DockerSandbox(name, workdir="/test bed", limits=small_limits)

    try:
        with pytest.raises(SandboxError, match="/test bed"):
            patch_verdict(task_in(name), patch, make)
    finally:
        engine.images.remove(name, force=True)
