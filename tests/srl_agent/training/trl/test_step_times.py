"""The phases of a step add up to it, whatever it does: accumulation, generations that serve
several steps, older policies, validation in between.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from srl_agent.runs.metrics_file import LogToFile, MetricsFile
from srl_agent.runs.reading import read_run
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.grpo import SRLTrainer
from srl_agent.training.trl.step_times import PHASES, StepClock
from srl_envs.data import load_trajectories

CPU = torch.device("cpu")


def test_every_second_of_a_step_belongs_to_one_phase() -> None:
    moments = iter([10.0, 11.0, 13.0, 13.5, 14.0, 20.0, 100.0, 103.0, 104.0])
    clock = StepClock(CPU, lambda: next(moments))
    clock.switch("generation")  # outside of a step: no time is read
    clock.start()  # 10
    for phase in ("generation", "reward", "other", "forward"):  # 11, 13, 13.5, 14
        clock.switch(phase)
    clock.stop()  # 20
    clock.switch("generation")  # a validation, until 100
    clock.start()
    clock.switch("backward")  # 103
    clock.stop()
    assert clock.lap() == {
        "generation": 1.0,
        "reward": 0.25,
        "forward": 3.0,
        "backward": 0.5,
        "other": (1 + 0.5 + 3) / 2,
    }
    assert clock.lap() == dict.fromkeys(PHASES, 0.0)


def test_a_phase_that_comes_again_is_added_up() -> None:
    ticks = count()
    clock = StepClock(CPU, lambda: float(next(ticks)))
    clock.start()
    for _ in range(3):
        for phase in ("forward", "backward", "other"):
            clock.switch(phase)
    clock.stop()
    assert clock.lap() == {
        "generation": 0.0,
        "reward": 0.0,
        "forward": 3.0,
        "backward": 3.0,
        "other": 4.0,
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_device_is_timed_and_not_its_queue() -> None:
    device = torch.device("cuda")
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    matrix = torch.randn(4096, 4096, device=device)
    clock = StepClock(device)
    begin.record()
    clock.start()
    clock.switch("forward")
    for _ in range(50):
        matrix = matrix @ matrix / 64
    clock.switch("backward")
    clock.stop()
    end.record()
    end.synchronize()
    seconds = clock.lap()
    assert seconds["forward"] > 0.9 * sum(seconds.values()) > 0
    assert sum(seconds.values()) <= 1.001 * begin.elapsed_time(end) / 1000


@pytest.mark.parametrize(("steps_per_generation", "logging_steps"), [(2, 1), (4, 1), (4, 2)])
def test_each_step_is_logged_with_all_phases(
    steps_per_generation: int,
    logging_steps: int,
    tiny_model: Any,
    tiny_tokenizer: Any,
    tmp_path: Path,
) -> None:
    args = SRLConfig(
        output_dir=str(tmp_path),
        bf16=False,
        require_think=False,
        num_generations=4,
        prompts_per_step=2,  # two micro-batches a step
        per_device_train_batch_size=4,
        steps_per_generation=steps_per_generation,
        max_completion_length=12,
        max_steps=4,
        logging_steps=logging_steps,
        eval_steps=1,
        eval_strategy="steps",
        save_strategy="no",
        load_best_model_at_end=False,
        report_to="none",
        disable_tqdm=True,
    )
    instances = load_trajectories("builtin", count=20).instances("all")
    log = LogToFile(MetricsFile(tmp_path / "metrics.jsonl"), "train")
    SRLTrainer(tiny_model, args, instances, instances[:3], tiny_tokenizer, callbacks=[log]).train()
    rows = read_run(tmp_path).train.rows
    assert sorted(rows) == list(range(logging_steps, 5, logging_steps))
    for step, row in rows.items():
        times = {
            name.removeprefix("time/"): value
            for name, value in row.items()
            if name.startswith("time/")
        }
        assert set(times) == set(PHASES)
        assert min(times.values()) >= 0 and times["forward"] > 0 and times["backward"] > 0
        # TRL's own time of a step leaves out what stands between its micro-batches and the
        # optimizer.
        rounding = 1e-5
        assert sum(times.values()) >= row["step_time"] - rounding
        assert sum(times.values()) - times["other"] <= row["step_time"] + rounding
        generates = (
            logging_steps == 2 or (step - 1) * 2 % steps_per_generation == 0
        )  # the validations before the others are not counted
        assert (times["generation"] > 0 and times["reward"] > 0) == generates
