"""The same answers have the same reward, to the last bit, through the door of every trainer.

Each trainer is installed in an environment of its own (``.ci/adapters``), whose Python
runs ``doors/NAME.py``. A trainer that is not installed is skipped by name.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srl_envs import SplitAnswer, load_trajectories
from srl_envs.adapters.episodes import Episode, EpisodeRow
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


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of trajectories: text, code, both; and one shell task for the episode."""
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
    save_trajectories(load_trajectories("builtin_shell", count=1), folder / "shell.jsonl")
    return folder


def exported(sources: Path, to: str, folder: Path) -> None:
    common = ["--to", to, "--held_out", "0"]
    steps = [str(sources / "steps.jsonl"), str(folder / "steps")]
    assert export([*common, "--targets", "all", *steps]) == 0
    shell = ["--episodes", "true", "--sandbox", "bubblewrap", str(sources / "shell.jsonl")]
    assert export([*common, *shell, str(folder / "episodes")]) == 0


@pytest.fixture(scope="module")
def expected(sources: Path, bubblewrap: None) -> dict[str, Any]:
    """The answers, and what this package itself makes of them."""
    exported(sources, "jsonl", sources / "ours")
    rows = list(load_rows(sources / "ours" / "steps" / "train.jsonl"))
    answers = [
        answers_to(row.expert_action, rows[index - 1].expert_action)[index]
        for index, row in enumerate(rows)
    ]
    (line,) = (sources / "ours" / "episodes" / "train.jsonl").read_text().splitlines()
    row = EpisodeRow.from_dict(json.loads(line))
    (task,) = load_trajectories(str(sources / "shell.jsonl"))
    turns = [f"<think>as the expert</think>\n{step.action}" for step in task.steps]
    episode = Episode(row)
    seen = [episode.step(turn) for turn in turns]
    episode.close()
    assert seen[-1].done and sum(one.reward for one in seen) == 1.0
    return {
        "rows": rows,
        "answers": answers,
        "turns": turns,
        "episode": {
            "prompt": episode.messages,
            "shown": [one.observation for one in seen if not one.done],
            "reward": 1.0,
            "done": True,
        },
    }


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
    prompts = [row.messages for row in expected["rows"]]
    for name, value in (("answers", expected["answers"]), ("turns", expected["turns"])):
        (task / f"{name}.json").write_text(json.dumps(value))
    (task / "prompts.json").write_text(json.dumps(prompts))
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
    assert got["episode"] == expected["episode"]


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
