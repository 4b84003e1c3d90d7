"""``collect profile`` with a scripted student behind a real server, and ``train --profile``."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from srl_agent.collect import main
from srl_agent.collection.profile import ProfileConfig, sampled_instances
from srl_agent.rollouts.rollout_log import index_lines
from srl_agent.rollouts.step_profiles import (
    StepProfile,
    read_profile,
    step_mark,
    teaching,
    write_profile,
)
from srl_agent.train import main as train
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.data import load_data
from srl_envs.adapters.pivot import read_pivot_rows
from srl_envs.data import load_trajectories
from srl_envs.data.jsonl import save_trajectories
from srl_envs.data.splits import question_key, split_by_question
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import StepInstance

sys.path.append(str(Path(__file__).parents[2] / "conformance"))
from teacher_server import Reply, TeacherServer, teacher_server

SOURCE = ("--source", "builtin", "--count", "40", "--held_out", "10")
PAGE = Path(__file__).parents[3] / "docs" / "curate.md"
COMMANDS = re.findall(
    r"    python -m srl_agent\.(?:collect|train) ((?:profile|--config) .*)", PAGE.read_text()
)
SHORT = {
    **{"bf16": "false", "use_cpu": "true", "disable_tqdm": "true", "format_warmup_steps": 0},
    **{"prompts_per_step": 2, "per_device_train_batch_size": 4, "max_steps": 2, "save_steps": 2},
    **{"eval_strategy": "no", "eval_instances": 2, "test_instances": 2},
}
KINDS = ("right", "malformed", "varied")


def steps(instances: int = 12) -> list[StepInstance]:
    return sampled_instances(
        ProfileConfig(output="x.jsonl", count=40, held_out=10, instances=instances)
    )


def student(
    known: list[StepInstance], fails: Callable[[int], bool] = lambda asked: False
) -> Callable[[str, int], Reply]:
    """Each third step is always answered right, or malformed, or now so and now so."""
    places = {one.messages[-1]["content"]: (place, one) for place, one in enumerate(known)}
    asked = [0]

    def reply(last: str, before: int) -> Reply:
        asked[0] += 1
        if fails(asked[0]):
            return Reply(status=500)
        place, one = places[last]
        kind = KINDS[place % 3]
        if kind == "malformed" or (kind == "varied" and before % 2):
            return Reply("I do not know.")
        return Reply(f"<think>So.</think>\n{one.expert_action}")

    return reply


def run(server: TeacherServer, target: Path, *flags: str, model: str = "student") -> int:
    return main(
        [
            *("profile", *SOURCE, "--output", str(target), "--instances", "12"),
            *("--num_generations", "4", "--model", model, "--base_url", server.url),
            *("--retries", "0", "--log_level", "error", *flags),
        ]
    )


def test_steps_that_vary_and_are_not_good_already_teach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, pivots = tmp_path / "steps.jsonl", tmp_path / "pivots.jsonl"
    known = steps()
    with teacher_server(student(known)) as server:
        assert run(server, target, "--pivot_rows", str(pivots)) == 0
        assert sum(server.asked.values()) == 48
        said = capsys.readouterr().out
        assert "12 steps with 48 rollouts: mean reward +0.000" in said
        assert "4 steps teach; 8 have no spread above 0.001, and 0 a mean" in said
        assert run(server, target) == 0  # the same again asks nothing
        assert sum(server.asked.values()) == 48
    header, profiles = read_profile(target)
    assert header["identity"]["model"] == "student" and header["settings"]["held_out"] == 10
    assert [one.id for one in known] == list(profiles)
    varied = profiles[known[2].id]
    assert sorted(varied.rewards) == [-1, -1, 1, 1] and varied.malformed == 2
    assert (varied.mean, varied.std, varied.tokens) == (0.0, 1.0, 28)
    chosen = teaching(profiles.values(), 1e-3, 0.8)
    assert chosen == {one.id for place, one in enumerate(known) if place % 3 == 2}
    assert teaching(profiles.values(), 1e-3, 0.0) == frozenset()
    rows = list(read_pivot_rows(pivots))
    assert {step.id for step, _ in rows} == chosen and rows[0][1]["pass_rate"] == 0.0


def test_held_out_questions_are_never_profiled() -> None:
    config = ProfileConfig(output="x.jsonl", count=40, held_out=10)
    _, held_out = split_by_question(config.trajectories(), 10, 0)
    asked = {question_key(one.trajectory.prompt) for one in steps(10_000)}
    assert len(asked) == 30
    assert not asked & {question_key(one.prompt) for one in held_out}


def test_what_failed_is_asked_again_and_more_steps_are_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "steps.jsonl"
    with teacher_server(student(steps(), lambda asked: asked > 30)) as server:
        assert run(server, target) == 1
        assert "steps lack rollouts" in capsys.readouterr().out
        before = len(read_profile(target)[1])
        assert before < 12
    with teacher_server(student(steps(15))) as server:
        assert run(server, target, "--instances", "15") == 0
        assert len(read_profile(target)[1]) == 15
        assert sum(server.asked.values()) < 15 * 4 - 20


def test_another_student_needs_a_refresh_which_keeps_the_old_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "steps.jsonl"
    with teacher_server(student(steps())) as server:
        assert run(server, target) == 0
        assert run(server, target, model="other") == 2
        assert "was made with model 'student', and now it is 'other'" in capsys.readouterr().err
    with teacher_server(student(list(reversed(steps())))) as server:
        assert run(server, target, "--refresh", "true", model="other") == 0
        said = capsys.readouterr().out
        assert "Of the 12 steps profiled before, 4 no longer teach and 4 now do." in said
        assert run(server, target, "--refresh", "true", model="other") == 0
        assert sum(server.asked.values()) == 48
    old = read_profile(tmp_path / "steps.before.jsonl")[0]
    assert old["identity"]["model"] == "student"


def test_a_dry_run_asks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with teacher_server(student(steps())) as server:
        assert run(server, tmp_path / "steps.jsonl", "--dry_run", "true") == 0
        assert not server.asked
    assert "at most 48 requests" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_real_student_is_profiled(tmp_path: Path, tiny_model_dir: Path) -> None:
    target = tmp_path / "steps.jsonl"
    flags = ["--model", str(tiny_model_dir), "--backend", "transformers", "--instances", "3"]
    flags += ["--num_generations", "2", "--max_completion_length", "8", "--log_level", "error"]
    assert main(["profile", *SOURCE, "--output", str(target), *flags]) == 0
    profiles = read_profile(target)[1]
    assert [one.rewards for one in profiles.values()] == [(-1.0, -1.0)] * 3


# ---------------------------------------------------------------- training


def test_the_two_commands_of_the_page_with_a_real_student(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run asks only for the steps that its own profile says teach."""
    monkeypatch.chdir(tmp_path)
    save_trajectories(load_trajectories("builtin", count=40), Path("curated.jsonl"))
    profiling, training = (
        [str(tiny_model_dir) if word == "MODEL" else word for word in shlex.split(command)]
        for command in COMMANDS
    )
    asked = ["--require_think", "false", "--num_generations", "4", "--max_completion_length", "16"]
    asked += ["--held_out", "10"]
    assert main([*profiling, *asked, "--instances", "60"]) == 0
    profiles = read_profile(Path("steps.jsonl"))[1].values()
    taught = teaching(profiles, 1e-3, -0.2)
    assert 4 < len(taught) < len(profiles)
    flags = ["--profile_max_mean", "-0.2", *asked]
    flags += [f"--{name}={value}" for name, value in SHORT.items()]
    assert train([*training, *flags]) == 0
    index = Path("runs", "selected", "rollouts", "00000.index")
    drawn = {line["id"] for line in index_lines(index)}
    assert drawn and drawn <= taught


def settings(tmp_path: Path, **more: object) -> SRLConfig:
    return SRLConfig(output_dir=str(tmp_path / "run"), use_cpu=True, bf16=False, **more)


def data(**more: object) -> DataConfig:
    return DataConfig(count=40, held_out=10, **more)  # type: ignore[arg-type]


def profile_of(path: Path, made: list[StepInstance], **prompt: object) -> Path:
    rewards = {0: (1.0, 1.0), 1: (0.2, 0.6), 2: (0.9, 1.0)}
    profiles = [
        StepProfile(one.id, rewards[i % 3], 0, 9, step_mark(one)) for i, one in enumerate(made)
    ]
    write_profile(path, {"prompt": {"targets": "all_but_last", **prompt}}, profiles)
    return path


def test_training_takes_the_steps_that_teach(tmp_path: Path) -> None:
    known = steps()
    path = profile_of(
        tmp_path / "p.jsonl", known, reward="similarity", title_hint=DataConfig.title_hint
    )
    args = settings(tmp_path, per_device_train_batch_size=4, num_generations=4)
    parts = load_data(data(profile=str(path)), args)
    assert {one.id for one in parts.train} == {one.id for one in known[1::3]}
    assert "4 step instances that teach, of 12 profiled and" in parts.summary
    more = load_data(data(profile=str(path), profile_max_mean=0.99), args)
    assert {one.id for one in more.train} == {one.id for i, one in enumerate(known) if i % 3}
    whole = load_data(data(), args)
    assert [one.id for one in parts.validation] == [one.id for one in whole.validation]
    assert [one.id for one in parts.train] == [
        one.id for one in whole.train if one.id in {step.id for step in known[1::3]}
    ]


def test_profiles_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    args = settings(tmp_path)
    path = profile_of(tmp_path / "p.jsonl", steps(), title_hint=not DataConfig.title_hint)
    with pytest.raises(ConfigError, match=r"title_hint is \w+, but the profile .* was made with"):
        load_data(data(profile=str(path)), args)
    with pytest.raises(ConfigError, match="profile chooses among single steps"):
        load_data(data(profile=str(path)), settings(tmp_path, method="rlvr"))
    other = profile_of(tmp_path / "o.jsonl", steps())
    with pytest.raises(DataError, match=r"has (none|other texts of \d+) of the"):
        load_data(data(profile=str(other), split_seed=5), args)
    with pytest.raises(DataError, match=r"that teach, .*raise --profile_max_mean"):
        load_data(data(profile=str(other), profile_max_mean=-0.5), args)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": "a", "rewards": [1]}) + "\n")
    with pytest.raises(DataError, match="is not a profile of steps: make one by"):
        load_data(data(profile=str(rows)), args)
    lines = other.read_text().splitlines()
    empty = {"id": "a", "rewards": [], "malformed": 0, "tokens": 1, "mark": ""}
    other.write_text("\n".join([lines[0], json.dumps(empty)]))
    with pytest.raises(DataError, match=r"line 2: the step 'a' has no rewards"):
        load_data(data(profile=str(other)), args)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"output": None}, "output is None: it must be the file of the profile"),
        ({"num_generations": 1}, "num_generations is 1"),
        ({"temperature": 0.0}, "temperature is 0.0: it must be above 0"),
        ({"profile": "p.jsonl"}, "profile is 'p.jsonl': it must be left alone"),
        ({"reward": "similar"}, "reward is 'similar': use one of"),
    ],
)
def test_settings_are_checked(more: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProfileConfig(**{"output": "x.jsonl", **more})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"profile_max_mean is 0.5: .* left alone without"):
        DataConfig(profile_max_mean=0.5)
