"""Rounds of self-improvement with a tiny model that knows its problems by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from srl_agent.collect import main
from srl_agent.collection.drafts import Draft
from srl_agent.collection.improve import Watch, collapse_of, hardest_first, watch
from srl_agent.collection.solutions import Verdict
from srl_agent.inference.chat import ChatEncoder
from srl_envs.data import load_trajectories
from srl_envs.prompts.problem import evaluation_messages
from srl_envs.trajectory import ExpertStep, Trajectory

PROBLEMS = {f"Double {number}": str(2 * number) for number in range(11, 23)}
TRAINING = {
    **{"method": "srl", "require_think": False, "bf16": False, "use_cpu": True},
    **{"held_out": 2, "eval_instances": 2, "test_instances": 2, "format_warmup_steps": 0},
    **{"max_completion_length": 16, "num_generations": 4, "prompts_per_step": 2},
    **{"per_device_train_batch_size": 4, "learning_rate": 1e-6, "max_steps": 1},
    **{"save_steps": 1, "eval_strategy": "no", "targets": "all", "disable_tqdm": True},
    **{"dynamic_sampling": False},
}


def solution(answer: str) -> str:
    return f"1. **A**: Add\n2. **B**: \\boxed{{{answer}}}"


@pytest.fixture(scope="module")
def student(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    torch.manual_seed(0)
    config = LlamaConfig(
        **{"vocab_size": 400, "hidden_size": 64, "intermediate_size": 128},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 2048},
        **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
    )
    model, chat, rows = LlamaForCausalLM(config), ChatEncoder(tokenizer), []
    for problem, answer in PROBLEMS.items():
        prompt = chat(evaluation_messages(problem, ""))
        written = chat.written(prompt, solution(answer))
        rows.append((prompt.ids + written, [-100] * len(prompt.ids) + written))
    longest = max(len(ids) for ids, _ in rows)
    ids, labels = (
        torch.tensor([row[part] + [fill] * (longest - len(row[0])) for row in rows])
        for part, fill in ((0, 0), (1, -100))
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(400):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 2e-3:
            break
    folder = tmp_path_factory.mktemp("student") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_rounds_train_on_the_models_own_verified_solutions(
    student: Path, tmp_path: Path, one_core: None
) -> None:
    """A second start goes over what is finished."""
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    file = tmp_path / "problems.csv"
    file.write_text("problem,answer\n" + "".join(f"{q},{a}\n" for q, a in PROBLEMS.items()))
    arguments = [
        *("math", "--config", "self_improve_math", "--rounds", "1", "--model", str(student)),
        *("--problems", str(file), "--train_config", str(tmp_path / "training.yaml")),
        *("--held_out_problems", "3", "--tries", "2", "--max_new_tokens", "40", "--hardest", "8"),
        *("--system_prompt", "", "--output_dir", str(tmp_path / "run"), "--device", "cpu"),
        *("--grading_processes", "1", "--log_level", "error"),
    ]
    assert main(arguments) == 0
    rounds = json.loads((tmp_path / "run" / "rounds.json").read_text())
    assert [one["round"] for one in rounds] == [1, 2]
    assert all(one["held_out_reward"] > 0.5 and one["tokens"] > 10 for one in rounds)
    first = tmp_path / "run" / "round-1"
    kept = load_trajectories(str(first / "collected" / "trajectories.jsonl"))
    experts = load_trajectories(str(first / "experts.jsonl"))
    assert len(kept) > len(experts) > 3
    assert (first / "trained" / "final" / "model.safetensors").is_file()
    asked = (tmp_path / "run" / "round-2" / "collected" / "drafts.jsonl").read_text()
    assert len(asked.splitlines()) == 6  # the held-out problems, twice each
    before = (first / "trained" / "final" / "model.safetensors").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (first / "trained" / "final" / "model.safetensors").stat().st_mtime_ns == before


FIRST = Watch(held_out_reward=0.5, diversity=0.4, tokens=100.0, steps=4.0)


@pytest.mark.parametrize(
    "now, why",
    [
        (Watch(0.45, 0.25, 180.0, 4.0), ""),
        (Watch(0.6, 0.15, 100.0, 4.0), "the diversity fell from 0.400 to 0.150"),
        (Watch(0.6, 0.4, 40.0, 2.0), "the length went from 100 to 40 tokens"),
        (Watch(0.6, 0.4, 240.0, 9.0), "the length went from 100 to 240 tokens"),
        (Watch(0.3, 0.4, 100.0, 4.0), "the held-out reward fell from 0.500 to 0.300"),
    ],
)
def test_a_collapse_is_seen(now: Watch, why: str) -> None:
    assert collapse_of(FIRST, now) == why


def verdict(id: str, number: int, text: str, passed: bool) -> Verdict:
    draft = Draft(id, number, text, len(text), 5, "stop", "")
    trajectory = Trajectory(id, "q", (ExpertStep(text),)) if passed else None
    return Verdict(draft, trajectory, "" if passed else "wrong answer")


def test_what_is_watched() -> None:
    verdicts = {
        "a": [verdict("a", 0, "same", True), verdict("a", 1, "same", False)],
        "b": [verdict("b", 0, "abcd", True), verdict("b", 1, "wxyz", True)],
    }
    found = watch(verdicts, frozenset("b"))
    assert (found.held_out_reward, found.solved, found.diversity) == (1.0, 1.0, 1.0)
    assert (found.tokens, found.steps) == (4.0, 1.0)
    found = watch(verdicts, frozenset("ab"))
    assert (found.held_out_reward, found.solved, found.diversity) == (0.75, None, 0.5)


def test_hard_problems_come_first() -> None:
    rates = {"easy": 8, "hard": 1, "middle": 4}
    made = [
        Trajectory(id, "q", (ExpertStep("s"),), metadata={"passed": passed, "tries": 8})
        for id, passed in rates.items()
    ]
    assert [one.id for one in hardest_first(made)] == ["hard", "middle", "easy"]


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--rounds", "2"), "train_config is None"),
        (("--config", "self_improve_math", "--base_url", "http://127.0.0.1:9/v1"), "asks a server"),
        (("--config", "self_improve_math", "--tries", "1"), "tries is 1"),
        (("--config", "self_improve_math", "--held_out_problems", "50"), "there are 12 problems"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    flags: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "problems.csv"
    file.write_text("problem,answer\n" + "".join(f"{q},{a}\n" for q, a in PROBLEMS.items()))
    assert main(["math", "--problems", str(file), "--model", "x", *flags]) == 2
    assert said in capsys.readouterr().err
