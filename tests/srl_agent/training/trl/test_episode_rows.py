"""The gradient of an optimizer step over episodes is that of a plain loop over their turns.

Rows vary in number, episodes are missing, whole histories are one row with a mask, and the
rows are cut into micro-batches and shared out among processes: nothing of it changes what is
learned.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from srl_agent.rollouts.episode_groups import AdvantageSettings, EpisodeGroup
from srl_agent.rollouts.episode_records import Episode, Turn
from srl_agent.rollouts.places import Outcome
from srl_agent.rollouts.policies import Written
from srl_agent.training.config import SRLConfig
from srl_agent.training.methods import METHODS
from srl_agent.training.trl.episode_rows import episode_windows
from srl_agent.training.trl.episodes import episode_trainer
from srl_agent.training.trl.grpo import SRLTrainer
from srl_envs.instances import TrajectorySet
from srl_envs.prompts.step import PromptSettings
from srl_envs.response import Response
from srl_envs.trajectory import ExpertStep, Trajectory

TASKS = TrajectorySet(
    [Trajectory(str(n), f"What is {n} + 1?", (ExpertStep("I add."),), str(n + 1)) for n in range(6)]
)


def episode(
    task: int, number: int, turns: list[int], reward: float | None, *, bad: int | None = None
) -> Episode:
    """An episode whose answers have these lengths; each prompt holds all that came before."""
    ids = [61 + task, 62, 63]
    made = []
    for place, length in enumerate(turns):
        said = [(70 + 13 * number + 7 * place + k) % 390 + 5 for k in range(length)] + [0]
        written = Written("", len(said), "stop", list(ids), said)
        error = "no_think" if place == bad else None
        made.append(Turn(written, Response("", "" if error else "a", error), "", None, True, 0.0))
        ids = [*ids, *said, 80 + place, 81]  # an observation of two tokens
    outcome = None if reward is None else Outcome(reward)
    end = "machinery" if reward is None else "ended"
    return Episode(str(task), number, tuple(made), end, outcome, 1.0, 0.5, 0.1)


GROUPS = [
    EpisodeGroup.of(
        [episode(0, 0, [2, 5, 1], 1.0), episode(0, 1, [4], 0.0, bad=0), episode(0, 2, [3, 3], 0.0)]
    ),
    EpisodeGroup.of(
        [episode(1, 0, [6, 1], 1.0), episode(1, 1, [2] * 4, 0.0), episode(1, 2, [9], None)]
    ),
]


def trainer(model: Any, tokenizer: Any, folder: Path, **settings: Any) -> SRLTrainer:
    peft = settings.pop("peft_config", None)
    settings = {"per_device_train_batch_size": 3, "prompts_per_step": 2, **settings}
    args = SRLConfig(
        output_dir=str(folder),
        method="agent",
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        num_generations=3,
        max_completion_length=16,
        episode_tokens=50,
        eval_strategy="no",
        report_to="none",
        **settings,
    )
    method = METHODS.named("agent")

    class Data:
        steps, prompt_settings = "each", PromptSettings()

    tasks = method.examples(TASKS, Data, args).instances
    return episode_trainer(model, args, tasks, [], tokenizer, peft, None, method.scorer(args))


def of_windows(made: SRLTrainer, groups: list[EpisodeGroup]) -> list[list[torch.Tensor]]:
    """The gradient of each optimizer step, without any step between."""
    made.model.train()
    made.current_gradient_accumulation_steps = made.args.gradient_accumulation_steps
    slots, every = made._micro_batches(groups), made.args.gradient_accumulation_steps
    gradients = []
    for start in range(0, len(slots), every):
        made.model.zero_grad()
        for slot in slots[start : start + every]:
            made._compute_loss(made.model, slot).backward()
        gradients.append(gradient_of(made.model))
    return gradients


def gradient_of(model: Any) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def plain(
    model: Any, groups: list[EpisodeGroup], loss_type: str, *, old: Any = None, penalty: float = 0.1
) -> list[torch.Tensor]:
    """The same by the formula: one forward a turn, without padding."""
    model.zero_grad()
    episodes = []
    for group in groups:
        rewards = torch.tensor([float(one.reward) for one in group.episodes])
        spread = rewards.std(unbiased=False)
        for one, reward in zip(group.episodes, rewards, strict=True):
            episodes.append((one, float((reward - rewards.mean()) / spread)))
    tokens = [sum(turn.written.tokens for turn in one.turns) for one, _ in episodes]
    for (one, advantage), count in zip(episodes, tokens, strict=True):
        for turn in one.turns:
            value = advantage - (penalty if turn.response.error else 0.0)
            logps = log_probs(model, turn)
            before = logps.detach() if old is None else log_probs(old, turn).detach()
            ratio = (logps - before).exp()
            loss = -torch.min(ratio * value, ratio.clamp(0.8, 1.2) * value).sum()
            divisor = {
                "grpo": len(episodes) * count,
                "dapo": sum(tokens),
                "dr_grpo": len(episodes) * 50,
            }[loss_type]
            (loss / divisor).backward()
    return gradient_of(model)


def log_probs(model: Any, turn: Turn) -> torch.Tensor:
    prompt, said = list(turn.written.prompt_ids), list(turn.written.completion_ids)
    logits = model(input_ids=torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert max(float(one.abs().max()) for one in expected) > 1e-4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("history", ["turns", "whole"])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_the_gradient_is_that_of_a_plain_loop(
    loss_type: str, history: str, tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    made = trainer(
        tiny_model, tiny_tokenizer, tmp_path, loss_type=loss_type, episode_history=history
    )
    (found,) = of_windows(made, GROUPS)
    assert_same(found, plain(tiny_model, GROUPS, loss_type))


@pytest.mark.parametrize("size", [1, 6])
def test_it_does_not_depend_on_the_size_of_micro_batches_or_on_shared_prompts(
    size: int, tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    made = trainer(
        tiny_model,
        tiny_tokenizer,
        tmp_path,
        per_device_train_batch_size=size,
        shared_prompt=size > 1,
    )
    (found,) = of_windows(made, GROUPS)
    assert_same(found, plain(tiny_model, GROUPS, "grpo"))


def test_with_lora_only_the_adapter_has_a_gradient_and_it_is_the_same(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    made = trainer(tiny_model, tiny_tokenizer, tmp_path, peft_config=adapter)
    (found,) = of_windows(made, GROUPS)
    assert 0 < len(found) < 20
    assert_same(found, plain(made.model, GROUPS, "grpo"))


def test_several_optimizer_steps_of_one_roll_out_are_relative_to_the_policy_that_sampled(
    tiny_model_dir: Path, tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    made = trainer(
        tiny_model,
        tiny_tokenizer,
        tmp_path,
        prompts_per_step=1,
        per_device_train_batch_size=3,
        steps_per_generation=2,
    )
    slots = made._micro_batches(GROUPS)
    assert len(slots) == 2 and all("old_per_token_logps" in slot["parts"][0] for slot in slots)
    old = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    for slot, group in zip(slots, GROUPS, strict=True):
        made.model.zero_grad()
        made._compute_loss(made.model, slot).backward()
        found = gradient_of(made.model)
        assert_same(found, plain(tiny_model, [group], "grpo", old=old))
        assert float((found[0] - plain(tiny_model, [group], "grpo")[0]).abs().max()) > 1e-4


TWO = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_episode_rows import GROUPS, gradient_of, trainer
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained({model!r})
made = trainer(model, AutoTokenizer.from_pretrained({model!r}), Path({out!r}),
               per_device_train_batch_size=1)
made.model.train()
wrapped = made.accelerator.prepare(made.model)
made.current_gradient_accumulation_steps = made.args.gradient_accumulation_steps
slots = made._micro_batches(GROUPS)
for number, slot in enumerate(slots):
    made.accelerator.gradient_state._set_sync_gradients(number == len(slots) - 1)
    if number < len(slots) - 1:
        with made.accelerator.no_sync(wrapped):
            made.accelerator.backward(made._compute_loss(wrapped, slot))
    else:
        made.accelerator.backward(made._compute_loss(wrapped, slot))
torch.save(gradient_of(made.accelerator.unwrap_model(wrapped)),
           Path({out!r}) / f"gradient-{{made.accelerator.process_index}}.pt")
made.accelerator.wait_for_everyone()
"""


def test_two_processes_learn_what_one_does(
    tiny_model_dir: Path, tiny_model: Any, tmp_path: Path
) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        TWO.format(tests=str(Path(__file__).parent), model=str(tiny_model_dir), out=str(tmp_path))
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, str(script)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = plain(tiny_model, GROUPS, "grpo")
    for rank in (0, 1):
        assert_same(torch.load(tmp_path / f"gradient-{rank}.pt"), expected)


# ---------------------------------------------------------------- rows and advantages


def test_masked_episodes_are_in_no_mean_and_have_no_row(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    assert [one.number for one in GROUPS[1].episodes] == [0, 1]
    assert GROUPS[1].advantages() == [1.0, -1.0]
    args = trainer(tiny_model, tiny_tokenizer, tmp_path).args
    (window,) = episode_windows(GROUPS, args, 0)
    rows = [row for batch in window.micro_batches for row in batch if not row.is_filler]
    assert len(rows) == 3 + 1 + 2 + 2 + 4
    assert window.tokens == sum(row.tokens for row in rows)
    assert len(window.micro_batches) % args.gradient_accumulation_steps == 0
    assert {len(batch) for batch in window.micro_batches} == {3}


def test_a_turn_is_compared_with_the_experts_only_from_the_experts_state() -> None:
    def turns(*similarities: float | None) -> tuple[Turn, ...]:
        on_path, made = True, []
        for value in similarities:
            error = None if value is not None else "no_think"
            response = Response("", "" if error else "a", error)
            written = Written("", 1, "stop", [1, 2], [3])
            made.append(Turn(written, response, "", value, on_path, 0.0))
            on_path = on_path and value == 1.0
        return tuple(made)

    episodes = [
        Episode("t", 0, turns(1.0, 0.8), "ended", Outcome(1.0), 1.0, 0.0, 0.0),
        Episode("t", 1, turns(1.0, 0.4), "ended", Outcome(0.0), 1.0, 0.0, 0.0),
        Episode("t", 2, turns(0.4, 0.9), "ended", Outcome(0.0), 1.0, 0.0, 0.0),
        Episode(
            "t",
            3,
            turns(
                None,
            ),
            "turns",
            Outcome(0.0),
            1.0,
            0.0,
            0.0,
        ),
    ]
    group = EpisodeGroup.of(episodes)
    settings = AdvantageSettings(scale=False, similarity_weight=0.5, malformed_penalty=0.1)
    values = group.turn_advantages(settings)
    outcome, mean = [0.75, -0.25, -0.25, -0.25], (1.0 + 1.0 + 0.4 - 1.0) / 4
    assert values[0] == pytest.approx(
        [outcome[0] + 0.5 * (1.0 - mean), outcome[0] + 0.5 * (0.8 - 0.6)]
    )
    assert values[1] == pytest.approx(
        [outcome[1] + 0.5 * (1.0 - mean), outcome[1] + 0.5 * (0.4 - 0.6)]
    )
    assert values[2] == pytest.approx([outcome[2] + 0.5 * (0.4 - mean), outcome[2]])
    assert values[3] == pytest.approx([outcome[3] + 0.5 * (-1.0 - mean) - 0.1])
