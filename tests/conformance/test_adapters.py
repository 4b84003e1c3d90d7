"""The same answers have the same reward, to the last bit, through the door of every trainer.

Each trainer is installed in an environment of its own (``.ci/adapters``), whose Python
runs ``doors/NAME.py``. A trainer that is not installed is skipped by name.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srl_envs import ExpertStep, SplitAnswer, Trajectory, load_trajectories
from srl_envs.adapters.episodes import Episode, load_episodes
from srl_envs.adapters.rows import StepRow, load_rows
from srl_envs.data import save_trajectories
from srl_envs.export import main as export

ROOT = Path(__file__).parents[2]
DOORS = Path(__file__).parent / "doors"
VENVS = Path(os.environ.get("SRL_ADAPTERS_VENVS") or ROOT / ".venv-adapters")
SPLIT, CUT = "thought", "truncated"

# Trainer -> what the export calls its format.
TRAINERS = {
    "inspect_ai": "inspect",
    "nemo": "nemo",
    "openenv": "jsonl",
    "skyrl": "skyrl",
    "trl": "trl",
    "verifiers": "verifiers",
    "verl": "verl",
}

# What a trainer does not hand over (docs/trainers.md names it).
NO_CUTS = {"skyrl"}  # whether an answer hit the token limit
NO_EMPTY_THOUGHTS = {"verifiers"}  # that a thought came apart, if it is empty


def answers_to(action: str, other: str) -> list[dict[str, Any]]:
    """An answer of each kind; ``action`` is the expert's, ``other`` that of another step."""
    texts = [
        f"<think>I know.</think>\n{action}",
        f"<think>Nearly.</think>\n{action[: len(action) * 2 // 3]}",
        f"<think>Another one.</think>{other}",
        "<think>Far off.</think>\n\n  cats and dogs \t\n",
        f"  \n<think>\n\n</think>{action} And so on.",
        f"<think>思考 🤔</think>{action} naïve café — ∑ 𝔸 e\u0301 ﷺ 👩‍👩‍👧",
        f"<think>\x00</think>\ufeff{action}\u200b",
        f"<think>In prose.</think>Let us look at it:\n{action}\nThat is all.",
        "<think>Long.</think>" + "ab" * 2500,
        action,
        f"<think>Never closed. {action}",
        f"Never opened.</think>{action}",
        f"<think>One.</think><think>Two.</think>{action}",
        f"Well. <think>Late.</think>{action}",
        "<think>Nothing follows.</think> \n ",
        "<think>Nothing to see.</think>\u200b\ufeff",
        "",
    ]
    return [
        *({"text": text} for text in texts),
        {"text": action, SPLIT: "It came apart."},
        {"text": f"\n{other}", SPLIT: ""},
        {"text": f"<think>again</think>{action}", SPLIT: "Twice."},
        {"text": f"<think>Cut in the action.</think>{action}", CUT: True},
        {"text": "<think>Cut in the thou", CUT: True},
    ]


# A bug, an expert who mends it, and one who writes the tests over instead.
ISSUE = (
    "`initials('Ada  Lovelace')` fails where a name has two spaces in a row. It lives in names.py."
)
BUGGY = 'def initials(name):\n    return "".join(word[0] for word in name.split(" "))\n'
TESTS = """\
from names import initials


def test_two_spaces():
    assert initials("Ada  Lovelace") == "AL"


def test_one_name():
    assert initials("Émilie") == "É"
"""
PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")


def bash(command: str) -> str:
    return f"<function=bash>\n<parameter=command>{command}</parameter>\n</function>"


MENDS = [
    bash("cat names.py; echo 'naïve 思考 🤔'"),
    "<function=str_replace_editor>\n<parameter=command>str_replace</parameter>\n"
    "<parameter=path>/testbed/names.py</parameter>\n"
    '<parameter=old_str>split(" ")</parameter>\n<parameter=new_str>split()</parameter>\n'
    "</function>",
    "<function=submit>\n</function>",
]
RUN = "python3 -m pytest -q | sed 's, in .*,,'"  # without the seconds that it took
CHEATS = [
    bash(f"printf 'def test_two_spaces():\\n    pass\\n' > test_names.py && {RUN}"),
    bash("kill -9 $$"),
    "<function=submit>\n</function>",
]


@pytest.fixture(scope="module")
def image_with_a_bug(tmp_path_factory: pytest.TempPathFactory, image_of_this_machine: Any) -> Path:
    """Its repository is in ``/testbed``; pytest is there too."""
    folder = tmp_path_factory.mktemp("bug") / "names"
    folder.mkdir()
    (folder / "names.py").write_text(BUGGY)
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgSign=false"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", "-C", str(folder), *identity, *command], check=True)
    return image_of_this_machine(folder, PYTEST)  # type: ignore[no-any-return]


def hidden_test_task(image: Path, name: str, actions: Sequence[str]) -> Trajectory:
    """A task of software engineering; tests that its image does not hold judge the patch."""
    lines = "".join(f"+{line}\n" for line in TESTS.splitlines())
    header = "diff --git a/test_names.py b/test_names.py\nnew file mode 100644\n--- /dev/null\n"
    header += f"+++ b/test_names.py\n@@ -0,0 +1,{len(TESTS.splitlines())} @@\n"
    metadata = {
        "grammar": "xml",
        "image": str(image),
        "workdir": "/testbed",
        "test_patch": header + lines,
        "test_command": "python3 -m pytest -q -rA test_names.py",
        "FAIL_TO_PASS": ["test_names.py::test_two_spaces"],
        "PASS_TO_PASS": ["test_names.py::test_one_name"],
    }
    steps = tuple(ExpertStep(action, observation="") for action in actions)
    return Trajectory(name, f"{ISSUE} Ticket: {name}.", steps, domain="swe", metadata=metadata)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, image_with_a_bug: Path) -> Path:
    """Files of trajectories: text, code, both; and the tasks of the episodes."""
    folder = tmp_path_factory.mktemp("sources")
    wanted = len(answers_to("a", "b"))
    math, swe = load_trajectories("builtin", count=4), load_trajectories("builtin_swe")
    text, code = [math[0], math[1]], [swe[0]]
    left = wanted - sum(len(one.steps) for one in (*text, *code))
    code.append(replace(swe[1], steps=swe[1].steps[:left]))
    assert sum(len(one.steps) for one in (*text, *code)) == wanted
    save_trajectories(text, folder / "math.jsonl")
    save_trajectories(code, folder / "swe.jsonl")
    save_trajectories([*text, *code], folder / "steps.jsonl")
    tasks = [
        load_trajectories("builtin_shell", count=1)[0],
        hidden_test_task(image_with_a_bug, "mends", MENDS),
        hidden_test_task(image_with_a_bug, "cheats", CHEATS),
    ]
    save_trajectories(tasks, folder / "tasks.jsonl")
    return folder


def exported(sources: Path, to: str, folder: Path) -> None:
    common = ["--to", to, "--held_out", "0"]
    steps = [str(sources / "steps.jsonl"), str(folder / "steps")]
    assert export([*common, "--targets", "all", *steps]) == 0
    tasks = ["--episodes", "true", "--sandbox", "bubblewrap", str(sources / "tasks.jsonl")]
    assert export([*common, *tasks, str(folder / "episodes")]) == 0


@pytest.fixture(scope="module")
def expected(bubblewrap: None, sources: Path) -> dict[str, Any]:
    """The answers, and what this package itself makes of them."""
    exported(sources, "jsonl", sources / "ours")
    rows = list(load_rows(sources / "ours" / "steps" / "train.jsonl"))
    answers = [
        answers_to(row.expert_action, rows[index - 1].expert_action)[index]
        for index, row in enumerate(rows)
    ]
    tasks = {task.id: task for task in load_trajectories(str(sources / "tasks.jsonl"))}
    turns: dict[str, list[str]] = {}
    played = []
    for row in load_episodes(sources / "ours" / "episodes" / "train.jsonl"):
        turns[row.id] = [f"<think>思考</think>\n{step.action}" for step in tasks[row.id].steps]
        if row.id == "cheats":
            turns[row.id].insert(1, "I am at a loss.")
        episode = Episode(row)
        seen = [episode.step(turn) for turn in turns[row.id]]
        episode.close()
        shown = [one.observation for one in seen if not one.done]
        played.append(
            {
                "prompt": episode.messages,
                "shown": shown,
                "reward": sum(one.reward for one in seen),
                "done": seen[-1].done,
            }
        )
    return {"rows": rows, "answers": answers, "turns": turns, "episodes": played}


def test_checks_and_hidden_tests_judge_an_episode(expected: dict[str, Any]) -> None:
    shell, mends, cheats = expected["episodes"]
    assert [one["reward"] for one in (shell, mends, cheats)] == [1.0, 1.0, 0.0]
    assert all(one["done"] for one in (shell, mends, cheats))
    assert "naïve 思考 🤔" in mends["shown"][0]
    assert "1 passed" in cheats["shown"][0] and "malformed" in cheats["shown"][1]


def reward_of(row: StepRow, answer: dict[str, Any], trainer: str) -> float:
    apart = SPLIT in answer and (answer[SPLIT] or trainer not in NO_EMPTY_THOUGHTS)
    given = SplitAnswer(answer[SPLIT], answer["text"]) if apart else answer["text"]
    cut = answer.get(CUT, False) and trainer not in NO_CUTS
    return row.score(given, truncated=cut).value


def python_of(trainer: str) -> Path:
    return VENVS / trainer / "bin" / "python"


def needs(trainer: str) -> pytest.MarkDecorator:
    reason = f"{trainer} is not installed in {VENVS}: .ci/adapters {trainer}"
    return pytest.mark.skipif(not python_of(trainer).exists(), reason=reason)


def through(trainer: str, sources: Path, expected: dict[str, Any], task: Path) -> dict[str, Any]:
    """What a trainer's door reports."""
    exported(sources, TRAINERS[trainer], task)
    for name in ("math", "swe", "steps"):
        (task / f"{name}.jsonl").write_bytes((sources / f"{name}.jsonl").read_bytes())
    episodes = zip(expected["turns"], expected["episodes"], strict=True)
    given = {
        "answers": expected["answers"],
        "turns": expected["turns"],
        "prompts": [row.messages for row in expected["rows"]],
        "episode_prompts": {name: one["prompt"] for name, one in episodes},
    }
    for name, value in given.items():
        (task / f"{name}.json").write_text(json.dumps(value))
    out = task / "out.json"
    done = subprocess.run(
        [str(python_of(trainer)), str(DOORS / f"{trainer}_door.py"), str(task), str(out)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return json.loads(out.read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("trainer", [pytest.param(one, marks=needs(one)) for one in TRAINERS])
def test_a_trainer_gives_our_rewards_prompts_and_verdict(
    trainer: str, sources: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    got = through(trainer, sources, expected, tmp_path)
    pairs = zip(expected["rows"], expected["answers"], strict=True)
    assert got["rewards"] == [reward_of(row, answer, trainer) for row, answer in pairs]
    assert got["prompts"] == [row.messages for row in expected["rows"]]
    assert got["episodes"] == expected["episodes"]


@needs("inspect_ai")
def test_our_sandbox_passes_the_self_check_of_inspect_ai(bubblewrap: None, tmp_path: Path) -> None:
    """But for what ``doors/inspect_self_check.py`` names."""
    checks = str(DOORS / "inspect_self_check.py")
    options = ["-q", "-p", "no:cacheprovider", "--noconftest", f"--rootdir={DOORS}", checks]
    done = subprocess.run(
        [str(python_of("inspect_ai")), "-m", "pytest", *options],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout[-6000:]
