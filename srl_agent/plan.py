"""Say what a training run needs, and what is wrong with this machine, before it starts.

    # The quick start, on this machine.
    python -m srl_agent.plan
    # The paper's settings, on this machine; flags are those of srl_agent.train.
    python -m srl_agent.plan srl_math_7b --model_name_or_path ./my-model
    # Would it fit on eight H100? Which set-up, which micro-batch?
    python -m srl_agent.plan srl_math_7b --gpus 8 --gpu h100

A line for everything that a run depends on: ok, warning or fails, with a cure. Then the
memory of each shipped set-up. The exit status is 1 if the run would fail.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.errors import MissingDependencyError, install_command, require


@dataclass
class PlanConfig:
    """Where the run is to take place."""

    gpu: str | None = field(
        default=None,
        metadata={
            "help": (
                "Plan for GPUs of another machine: a10g, l4, rtx4090, a100-40, l40s, a100, h100,"
                " h200, b200, or the GiB that one has. None: this machine."
            )
        },
    )
    gpus: int | None = field(
        default=None,
        metadata={"help": "How many GPUs, at least 1. None: 1 with --gpu, else all that are here."},
    )

    def __post_init__(self) -> None:
        require(self.gpus is None or self.gpus >= 1, "gpus", self.gpus, "at least 1")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(lambda: _plan(list(sys.argv[1:] if argv is None else argv)))


def _plan(arguments: list[str]) -> int:
    try:
        from trl import ModelConfig

        from srl_agent.command_line import parse_stages
        from srl_agent.training.checks import packages_may_be_missing
        from srl_agent.training.config import DataConfig, SRLConfig
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is missing. A plan needs the extra train: {install_command('train')}"
        ) from None
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--config", *arguments]
    with packages_may_be_missing() as absent:
        _, stages = parse_stages(
            [DataConfig, SRLConfig, ModelConfig, PlanConfig],
            "quickstart",
            arguments,
            prog=f"{program('srl_agent.plan')} [CONFIG]",
        )
    level = stages[0][1][1].log_level
    log_to_stderr(level if level in LOG_LEVELS else "info")
    failed = False
    for name, (data, args, model, where) in stages:
        if len(stages) > 1:
            print(f"\nstage {name}\n")
        failed |= _show(data, args, model, where, absent)
    return int(failed)


def _show(data: Any, args: Any, model: Any, where: PlanConfig, absent: list[str]) -> bool:
    """Print the plan of one run; whether it would fail."""
    from srl_agent.evaluation.math.table import aligned
    from srl_agent.training.doctor import examine
    from srl_agent.training.setups import memory_cells

    found = examine(data, args, model, _place(where), absent)
    print("\n".join(map(str, found.findings)))
    if found.fits:
        print(f"\n{aligned(memory_cells(found.fits))}\n")
        for one in found.fits:
            if one.fits and one.divides:
                print(f"{one.set_up.name}: {one.set_up.flags(bool(model.use_peft)) or 'as it is'}")
    return found.fails


def _place(where: PlanConfig) -> Any:
    from srl_agent.training.doctor import Place
    from srl_agent.training.setups import room_of

    here = Place.here()
    if where.gpu is None:
        return here if where.gpus is None else Place(where.gpus, here.room, False)
    return Place(where.gpus or 1, room_of(where.gpu), True)


if __name__ == "__main__":
    sys.exit(main())
