"""A trajectory's own environment and tests, in real containers: set-up, judgement, replay."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srl_envs import load_trajectories
from srl_envs.commands import GRAMMARS
from srl_envs.data.agent_environment import environment_of
from srl_envs.errors import ConfigError
from srl_envs.replay import main as replay_main
from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxLimits
from srl_envs.sandbox.images import image_of_tree
from srl_envs.sandboxes import SANDBOXES
from srl_envs.swe.env import SWEEnv
from srl_envs.swe.tasks.hidden_tests import hidden_tests, log_parser, passed_in_pytest
from srl_envs.swe.tasks.images import image_of, sandbox_of
from srl_envs.swe.tasks.verification import judge, patch_verdict
from srl_envs.trajectory import ExpertStep, Trajectory

RIGHT, WRONG = "def half(x):\n    return x / 2\n", "def half(x):\n    return x // 2\n"
TEST = "from pkg.a import half\n\n\ndef test_half():\n    assert half(1) == 0.5\n"
OTHER = "from pkg.a import half\n\n\ndef test_even():\n    assert half(4) == 2\n"


def changed(path: str, before: str, after: str) -> str:
    """A patch of the whole of a small file; an empty text is a file that is not there."""
    old, new = before.splitlines(), after.splitlines()
    lines = [f"-{line}" for line in old] + [f"+{line}" for line in new]
    source = f"a/{path}" if old else "/dev/null"
    mode = "" if old else "new file mode 100644\n"
    return (
        f"diff --git a/{path} b/{path}\n{mode}--- {source}\n+++ b/{path}\n"
        f"@@ -{1 if old else 0},{len(old)} +1,{len(new)} @@\n" + "\n".join(lines) + "\n"
    )


BUG, FIX = changed("pkg/a.py", RIGHT, WRONG), changed("pkg/a.py", WRONG, RIGHT)
FAILING, PASSING = "tests/test_half.py::test_half", "tests/test_even.py::test_even"


@pytest.fixture(scope="module")
def images(engine: Any, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The repository as SWE-smith has it (sound, with its tests) and as SWE-rebench has it."""
    tag, trees = uuid.uuid4().hex[:12], tmp_path_factory.mktemp("trees")
    for name, code in (("smith", RIGHT), ("rebench", WRONG)):
        for path, text in (("pkg/__init__.py", ""), ("pkg/a.py", code), ("setup.cfg", "")):
            (trees / name / path).parent.mkdir(parents=True, exist_ok=True)
            (trees / name / path).write_text(text)
        (trees / name / "tests").mkdir()
        (trees / name / "tests/test_even.py").write_text(OTHER)
    (trees / "smith/tests/test_half.py").write_text(TEST)
    names = {name: f"srl-tests-{name}:{tag}" for name in ("smith", "rebench")}
    for name, image in names.items():
        image_of_tree(trees / name, image)
    yield names
    for image in names.values():
        engine.images.remove(image, force=True)


@pytest.fixture
def tasks(images: dict[str, str]) -> dict[str, dict[str, Any]]:
    both = {"FAIL_TO_PASS": [FAILING], "PASS_TO_PASS": [PASSING]}
    return {
        "smith": {
            "instance_id": "org__repo.73871d76.func__x",
            "patch": BUG,
            "image_name": images["smith"],
            **both,
        },
        "rebench": {
            "instance_id": "org__repo-1",
            "patch": FIX,
            "test_patch": changed("tests/test_half.py", "", TEST),
            "docker_image": images["rebench"],
            "install_config": {"test_cmd": "python -m pytest -v", "log_parser": "parse_log_pytest"},
            **both,
        },
    }


def trajectory_of(task: dict[str, Any], *commands: str) -> Trajectory:
    grammar = GRAMMARS["xml"]
    steps = [grammar.command("bash", command=command) for command in commands]
    return Trajectory(
        task["instance_id"],
        "It fails.",
        tuple(ExpertStep(step.text) for step in (*steps, grammar.command("submit"))),
        domain="swe",
        metadata=environment_of(task),
    )


LOOK = "cat pkg/a.py; ls tests; git log --oneline | wc -l; git status --short"
MEND = "sed -i 's#//#/#' pkg/a.py"


@pytest.mark.docker
@pytest.mark.parametrize("kind", ["smith", "rebench"])
def test_an_agent_finds_the_bug_and_not_the_tests_and_is_judged(
    tasks: dict[str, Any], kind: str
) -> None:
    trajectory = trajectory_of(tasks[kind], LOOK, MEND)
    env = SWEEnv(trajectories=[trajectory], follow="agent")
    env.reset()
    observation, *_ = env.step(f"<think></think>{trajectory.steps[0].action}")
    assert f"Observation:\n{WRONG}" in observation
    assert observation.endswith("test_even.py\n1")  # one commit, no hidden test, nothing changed
    for step in trajectory.steps[1:]:
        _, reward, _, _, info = env.step(f"<think></think>{step.action}")
    assert (reward, info["correct"], info["patch"].count("diff --git")) == (1.0, True, 1)
    env.reset()
    _, reward, _, _, info = env.step(f"<think></think>{trajectory.steps[-1].action}")
    assert (reward, info["correct"], info["patch"]) == (0.0, False, "")
    env.close()


@pytest.mark.docker
@pytest.mark.parametrize("kind", ["smith", "rebench"])
def test_what_a_patch_does_to_the_tests_does_not_count(tasks: dict[str, Any], kind: str) -> None:
    trajectory = trajectory_of(tasks[kind])
    forged = changed("tests/test_half.py", "", "def test_half():\n    pass\n")
    configured = changed("pytest.ini", "", "[pytest]\npython_files = none_*.py\n")

    def make(one: Trajectory) -> Any:
        return sandbox_of(one, SANDBOXES.named("docker"))

    verdict = patch_verdict(trajectory, FIX + configured, make)
    assert verdict and verdict.resolved is True
    if kind == "rebench":  # there the agent's repository has no such file
        verdict = patch_verdict(trajectory, forged, make)
        assert verdict and verdict.resolved is False
        verdict = patch_verdict(trajectory, FIX + forged, make)
        assert verdict and verdict.resolved is True


@pytest.mark.docker
def test_a_set_up_or_tests_that_do_not_fit_are_no_verdict(tasks: dict[str, Any]) -> None:
    foreign = changed("pkg/no.py", "a\n", "b\n")
    trajectory = trajectory_of({**tasks["smith"], "patch": foreign})
    with pytest.raises(SandboxError, match="apply the set-up's patch"):
        image_of(trajectory)
    with DockerSandbox(tasks["smith"]["image_name"]) as sandbox:
        tests = hidden_tests(trajectory)
        assert tests is not None
        with pytest.raises(SandboxError, match="setup_patch does not fit"):
            judge(tests, FIX, sandbox)
        with pytest.raises(SandboxError, match="test_patch does not fit"):
            judge(replace(tests, setup_patch="", patch=foreign), "", sandbox)
    with pytest.raises(SandboxError, match="does not hold the image nowhere:1"):
        image_of(trajectory_of({**tasks["smith"], "image_name": "nowhere:1"}))


@pytest.mark.docker
def test_trajectories_are_replayed_with_their_tasks(
    tasks: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for name, commands in (("fixed", [LOOK, MEND]), ("not", [LOOK])):
        steps = trajectory_of(tasks["smith"], *commands).steps
        messages: list[dict[str, str]] = [{"role": "user", "content": "It fails."}]
        messages += [{"role": "assistant", "content": step.action} for step in steps]
        rows.append(
            {"instance_id": tasks["smith"]["instance_id"], "traj_id": name, "messages": messages}
        )
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks.jsonl").write_text(json.dumps(tasks["smith"]) + "\n")
    arguments = ["--source", "swe_smith", "--path", str(tmp_path / "runs.jsonl")]
    arguments += ["--tasks", str(tmp_path / "tasks.jsonl"), "--output", str(tmp_path / "kept")]
    assert replay_main(arguments) == 2
    assert "no verdict in the row" in capsys.readouterr().err
    assert replay_main([*arguments, "--resolved_only", "false"]) == 0
    assert "1 resolved, 1 not, 0 without tests" in capsys.readouterr().out
    assert [one.id for one in load_trajectories("jsonl", path=tmp_path / "kept")] == ["fixed"]


@pytest.mark.docker
def test_a_registered_sandbox_serves_by_its_name(
    tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SANDBOXES, "_entries", dict(SANDBOXES))
    made = []

    def small(image: str, /, *, workdir: str, limits: SandboxLimits, startup: str) -> Any:
        made.append((image, workdir, startup))
        limits = SandboxLimits(cpus=0.5, memory_mib=256)
        return DockerSandbox(image, workdir=workdir, limits=limits, startup=startup)

    SANDBOXES.register("small", small)
    metadata = {"image": tasks["rebench"]["docker_image"], "startup": "export SEEN=yes"}
    grammar = GRAMMARS["bash"]
    steps = tuple(
        ExpertStep(grammar.command("bash", command=command).text)
        for command in ("echo $SEEN", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
    )
    trajectory = Trajectory(
        "t", "Issue.", steps, domain="swe", metadata={**metadata, "grammar": "bash"}
    )
    env = SWEEnv(trajectories=[trajectory], observations="live", sandbox="small", targets="all")
    env.reset()
    observation, *_ = env.step(f"<think></think>{steps[0].action}")
    assert "<output>\nyes\n</output>" in observation
    env.close()
    assert made == [(metadata["image"], "/testbed", "export SEEN=yes")]


def test_sandboxes_are_named_or_made() -> None:
    with pytest.raises(ConfigError, match="sandbox is 'podman': use one of"):
        SWEEnv(observations="recorded", sandbox="podman")
    with pytest.raises(ConfigError, match="sandbox='other' and make_sandbox exclude each other"):
        SWEEnv(observations="recorded", sandbox="other", make_sandbox=lambda trajectory: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"test_command": "pytest"}, "has a test_command, but no FAIL_TO_PASS"),
        ({"test_command": "pytest", "FAIL_TO_PASS": "a"}, "FAIL_TO_PASS in the metadata must list"),
        (
            {"test_command": "x", "FAIL_TO_PASS": ["a"], "log_parser": "parse_log_cobol"},
            "log_parser is 'parse_log_cobol': use 'pytest' or one of parse_log_ant",
        ),
    ],
)
def test_tests_that_could_not_judge_are_refused_before_anything_runs(
    metadata: dict[str, Any], message: str
) -> None:
    pytest.importorskip("swebench", reason="its log parsers are named in the message")
    trajectory = Trajectory("t", "I.", (ExpertStep("ls"),) * 2, domain="swe", metadata=metadata)
    with pytest.raises(ConfigError, match=message):
        SWEEnv(trajectories=[trajectory], follow="agent")


def test_logs_are_read() -> None:
    summary = "PASSED a::b - printed\n=== short test summary info ===\nPASSED a::c\nFAILED a::d - x"
    assert passed_in_pytest(summary) == {"a::c"}
    verbose = "a.py::b PASSED [ 50%]\na.py::c FAILED [100%]\na.py::d XFAIL (why)\n"
    assert passed_in_pytest(verbose) == {"a.py::b", "a.py::d"}
    pytest.importorskip("swebench", reason="its log parsers")
    assert log_parser("parse_log_gotest")("--- PASS: TestB (0.01s)\n--- FAIL: TestC (0.01s)\n") == {
        "TestB"
    }
