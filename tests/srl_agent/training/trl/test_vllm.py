"""Training with vLLM as the sampler: TRL's own code, with a stand-in for the server behind it.

No engine runs on every machine that runs the tests. The stand-in is a real model of its own, with
the weights that TRL sends it; it answers as a server does.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from srl_agent.inference.sampling import SamplingSettings, sample
from srl_agent.runs.answers import Answer
from srl_agent.runs.checkpoints import SealCheckpoints
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.grpo import SRLTrainer
from srl_envs.data import load_trajectories

INSTANCES = load_trajectories("builtin", count=20).instances("all")


class Engine:
    """What TRL's ``VLLMClient`` is to the trainer: weights in, answers out."""

    folder: Path
    skew = 0.0
    """Added to log-probabilities, not at all, once or twice: how far off the engine's are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(self.folder)
        self.generator = torch.Generator().manual_seed(1)

    def init_communicator(self, device: Any = None) -> None: ...

    def reset_prefix_cache(self) -> None: ...

    def get_server_info(self) -> dict[str, Any]:
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_params(self, metadata: Any, parameters: Any) -> None:
        weights = self.model.state_dict()
        for name, tensor in parameters:
            weights[name].copy_(tensor)

    def generate(self, prompts: list[list[int]], n: int, max_tokens: int, **_: Any) -> Any:
        ends = self.model.generation_config.eos_token_id
        completions = sample(
            self.model,
            prompts,
            n,
            SamplingSettings(max_tokens),
            eos_token_ids=ends,
            pad_token_id=0,
            generator=self.generator,
        )
        repeated = [prompt for prompt in prompts for _ in range(n)]
        logps = [self.logps(*pair) for pair in zip(repeated, completions, strict=True)]
        return {"prompt_ids": prompts, "completion_ids": completions, "logprobs": logps}

    @torch.no_grad()
    def logps(self, prompt: list[int], completion: list[int]) -> list[list[float | None]]:
        """One a token; the second is missing, as vLLM writes one that is not a number."""
        logits = self.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        scored = logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])
        return [[None if i == 1 else float(x) + self.skew * (i % 3)] for i, x in enumerate(scored)]


class NamingEngine(Engine):
    """Answers each prompt with a token that names it."""

    @staticmethod
    def name(prompt: list[int]) -> int:
        return 100 + sum(prompt) % 290

    def generate(self, prompts: list[list[int]], n: int, max_tokens: int, **_: Any) -> Any:
        completions = [[self.name(prompt), 0] for prompt in prompts for _ in range(n)]
        logps = [[[0.0]] * 2 for _ in completions]
        return {"prompt_ids": prompts, "completion_ids": completions, "logprobs": logps}


@contextmanager
def served_by(engine: type[Engine], model: Path, scratch: Path) -> Iterator[None]:
    """TRL's client of a vLLM server is this engine."""
    (scratch / "vllm").mkdir(parents=True, exist_ok=True)
    (scratch / "vllm" / "__init__.py").touch()  # the settings ask whether there is one
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(scratch)
        patch.setattr(engine, "folder", model, raising=False)
        patch.setattr("trl.generation.vllm_generation.VLLMClient", engine)
        patch.setattr("trl.generation.vllm_generation.is_vllm_available", lambda: True)
        yield


def trainer(model: Path, folder: Path, **settings: Any) -> SRLTrainer:
    args = SRLConfig(
        **{
            "output_dir": str(folder),
            "use_vllm": True,
            "vllm_mode": "server",
            "bf16": False,
            "use_cpu": True,
            "require_think": False,
            "num_generations": 4,
            "num_generations_eval": 2,
            "prompts_per_step": 2,
            "per_device_train_batch_size": 4,
            "max_completion_length": 12,
            "max_steps": 3,
            "logging_steps": 1,
            "eval_steps": 1,
            "save_steps": 1,
            "eval_strategy": "steps",
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_reward",
            "learning_rate": 1e-2,
            "report_to": "none",
            "disable_tqdm": True,
            **settings,
        }
    )
    policy = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    callbacks = [SealCheckpoints()]
    return SRLTrainer(policy, args, INSTANCES, INSTANCES[:3], tokenizer, callbacks=callbacks)


def gap(trainer: SRLTrainer) -> float:
    """The largest difference between the engine's weights and the policy's."""
    engine = trainer.vllm_generation.vllm_client.model.state_dict()
    mine = trainer.model.state_dict()
    return max(float((mine[name] - engine[name]).abs().max()) for name in mine)


def test_the_engine_answers_with_the_weights_of_the_best_checkpoint(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    with served_by(Engine, tiny_model_dir, tmp_path):
        run = trainer(tiny_model_dir, tmp_path / "run")
        run.train()
        losses = [row["loss"] for row in run.state.log_history if "loss" in row]
        assert len(losses) == 3 and all(map(math.isfinite, losses))
        assert any(
            "sampling/importance_sampling_ratio/mean" in row for row in run.state.log_history
        )
        run.state.log_history.append({"step": 1, "eval_reward": 9.0})
        step, complaints = run.load_best()
        assert (step, complaints) == (1, [])
        assert gap(run) > 1e-3
        run.answer(INSTANCES[:3])
        assert gap(run) == 0


def test_no_copy_of_the_policy_is_made_for_sampling(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        "srl_agent.rollouts.rollout_model.RolloutModel._without_weights",
        lambda self, policy: made.append(policy),
    )
    with served_by(Engine, tiny_model_dir, tmp_path):
        run = trainer(tiny_model_dir, tmp_path / "run", bf16=True, max_steps=1)
        run.train()
        run.load_best()
        run.answer(INSTANCES[:3])
    assert made == []


@pytest.mark.parametrize("limit", ["truncate", "mask"])
@pytest.mark.parametrize(
    ("level", "skew", "bound"), [("sequence", -0.02, 1.185), ("token", -0.2, 1.3)]
)
@pytest.mark.parametrize("end", ["min", "max"])
def test_the_correction_is_that_of_the_settings(
    level: str,
    skew: float,
    bound: float,
    limit: str,
    end: str,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Engine, "skew", skew)
    low, high = (bound, 20.0) if end == "min" else (None, bound)
    with served_by(Engine, tiny_model_dir, tmp_path):
        run = trainer(
            tiny_model_dir,
            tmp_path / "run",
            vllm_importance_sampling_mode=f"{level}_{limit}",
            vllm_importance_sampling_clip_min=low,
            vllm_importance_sampling_clip_max=high,
            dynamic_sampling=False,
        )
        run.model.train()
        run.current_gradient_accumulation_steps = 2
        batches = run._micro_batches(run._roll_out(2))
    within = set()
    for batch in batches:
        mask = batch["completion_mask"]
        difference = batch["old_per_token_logps"] - batch["sampling_per_token_logps"]
        assert bool(difference[:, 1:2][mask[:, 1:2].bool()].isnan().all())
        difference = (difference * mask).nan_to_num(0.0)
        if level == "sequence":
            difference = difference.sum(-1, keepdim=True)
        ratio = difference.exp()
        kept = (ratio >= (low or 0.0)) & (ratio <= high)
        expected = ratio.clamp(low, high) if limit == "truncate" else ratio * kept
        torch.testing.assert_close(batch["importance_sampling_ratio"], expected)
        within |= set(kept[mask.bool() if level == "token" else ...].flatten().tolist())
        assert bool(run._compute_loss(run.model, batch).isfinite())
    assert within == {True, False}, "some ratios are beyond a limit, and some are not"


def test_a_batch_that_could_not_be_filled_is_trained_on(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    with served_by(Engine, tiny_model_dir, tmp_path):
        run = trainer(tiny_model_dir, tmp_path / "run")
        run.model.train()
        run.current_gradient_accumulation_steps = 2
        real, filler = run._micro_batches(run._roll_out(1))
    assert real["completion_mask"].any() and not filler["completion_mask"].any()
    assert float(run._compute_loss(run.model, filler)) == 0.0
    assert bool(run._compute_loss(run.model, real).isfinite())


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 1])
def test_on_two_processes_each_answer_belongs_to_its_prompt(
    count: int, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """Three instances are shares of two and one, one instance of one and none."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, __file__, str(tiny_model_dir), str(tmp_path), str(count)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pairs = json.loads(done.stdout.splitlines()[-1])
    assert len(pairs) == count * 2
    assert all(answered == wanted for answered, wanted in pairs)


def answer_on_this_process(model: Path, scratch: Path, count: int) -> None:
    with served_by(NamingEngine, model, scratch):
        run = trainer(model, scratch / "run", per_device_train_batch_size=2)
        _, answers = run.answer(INSTANCES[:count])
    if run.accelerator.is_main_process:
        asked = {instance.id: instance for instance in INSTANCES[:count]}

        def named(answer: Answer) -> str:
            prompt = run.chat(asked[answer.instance_id].messages, run.scorer.format)
            return run.chat.decoded([NamingEngine.name(prompt.ids), 0])

        print(json.dumps([(answer.completion, named(answer)) for answer in answers]))


if __name__ == "__main__":
    answer_on_this_process(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
