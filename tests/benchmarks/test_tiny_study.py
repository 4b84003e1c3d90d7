"""The tiny study: its world, its base, an arm by the real trainers, and what it says of them."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks.study.tiny import (  # noqa: E402
    arms,
    base,
    figures,
    plan,
    report,
    rivals,
    scores,
    stages,
    world,
)
from srl_agent.inference.chat import ChatEncoder  # noqa: E402
from srl_agent.rollouts.instance_stream import InstanceStream  # noqa: E402
from srl_agent.training.config import DataConfig, SRLConfig  # noqa: E402
from srl_envs import load_trajectories  # noqa: E402
from srl_envs.errors import ConfigError  # noqa: E402
from srl_envs.instances import StepInstances  # noqa: E402

PHASES = [plan.Phase(30, 1e-2, 1.0), plan.Phase(5, 5e-3, 0.5)]
TINY = plan.Tiny(
    bases=1,
    seeds=1,
    length=2,
    train=12,
    test=6,
    test_passk=3,
    curve=3,
    steps=3,
    training={
        "prompts_per_step": 2,
        "num_generations": 4,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "max_sampling_rounds": 2,
        "save_steps": 1,
        "use_cpu": True,
    },
    base=plan.BaseSettings(32, 1, 16, [0.5, 0.5], PHASES, 4, 0.0, 1.1),
)


def test_the_recorded_settings_are_read() -> None:
    tiny = plan.tiny_settings(ROOT / "benchmarks" / "study" / "tiny.yaml", 5)
    assert tiny is not None and (tiny.bases, tiny.seeds) == (2, 5)
    assert plan.tiny_settings(ROOT / "benchmarks" / "study" / "gpu.yaml") is None
    with pytest.raises(ConfigError, match="multiple of 3"):
        replace(TINY, steps=4)


def test_the_working_is_that_of_the_step() -> None:
    product = world.Step("a", 482, "*", 7)
    assert (product.line, product.working) == ("a)482*7=374", "a482*7:145733")
    total = world.Step("b", 565, "+", 344)
    assert (total.line, total.working) == ("b)565+344=909", "b565+344:091009")
    for chain in world.problems("digits", 50, 6):
        for step in chain.steps:  # the last digits of the partial results are the result's
            assert step.working.partition(":")[2][5::-2] == f"{step.after:03d}"


def test_the_tokenizer_loses_nothing_and_answers_have_room() -> None:
    tokenizer, rng = world.make_tokenizer(), random.Random(0)
    assert len(tokenizer) == 38
    tiny = replace(TINY, length=6)
    for _ in range(100):
        one = world.example(rng, [0, 0, 0, 0, 0, 1], 1.0)
        for text in (one.messages[-1]["content"], one.answer):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids) == text and tokenizer.unk_token_id not in ids
        is_step = one.messages[-1]["content"].startswith("Problem:")
        assert len(ids) < (tiny.step_tokens if is_step else tiny.whole_tokens)


def test_no_problem_of_the_test_is_learned_from() -> None:
    test = world.problems("test", 50, 2)
    learned = world.problems("test", 50, 2, without=test)
    assert not {chain.text for chain in test} & {chain.text for chain in learned}


def test_the_expert_file_asks_as_the_base_was_taught(tmp_path: Path) -> None:
    chains = world.problems("train", 3, 2)
    world.write_expert(tmp_path / "expert.jsonl", chains)
    world.write_expert(tmp_path / "working.jsonl", chains, with_working=True)
    plain = load_trajectories("jsonl", path=str(tmp_path / "expert.jsonl"))
    shown = load_trajectories("jsonl", path=str(tmp_path / "working.jsonl"))
    assert [one.solution for one in plain] == ["\n".join(chain.actions) for chain in chains]
    assert not any(step.thought for one in plain for step in one.steps)
    assert [step.thought for step in shown[0].steps] == [step.working for step in chains[0].steps]
    first = StepInstances(plain, "all", world.PROMPT)[0]
    assert first.messages == [{"role": "user", "content": f"Problem:\n{chains[0].text}"}]


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    base.make_base(TINY, 0, folder)
    return folder


def test_a_base_that_is_not_what_the_study_needs_is_refused(base_folder: Path) -> None:
    record = base_folder / "base.json"
    assert set(json.loads(record.read_text())) >= {"solved_before_last_phase", "pass_at_8"}
    before = record.read_text()
    record.unlink()
    for change, message in (
        ({"solved_at_least": 1.1}, "before its last phase, and 110% are needed"),
        ({"pass_at_8_below": 0.0}, "it must be below 0%"),
    ):
        settings = replace(TINY, base=replace(TINY.base, **change))
        with pytest.raises(ConfigError, match=message):
            base.make_base(settings, 0, base_folder)
        assert not record.is_file()
    record.write_text(before)


def test_an_arm_is_trained_by_the_real_trainers_and_not_twice(
    base_folder: Path, tmp_path: Path
) -> None:
    chains = world.problems("train", 14, 2)
    world.write_expert(tmp_path / "expert.jsonl", chains)
    world.write_expert(tmp_path / "working.jsonl", chains, with_working=True)
    start = arms.Start(
        str(base_folder / "phase-2"),
        tmp_path / "expert.jsonl",
        tmp_path / "working.jsonl",
        seed=0,
        answer_tokens=30.0,
    )
    whole = {"srl_no_dynamic_sampling": 3, "sft_working": 3}
    for name, steps in whole.items():
        found = arms.train(TINY, name, start, tmp_path, {}.__getitem__)
        assert (found["steps"], found["stopped"]) == (steps, False)
        assert (Path(found["model"]) / "model.safetensors").is_file()
    took = json.loads((tmp_path / "srl_no_dynamic_sampling.json").read_text())
    assert took["drawn"] == 6 and 0 < took["tokens"] <= 6 * 4 * TINY.step_tokens
    again = arms.train(TINY, "sft_working", start, tmp_path, {}.__getitem__)
    assert again == found
    arms.tidy(found, 0)
    assert not list(tmp_path.glob("sft_working/*/checkpoint-*"))
    rows = scores.score(found["model"], chains[:3], TINY)
    assert {name: len(part) for name, part in rows.items()} == dict.fromkeys(rows, 3)


def test_a_stage_that_stops_hands_its_model_on(base_folder: Path, tmp_path: Path) -> None:
    world.write_expert(tmp_path / "expert.jsonl", world.problems("train", 14, 2))
    start = arms.Start(
        str(base_folder / "phase-2"), tmp_path / "expert.jsonl", Path(), 0, answer_tokens=30.0
    )
    found = arms.train(TINY, "srl_then_rlvr", start, tmp_path, {}.__getitem__)
    # The base's answers are all malformed, so both stages stop.
    assert [one["stopped"] for one in found["stages"]] == [True, True]
    assert found["model"] == str(tmp_path / "srl_then_rlvr" / "2-rlvr" / "final")


def test_rivals_come_last_and_get_no_more_than_srl(base_folder: Path, tmp_path: Path) -> None:
    names = list(arms.ARMS)
    assert names[14:] == ["srl_then_mixed", "prefix_rl", "pivots", "self_distillation"]
    chains = world.problems("train", 14, 2)
    world.write_expert(tmp_path / "expert.jsonl", chains)
    start = arms.Start(
        str(base_folder / "phase-2"), tmp_path / "expert.jsonl", Path(), 0, answer_tokens=30.0
    )
    srl = {"method": "srl", "tokens": 3000, "answers": 100}
    taken = {"srl": {"tokens": 3000, "steps": 3, "stages": [srl]}}
    # The base's answers are all malformed: nothing is dropped for that, and no step is a pivot.
    tiny = replace(TINY, training=TINY.training | {"dynamic_sampling": False})
    for name in names[14:]:
        found = arms.train(tiny, name, start, tmp_path, taken.__getitem__)
        assert (Path(found["model"]) / "model.safetensors").is_file()
        steps, stopped = (0, True) if name == "pivots" else (3, False)
        assert (found["steps"], found["stopped"], found["tokens"] > 0) == (steps, stopped, True)
    assert json.loads((tmp_path / "pivots.json").read_text())["drawn"] == 12 * 2
    again = stages.run(  # a finished self-distillation is not run again
        TINY,
        arms.ARMS["self_distillation"].stages[0],
        start,
        start.model,
        tmp_path / "self_distillation" / "1-sdft",
        3,
        0,
    )
    assert again is False


def test_a_prefix_is_the_experts_and_belongs_to_the_prompt(tmp_path: Path) -> None:
    chains = world.problems("train", 3, 2)
    world.write_expert(tmp_path / "expert.jsonl", chains)
    data = DataConfig(source="jsonl", dataset_path=str(tmp_path / "expert.jsonl"), system_prompt="")
    trajectories = load_trajectories("jsonl", path=str(tmp_path / "expert.jsonl"))
    found = rivals.PrefixRL().examples(trajectories, data, None).instances
    assert [one.id for one in found[:2]] == ["chain-0+0", "chain-0+1"] and len(found) == 3 * 2
    tokenizer = world.make_tokenizer()
    stream = InstanceStream(len(found), 0, shuffle=False)
    prompts = rivals.PrefixStream(found, stream, ChatEncoder(tokenizer), tokenizer)
    (_, plain), (_, begun) = prompts.take(2)
    first = chains[0].actions[0]
    assert tokenizer.decode(plain.ids) == f"<user>{chains[0].text}<assistant>"
    assert tokenizer.decode(begun.ids).endswith(f"<assistant><think>a</think>\n{first}\n")


def test_a_mixture_scores_steps_as_steps_and_problems_by_their_answer(tmp_path: Path) -> None:
    chains = world.problems("train", 2, 2)
    world.write_expert(tmp_path / "expert.jsonl", chains)
    data = DataConfig(source="jsonl", dataset_path=str(tmp_path / "expert.jsonl"), targets="all")
    trajectories = load_trajectories("jsonl", path=str(tmp_path / "expert.jsonl"))
    method = rivals.Mixed()
    args = SRLConfig(method="mixed", output_dir=str(tmp_path / "run"), max_steps=1, use_cpu=True)
    found = method.examples(trajectories, data, args).instances
    assert len(found) == 2 * (2 * 2)  # as many problems as steps
    step, problem = found[0], found[-1]
    with contextlib.closing(method.scorer(args)) as scorer:
        right = f"<think>a</think>\n{chains[0].actions[0]}"
        rewards = scorer.score(
            [problem, step, step], [chains[1].actions[-1], right, "nothing"], [False] * 3
        )
    assert [one.value for one in rewards] == [1.0, 1.0, -1.0]


def test_tokens_that_are_left_become_steps() -> None:
    stage, start = arms.Stage("rlvr"), arms.Start("", Path(), Path(), 0, 10.0)
    other = {"tokens": 1000, "stages": [{"method": "srl", "tokens": 1000, "answers": 50}]}
    # 2 prompts, 4 answers, 2 rounds of 10 tokens: 160 a step.
    assert arms._affordable(TINY, stage, [], start, other) == 6
    done = [{"method": "rlvr", "tokens": 960, "answers": 96}]
    assert arms._affordable(TINY, stage, done, start, other) == 0


def filled(folder: Path, tiny: plan.Tiny, right: dict[str, float]) -> None:
    """The files of a finished study in which each arm solves a share of the problems."""
    study = {"settings": tiny.plain(), "environment": {"cpu_cores": 2, "command": "x"}}
    (folder / "study.json").write_text(json.dumps(study))
    (folder / "parts.jsonl").write_text('{"part": "all", "seconds": 60, "ended": true}\n')
    figures = {"solved_before_last_phase": 0.95, "pass_at_8": 0.02, "parameters": 644_736}
    took = {"steps": 3, "drawn": 6, "kept": 5, "tokens": 900, "seconds": 2.0, "stopped": False}
    took["stages"] = [{"drawn": 6, "kept": 5, "tokens": 900}, {"drawn": 0, "kept": 0, "tokens": 0}]
    for number in range(tiny.bases):
        place = folder / f"base-{number}"
        for seed in range(tiny.seeds):
            (place / f"seed-{seed}").mkdir(parents=True, exist_ok=True)
        (place / "base.json").write_text(json.dumps(figures))
        for name in arms.ARMS:
            count = round(right.get(name, 0) * tiny.test)
            rows = [
                {"correct": row < count, "exact": row < count, "working": row < count}
                for row in range(tiny.test)
            ]
            found = json.dumps(dict.fromkeys(("whole", "stepwise", "passk", "steps"), rows))
            for seed in range(tiny.seeds):
                own = place / f"seed-{seed}"
                path = place / "base" if name == "base" else own / name
                path.with_suffix(".scores.json").write_text(found)
                (own / f"{name}.json").write_text(json.dumps(took))
                point = {"step": 0, "whole": 0.0, "stepwise": 0.0, "working": 0.0}
                (own / f"{name}.curve.json").write_text(json.dumps([point]))


def test_findings_say_their_limits_first_and_then_yes_no_or_cannot_tell(tmp_path: Path) -> None:
    tiny = replace(TINY, bases=2, seeds=3, test=60)
    filled(tmp_path, tiny, {"srl": 0.8, "sft_working": 0.9, "srl_no_dynamic_sampling": 0.8})
    report.write_all(tmp_path, tiny)
    words = (tmp_path / "findings.md").read_text()
    assert words.split("\n\n")[1].startswith("This shows one mechanism by which SRL can help")
    assert "| SRL beats SFT on solutions | **yes**, +80.0 (+69.6 to +90.4) | **yes**, +80" in words
    assert "| dynamic sampling helps, at equal steps | **cannot tell**, +0.0 (" in words
    assert "SFT with the working shown? | **no, the other way round**, -10.0 (" in words
    assert "0.64M parameters" in words
    rivals = words.partition("## SRL and its rivals")[2]
    assert "| PrefixRL | 0.0 (0 to 0) | 0.0 (0 to 0) | 6 | 3 | 1k | 1k |" in rivals
    assert (tmp_path / "table.md").read_text().count("\n") == 2 + len(arms.ARMS)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("plot.png", "curves.png"))


def test_an_unfinished_study_reports_what_it_has(tmp_path: Path) -> None:
    tiny = replace(TINY, bases=2, seeds=2)
    filled(tmp_path, tiny, {"srl": 1.0})
    for path in [*tmp_path.glob("base-1/seed-1/srl*"), *tmp_path.glob("base-*/seed-*/pivots*")]:
        path.unlink()
    results = figures.collect(tmp_path, tiny)
    assert (results["trainings"]["srl"], results["trainings"]["sft"]) == (3, 4)
    words = report.findings(results)
    assert "PivotRL" not in words and "Is SRL better than PrefixRL? | **yes**" in words


def test_bases_that_disagree_decide_nothing(tmp_path: Path) -> None:
    tiny = replace(TINY, bases=2, seeds=20, test=60)
    filled(tmp_path, tiny, {"srl": 0.5})
    for path in tmp_path.glob("base-0/seed-*/sft.scores.json"):
        right = json.dumps(
            [{"correct": row < 33} | dict.fromkeys(("exact", "working"), 0) for row in range(60)]
        )
        path.write_text('{"whole": %s, "stepwise": %s, "passk": %s, "steps": %s}' % ((right,) * 4))
    words = report.findings(figures.collect(tmp_path, tiny))
    assert "| SRL beats SFT on solutions | **cannot tell, the bases disagree**, +22.5 (" in words


def test_intervals_hold_what_they_promise() -> None:
    """Of six trainings on 60 problems, as often as 95% promise, within what 400 studies show."""
    generator, held = np.random.default_rng(0), 0
    for _ in range(400):
        trainings = generator.normal(0.0, 0.1, (6, 1))
        problems = generator.normal(0.0, 0.2, (1, 60))
        values = 0.5 + trainings + problems + generator.normal(0.0, 0.2, (6, 60))
        found = figures.interval(values, low=-10.0)
        held += found["low"] <= 0.5 <= found["high"]
    assert 0.93 <= held / 400 <= 0.98
