"""What an agent sees of its commands, in a real container."""

from __future__ import annotations

import pytest

from srl_envs.commands import GRAMMARS, Command
from srl_envs.errors import ConfigError, DataError
from srl_envs.sandbox import DockerSandbox
from srl_envs.swe.agent_session import AgentSession, drift, expert_commands
from srl_envs.swe.env import SWEEnv
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
        AgentSession(sandbox, "bash").observe(command) == "done\n"
    )  # what mini-swe-agent records of a submission
    assert sandbox.read_file("made.txt") == b"done\n"


@pytest.mark.docker
def test_the_tool_submit_runs_nothing(sandbox) -> None:
    assert AgentSession(sandbox, "xml").observe(SUBMIT) == ""


def bash(command: str, grammar: str = "bash") -> Command:
    return GRAMMARS[grammar].command("bash", command=command)


@pytest.mark.docker
@pytest.mark.parametrize("grammar", ["bash", "mswea_bash", "bash_tool"])
def test_each_command_of_mini_swe_agent_runs_in_a_new_shell(sandbox, grammar) -> None:
    session = AgentSession(sandbox, grammar)
    for command in ("cd /usr && export LEAKED=1 && f() { :; }; set -e", "exit 3", "exec true"):
        session.observe(bash(command, grammar))
    seen = session.observe(bash("pwd; echo ${LEAKED:-none}; type f 2>&1; false; echo on", grammar))
    assert seen == (
        "<returncode>0</returncode>\n<output>\n/tmp\nnone\n"
        "bash: line 1: type: f: not found\non\n</output>"
    )
    assert session.observe(bash("exit 3", grammar)) == (
        "<returncode>3</returncode>\n<output>\n</output>"
    )
    assert session.observe(bash("printf x", grammar)) == (
        "<returncode>0</returncode>\n<output>\nx</output>"
    )


@pytest.mark.docker
def test_one_shell_lasts_in_swe_agent(sandbox) -> None:
    session = AgentSession(sandbox, "ticks")
    session.observe(bash("cd /usr; X=1", "ticks"))
    assert session.observe(bash("pwd; echo $X; cd /tmp", "ticks")) == "/usr\n1"


@pytest.mark.docker
def test_a_submission_of_mini_swe_agent_is_what_prints_the_marker_first(sandbox) -> None:
    session = AgentSession(sandbox, "bash")
    for command, submitted in (
        (f"echo {MARKER}", True),
        (f"printf '{MARKER}\\nrest\\n'", True),
        (f"echo {MARKER} && false", False),
        (f"echo first; echo {MARKER}", False),
    ):
        session.observe(bash(command))
        assert session.submitted is submitted, command


@pytest.mark.docker
def test_a_long_output_of_mini_swe_agent_is_shown_at_both_ends(sandbox) -> None:
    session = AgentSession(sandbox, "bash")
    whole = session.observe(bash("printf 'é%.0s' {1..9999}"))
    assert whole == f"<returncode>0</returncode>\n<output>\n{'é' * 9999}</output>"
    clipped = session.observe(bash("printf 'a%.0s' {1..6000}; printf 'b%.0s' {1..6000}"))
    assert clipped.startswith("<returncode>0</returncode>\n<warning>\n")
    recorded = (
        "<returncode>0</returncode>\n<warning>\nToo long.\n</warning><output_head>\n"
        f"{'a' * 5000}\n</output_head>\n<elided_chars>\n2000 characters elided\n</elided_chars>\n"
        f"<output_tail>\n{'b' * 5000}\n</output_tail>"
    )
    assert drift(LS, clipped, recorded, 16_000) == 0.0


@pytest.mark.docker
def test_the_search_of_r2e_gym(sandbox) -> None:
    session = AgentSession(sandbox, "r2e")
    sandbox.run("mkdir -p /tmp/s/.git && cd /tmp/s && echo 'a (b' > x.py && cp x.py .git/y.py")
    sandbox.run("cd /tmp/s && echo 'a (b' > z.txt && echo c > w.py")
    search = GRAMMARS["r2e"].command
    assert session.observe(search("search", search_term="a (b", path="/tmp/s")) == "/tmp/s/x.py:1"
    assert session.observe(search("search", search_term="^a", path="/tmp/s/x.py")) == "1:a (b"
    assert session.observe(search("search", search_term="q", path="/tmp/s")) == (
        "No Python file has it."
    )


def test_commands_of_a_tool_that_is_not_here_are_refused() -> None:
    with pytest.raises(ConfigError, match="'swe_agent_0' are those of a tool that is not here"):
        AgentSession(object(), "swe_agent_0")  # type: ignore[arg-type]
    steps = (ExpertStep("```\nopen a.py\n```"), ExpertStep("```\nsubmit\n```"))
    trajectory = Trajectory("w", "Issue.", steps, domain="swe", metadata={"grammar": "swe_agent_0"})
    for settings in ({"follow": "agent"}, {"observations": "live"}):
        with pytest.raises(ConfigError, match="cannot be run"):
            SWEEnv(trajectories=[trajectory], **settings)
    env = SWEEnv(trajectories=[trajectory])
    assert env.observations == "recorded"
    env.reset()


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
