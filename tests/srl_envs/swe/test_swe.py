from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import srl_envs
from srl_envs.errors import ConfigError, DataError
from srl_envs.prompts.step import PromptSettings
from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxLimits
from srl_envs.swe.env import SWEEnv
from srl_envs.swe.tasks import gold_patch, load_task
from srl_envs.swe.tasks.hidden_tests import task_tests
from srl_envs.swe.tasks.images import cache_folder, image_of, task_image
from srl_envs.swe.tasks.verification import _add_failing_test, judge
from srl_envs.trajectory import ExpertStep, Trajectory

SUBMIT = "<think></think><function=submit>\n</function>"


def bash(command: str) -> str:
    return (
        "<think>t</think>Let us see.\n<function=bash>\n"
        f"<parameter=command>{command}</parameter>\n</function>"
    )


@pytest.fixture(scope="module")
def sandboxes(base_image, small_limits):
    """Makes small sandboxes and closes what a test left open."""
    made = []

    def make(place: str | Trajectory) -> DockerSandbox:
        image = place if isinstance(place, str) else image_of(place)
        made.append(DockerSandbox(image, limits=SandboxLimits(cpus=1.0, memory_mib=256)))
        return made[-1]

    yield make
    for sandbox in made:
        sandbox.close()


# ---------------------------------------------------------------- without an engine


def test_no_arguments_and_no_engine_gives_recorded_observations(monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    env = gym.make("SRL-SWE-v0")
    assert env.unwrapped.observations == "recorded"
    observation, info = env.reset(seed=3)
    trajectory = env.unwrapped._trajectory
    assert trajectory.prompt.splitlines()[0] in observation
    for step in trajectory.steps[:-1]:
        assert info["expert_action"] == step.action
        observation, reward, terminated, truncated, info = env.step(
            f"<think>so</think>Some prose.\n{step.action}"
        )
        assert reward == info["similarity"] == 1.0
        assert not truncated
    assert terminated


def test_only_the_last_two_turns_are_shown() -> None:
    env = SWEEnv(observations="recorded", prompt=PromptSettings(observation_characters=None))
    env.reset(options={"trajectory": 0})
    steps = env.trajectories[0].steps
    for _ in range(3):
        observation, *_ = env.step(SUBMIT)
    assert steps[2].action in observation and steps[1].observation in observation
    assert steps[0].action not in observation
    assert "1 earlier turn left out" in observation


def test_an_episode_can_start_at_any_step() -> None:
    env = SWEEnv(observations="recorded")
    trajectory = env.trajectories[2]
    observation, info = env.reset(options={"instance_id": f"{trajectory.id}/3"})
    assert info["step"] == 2 and info["expert_action"] == trajectory.steps[2].action
    assert trajectory.steps[1].observation.splitlines()[0] in observation


def test_what_is_trained_is_what_is_scored() -> None:
    env = SWEEnv(observations="recorded", prompt=PromptSettings(scored="arguments"))
    _, info = env.reset(options={"trajectory": 1})
    for instance in env.trajectories[1:2].instances(settings=env.prompt):
        assert info["messages"] == instance.messages
        assert info["expert_action"] == instance.expert_action
        answer = bash("ls -la")
        _, reward, _, _, info = env.step(answer)
        action = srl_envs.parse_response(answer).action
        assert reward == srl_envs.sequence_similarity(
            instance.scored(action), instance.expert_action.strip()
        )


def test_check_env_and_seeding(recwarn) -> None:
    env = gym.make("SRL-SWE-v0", observations="recorded", render_mode="ansi")
    check_env(env.unwrapped, skip_render_check=True)
    first, second = env.reset(seed=5), env.reset(seed=5)
    assert first == second
    assert any(
        env.reset(seed=seed)[1]["instance_id"] != first[1]["instance_id"] for seed in range(6, 12)
    )
    env.step(bash("ls"))
    assert "ls" in env.render() and "expert" in env.render()
    env.close()
    env.close()


def test_vector_forms_agree() -> None:
    arguments = {"observations": "recorded", "targets": "all"}
    ours = gym.make_vec(
        "SRL-SWE-v0", num_envs=3, vectorization_mode="vector_entry_point", **arguments
    )
    theirs = gym.make_vec("SRL-SWE-v0", num_envs=3, vectorization_mode="sync", **arguments)
    assert ours.reset(seed=1)[0] == theirs.reset(seed=1)[0]
    for _ in range(12):
        actions = [bash("ls"), SUBMIT, "no tags"]
        mine, other = ours.step(actions), theirs.step(actions)
        assert mine[0] == other[0]
        for left, right in zip(mine[1:4], other[1:4], strict=True):
            assert (left == right).all()
    ours.close()
    theirs.close()


def test_settings_that_do_not_go_together_are_named() -> None:
    with pytest.raises(ConfigError, match="follow='agent'"):
        SWEEnv(follow="agent", observations="recorded")
    with pytest.raises(ConfigError, match="observations is 'seen'"):
        SWEEnv(observations="seen")
    with pytest.raises(ConfigError, match="domain 'math'"):
        SWEEnv(source="builtin", limit=3)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("command_timeout", 0),
        ("command_timeout", "60"),
        ("prompt", "Be short."),
        ("system_prompt", "Be short."),
        ("title_hint", False),
        ("max_steps", 0),
    ],
)
def test_settings_that_cannot_be_used_are_named(setting, value) -> None:
    with pytest.raises(ConfigError, match=setting):
        gym.make("SRL-SWE-v0", observations="recorded", **{setting: value})


def test_a_failure_of_the_machinery_ends_the_episode(monkeypatch) -> None:
    env = SWEEnv(observations="recorded")
    env.reset(seed=0)
    monkeypatch.setattr(env.domain, "observations", "live")
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    with pytest.raises(SandboxError, match="No Docker engine answers"):
        env.reset(seed=0)
    with pytest.raises(ResetNeeded):
        env.step(SUBMIT)


def test_a_missing_engine_raises_and_gives_no_reward(monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    env = SWEEnv(follow="agent")
    with pytest.raises(SandboxError, match="No Docker engine answers"):
        env.reset(seed=0)


# ---------------------------------------------------------------- in real containers


@pytest.mark.docker
def test_live_observations_are_those_of_the_recording(sandboxes) -> None:
    env = SWEEnv(observations="live", targets="all", make_sandbox=sandboxes)
    _, info = env.reset(options={"trajectory": 0})
    terminated, drifts = False, []
    while not terminated:
        _, reward, terminated, _, info = env.step(bash("false"))
        assert 0 <= reward < 1
        drifts.append(info["drift"])
    assert len(drifts) == len(env.trajectories[0].steps)
    assert sum(drifts) / len(drifts) < 0.05
    env.close()


@pytest.mark.docker
def test_an_expert_who_is_followed_as_an_agent_solves_the_task(sandboxes) -> None:
    env = SWEEnv(follow="agent", make_sandbox=sandboxes)
    env.reset(options={"trajectory": 5})
    for step in env.trajectories[5].steps:
        _, reward, terminated, truncated, info = env.step(f"<think>x</think>{step.action}")
        assert info["similarity"] == 1.0
    assert terminated and not truncated
    assert info["correct"] is True and reward == 1.0
    assert info["patch"].startswith("diff --git")
    env.close()


@pytest.mark.docker
def test_an_agent_that_changes_nothing_fails_and_is_told_its_mistakes(sandboxes) -> None:
    env = SWEEnv(follow="agent", make_sandbox=sandboxes, max_steps=4)
    env.reset(options={"trajectory": 0})
    observation, reward, *_ = env.step("no think block")
    assert reward == -1 and "no_think" in observation
    observation, reward, *_ = env.step("<think></think>I will look around.")
    assert "There is no function call" in observation and reward >= 0
    observation, *_ = env.step(bash("cd /tmp; pwd; exit 3"))
    assert "/tmp" in observation and "The shell ended" in observation
    _, reward, terminated, truncated, info = env.step(bash("rm -rf /testbed/.git"))
    assert truncated and not terminated
    assert info["correct"] is False and reward == 0.0 and info["patch"] == ""
    assert "is not a git repository any more" in info["patch_error"]
    env.close()


@pytest.mark.docker
def test_an_agent_whose_patch_is_too_large_learns_why_it_fails(sandboxes, monkeypatch) -> None:
    monkeypatch.setattr("srl_envs.sandbox.git_changes._MAX_DIFF", 2 * 2**20)
    env = SWEEnv(follow="agent", make_sandbox=sandboxes, max_steps=1)
    env.reset(options={"trajectory": 0})
    _, reward, *_, info = env.step(bash("head -c 3M /dev/urandom > new.bin"))
    assert info["correct"] is False and reward == 0.0 and info["patch"] == ""
    assert "a patch of more than 2 MiB" in info["patch_error"]
    env.reset(options={"trajectory": 0})
    *_, info = env.step(bash("ls"))
    assert info["patch"] == "" and "patch_error" not in info
    env.close()


@pytest.mark.docker
def test_lone_surrogates_of_a_model_do_not_come_back(sandboxes) -> None:
    env = SWEEnv(follow="agent", make_sandbox=sandboxes, max_steps=4)
    env.reset(options={"trajectory": 0})
    for text in ("echo '\ud800' > new.txt", "cat \udcff", "\ud83d"):
        env.step(bash(text))[0].encode()
    env.step("<think></think>\ud800")[0].encode()
    env.close()


@pytest.mark.docker
def test_a_sandbox_that_is_lost_in_mid_episode_raises(sandboxes, engine) -> None:
    env = SWEEnv(follow="agent", make_sandbox=sandboxes)
    env.reset(options={"trajectory": 0})
    env.step(bash("ls"))
    engine.api.remove_container(env.domain.session.sandbox.container_id, force=True)
    with pytest.raises(SandboxError):
        env.step(bash("ls"))
    with pytest.raises(ResetNeeded):
        env.step(bash("ls"))
    env.close()


@pytest.mark.docker
def test_environments_of_a_vector_work_in_containers_of_their_own(base_image) -> None:
    envs = gym.make_vec(
        "SRL-SWE-v0",
        num_envs=3,
        vectorization_mode="vector_entry_point",
        follow="agent",
        max_steps=3,
    )
    envs.reset(seed=0)
    envs.step([bash(f"echo {number} > /tmp/number") for number in range(3)])
    observations, *_ = envs.step([bash("cat /tmp/number; echo end")] * 3)
    for number, observation in enumerate(observations):
        assert f"Observation:\n{number}\nend" in observation
    envs.close()
    envs.close()


@pytest.mark.docker
def test_the_sandbox_stands_in_the_trajectorys_folder(base_image) -> None:
    steps = (
        ExpertStep(bash("pwd > here.txt; pwd").partition("</think>")[2]),
        ExpertStep(SUBMIT.partition("</think>")[2]),
    )
    elsewhere = Trajectory(
        "t1", "Issue.", steps, domain="swe", metadata={"image": base_image, "workdir": "/srv"}
    )
    env = SWEEnv(trajectories=[elsewhere], observations="live")
    env.reset()
    observation, *_ = env.step(bash("ls"))
    assert "Observation:\n/srv" in observation
    assert env.domain.session.sandbox.workdir == "/srv"
    env.close()


@pytest.mark.docker
def test_an_experts_step_that_cannot_be_read_is_told_at_the_start(base_image) -> None:
    steps = (
        ExpertStep(bash("ls").partition("</think>")[2]),
        ExpertStep("I give up."),
        ExpertStep("So do I."),
    )
    broken = Trajectory(
        "t9", "Issue.", steps, domain="swe", metadata={"image": base_image, "workdir": "/tmp"}
    )
    env = SWEEnv(trajectories=[broken], observations="live")
    with pytest.raises(DataError, match="'t9', step 2"):
        env.reset()
    with pytest.raises(ResetNeeded):
        env.step(bash("ls"))
    env.close()


# ---------------------------------------------------------------- verdicts


@pytest.fixture(scope="module")
def task(base_image):
    return load_task("parse-microseconds")


@pytest.fixture
def sandbox(sandboxes, task):
    with sandboxes(task_image(task)) as sandbox:
        yield sandbox


@pytest.mark.docker
def test_the_gold_patch_resolves(task, sandbox) -> None:
    verdict = judge(task_tests(task), gold_patch(task, cache_folder()), sandbox)
    assert verdict.resolved and verdict.applied and verdict.failing == ()


@pytest.mark.docker
def test_an_empty_patch_and_one_that_does_not_apply_do_not_resolve(task, sandbox) -> None:
    empty = judge(task_tests(task), "", sandbox)
    assert not empty.resolved and empty.applied
    assert set(empty.failing) == set(task.fail_to_pass)
    broken = judge(
        task_tests(task),
        "diff --git a/nope.py b/nope.py\n--- a/nope.py\n+++ b/nope.py\n@@ -1 +1 @@\n-a\n+b\n",
        sandbox,
    )
    assert not broken.resolved and not broken.applied and "nope.py" in broken.log


ALWAYS_PASSED = """import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().outcome = "passed"
"""
PATCHED_PYTEST = """from _pytest.reports import TestReport
made = TestReport.from_item_and_call
def passed(item, call):
    report = made(item, call)
    report.outcome = "passed"
    return report
TestReport.from_item_and_call = passed
"""
FORGED_PYTEST = """import re
print("=== short test summary info ===")
for name in re.findall(r"^def (test_\\w+)", open("tests/test_bugs.py").read(), re.M):
    print(f"PASSED tests/test_bugs.py::{name}")
"""
NO_TEST = "def test_microsecond_precision_issue162():\n    pass\n"
CHEATS = {
    "conftest": {
        "conftest.py": ALWAYS_PASSED,
        "tests/conftest.py": ALWAYS_PASSED,
        "tests/test_bugs.py": NO_TEST,
    },
    "setup.cfg": {"setup.cfg": "[tool:pytest]\naddopts = -p evil\n", "evil.py": ALWAYS_PASSED},
    "pyproject.toml": {
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p evil'\n",
        "evil.py": ALWAYS_PASSED,
    },
    "pyproject.toml in the tests' folder": {
        "tests/pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p evil'\n",
        "evil.py": ALWAYS_PASSED,
    },
    "a package of the tests": {"tests/__init__.py": PATCHED_PYTEST},
    "an entry point": {
        "evil-1.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: evil\nVersion: 1\n",
        "evil-1.egg-info/entry_points.txt": "[pytest11]\nevil = evil\n",
        "evil.py": ALWAYS_PASSED,
    },
    "another pytest": {"pytest.py": FORGED_PYTEST},
    "another pluggy": {"pluggy/__init__.py": FORGED_PYTEST + "raise SystemExit\n"},
    "another argparse": {"argparse.py": FORGED_PYTEST + "raise SystemExit\n"},
}


@pytest.mark.docker
@pytest.mark.parametrize("files", CHEATS.values(), ids=CHEATS)
def test_a_patch_that_steers_the_test_run_does_not_resolve(task, sandbox, files) -> None:
    for path, content in files.items():
        sandbox.write_file(path, content)
    patch = sandbox.diff()
    assert patch.count("diff --git") == len(files)
    sandbox.reset()
    verdict = judge(task_tests(task), patch, sandbox)
    assert verdict.applied and set(verdict.failing) == set(task.fail_to_pass), verdict.log


FORGED_AT_THE_END = "\n".join(
    ["import atexit", "def forge():", *(f"    {line}" for line in FORGED_PYTEST.splitlines())]
)


@pytest.mark.docker
@pytest.mark.parametrize(
    "forgery", [PATCHED_PYTEST, f"{FORGED_AT_THE_END}\natexit.register(forge)\n"]
)
def test_code_under_test_that_forges_the_report_does_not_resolve(task, sandbox, forgery) -> None:
    sandbox.write_file("parse.py", sandbox.read_file("parse.py").decode() + forgery)
    patch = sandbox.diff()
    sandbox.reset()
    verdict = judge(task_tests(task), patch, sandbox)
    assert verdict.applied and not verdict.resolved
    assert "forged" in verdict.log and set(task.fail_to_pass) <= set(verdict.failing)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("command", "added"),
    [
        ("python -m pytest -q -rA tests/test_bugs.py", True),
        ("source /opt/env/bin/activate; pytest --disable-warnings --tb=no --verbose", True),
        ("cd . && .venv/bin/py.test -n 4 -rA", True),
        ("pytest -x -rA", False),
        ("pytest -vx -rA", False),
        ("pytest -rA --maxfail=1", False),
        ("pytest -rA -k microsecond", False),
        ("pytest -rA tests/test_bugs.py::test_microsecond_precision_issue162", False),
        ("pytest -rA tests/test_parse.py", False),
        ("python tests/runtests.py", False),
    ],
)
def test_a_test_that_fails_is_added_where_pytest_will_run_it(task, sandbox, command, added) -> None:
    tests = replace(task_tests(task), command=command)
    before = sandbox.read_file("tests/test_bugs.py")
    name = _add_failing_test(tests, sandbox)
    assert (name is not None) is added
    assert (sandbox.read_file("tests/test_bugs.py") != before) is added
    if name:
        failed = sandbox.run(f"python -m pytest -q -rA {name}").output
        assert f"FAILED {name} - assert" in failed and "1 failed" in failed


@pytest.mark.docker
@pytest.mark.parametrize(
    ("change", "resolved"),
    [
        (
            "rm tests/test_bugs.py && mkdir tests/test_bugs.py && touch tests/test_bugs.py/kept",
            True,
        ),
        ("mv tests elsewhere && ln -s elsewhere tests", True),
        ("mv tests elsewhere && echo > tests", True),
        ("git mv parse.py parser.py && git mv tests/test_bugs.py tests/test_more.py", False),
    ],
)
def test_a_patch_that_takes_the_tests_place_gets_a_verdict(task, sandbox, change, resolved) -> None:
    sandbox.write_file("/tmp/gold.patch", gold_patch(task, cache_folder()))
    assert sandbox.run(f"git apply /tmp/gold.patch && {change}").exit_code == 0
    patch = sandbox.diff()
    sandbox.reset()
    verdict = judge(task_tests(task), patch, sandbox)
    assert verdict.applied and verdict.resolved is resolved, verdict.log


@pytest.mark.docker
def test_a_patch_that_leaves_no_place_for_a_test_is_no_failure_of_the_machinery(
    task, sandbox
) -> None:
    sandbox.run("rm -r tests/test_bugs.py && mkdir tests/test_bugs.py")  # as no patch can leave it
    verdict = judge(task_tests(task), "", sandbox)
    assert not verdict.resolved and "test_bugs.py is a folder" in verdict.log


@pytest.mark.docker
def test_a_patch_of_what_is_left_out_only_changes_nothing(task, sandbox) -> None:
    sandbox.run("git mv tests/test_bugs.py setup.cfg")
    patch = sandbox.diff()
    sandbox.reset()
    assert set(judge(task_tests(task), patch, sandbox).failing) == set(task.fail_to_pass)
    assert sandbox.run("git status --porcelain").output == " M tests/test_bugs.py\n"


@pytest.mark.docker
def test_nothing_in_the_image_tells_the_fix(task, sandbox) -> None:
    fix_line = next(
        line[1:].strip()
        for line in gold_patch(task, cache_folder()).splitlines()
        if line.startswith("+") and not line.startswith("+++")
    )
    found = sandbox.run(
        "cd /testbed && git log --all --oneline | wc -l; git stash list; git remote; "
        f"git fsck --lost-found 2>&1; grep -rF -- '{fix_line}' . ; true"
    )
    assert found.output.split() == ["1"]
    hidden = sandbox.run(f"grep -r {task.fail_to_pass[0].split('::')[-1]} /testbed")
    assert hidden.exit_code == 1
