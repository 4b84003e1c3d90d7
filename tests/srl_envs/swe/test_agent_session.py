"""What an agent sees of its commands, in a real container."""

from __future__ import annotations

import pytest

from srl_envs.commands import GRAMMARS
from srl_envs.errors import DataError
from srl_envs.sandbox import DockerSandbox
from srl_envs.swe.agent_session import AgentSession, drift, expert_commands
from srl_envs.trajectory import ExpertStep, Trajectory

MARKER = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
LS = GRAMMARS["bash"].command("bash", command="ls")
SUBMIT = GRAMMARS["xml"].command("submit")


@pytest.fixture(scope="module")
def sandbox(base_image, small_limits):
    with DockerSandbox(base_image, workdir="/tmp", limits=small_limits) as sandbox:
        yield sandbox


@pytest.mark.docker
def test_the_work_of_a_submission_in_bash_is_done(sandbox) -> None:
    command = GRAMMARS["bash"].command(
        "bash", command=f"cd /tmp && echo {MARKER} && echo done > made.txt && cat made.txt"
    )
    assert command.submits
    assert (
        AgentSession(sandbox, "bash").observe(command)
        == f"<returncode>0</returncode>\n<output>\n{MARKER}\ndone\n</output>"
    )
    assert sandbox.read_file("made.txt") == b"done\n"


@pytest.mark.docker
def test_the_tool_submit_runs_nothing(sandbox) -> None:
    assert AgentSession(sandbox, "xml").observe(SUBMIT) == ""


def test_a_submission_without_a_recorded_observation_does_not_drift() -> None:
    submission = GRAMMARS["bash"].command("bash", command=f"echo {MARKER}")
    assert drift(submission, f"{MARKER}\n", "", 1000) == 0.0
    assert drift(submission, f"{MARKER}\n", f"{MARKER}\r\n", 1000) == 0.0
    assert drift(submission, f"{MARKER}\n", "-", 1000) == 1.0
    assert drift(LS, "a.py", "", 1000) == 1.0


def test_a_step_that_cannot_be_read_is_named() -> None:
    trajectory = Trajectory(
        "t7",
        "Issue.",
        (ExpertStep(LS.text), ExpertStep("I give up.")),
        domain="swe",
        metadata={"grammar": "bash"},
    )
    assert expert_commands(trajectory, 1) == [LS]
    with pytest.raises(DataError, match=r"'t7', step 2: .* grammar 'bash' \(There is no command"):
        expert_commands(trajectory)
