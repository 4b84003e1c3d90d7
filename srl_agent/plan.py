"""Say what a training run needs, and what is wrong with this machine, before it starts.

    # The quick start, on this machine.
    python -m srl_agent.plan
    # The paper's settings, on this machine; flags are those of srl_agent.train.
    python -m srl_agent.plan srl_math_7b --model_name_or_path ./my-model
    # Would it fit on eight H100? Which set-up, which micro-batch?
    python -m srl_agent.plan srl_math_7b --gpus 8 --gpu h100

    # How long will it take? Save the forecast, and compare it when the run is finished.
    python -m srl_agent.plan my.yaml --price 2.5 --forecast forecast.json
    python -m srl_agent.plan my.yaml --run runs/my --forecast forecast.json

A line for everything that a run depends on: ok, warning or fails, with a cure. Then the
memory of each shipped set-up, and time, tokens and money to the config's end. The exit
status is 1 if the run would fail.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from srl_agent.training.cards import CARDS, room_of
from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.errors import ConfigError, MissingDependencyError, install_command, require

if TYPE_CHECKING:  # torch takes its time to import
    from srl_agent.training.doctor import Examined, Place
    from srl_agent.training.rehearsal import Rehearsal


_MOST_GPUS = 16_384  # as many as the largest trainings of language models have had


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
        metadata={
            "help": "How many GPUs, 1 to 16,384. None: 1 with --gpu, else all that are here."
        },
    )

    measure: int = field(
        default=3,
        metadata={
            "help": (
                "Optimizer steps of few prompts that are run here to measure the time of the run's"
                " parts; the first one warms up. 0: none, and no forecast for this machine."
            )
        },
    )
    like: str | None = field(
        default=None,
        metadata={
            "help": (
                "Folder of a run of the same model on the hardware that is planned for: its"
                " recorded times are taken, and nothing is measured."
            )
        },
    )
    price: float | None = field(
        default=None,
        metadata={
            "help": "Of an hour of one GPU, in any currency. None: no money in the forecast."
        },
    )
    forecast: str | None = field(
        default=None,
        metadata={"help": "JSON file to write the forecast to; with --run, to read it from."},
    )
    run: str | None = field(
        default=None,
        metadata={
            "help": (
                "Folder of the finished run: say how far the forecast was off, that of --forecast"
                " or one from the run's own first 5 steps. Nothing else is done."
            )
        },
    )

    def __post_init__(self) -> None:
        require(self.measure >= 0, "measure", self.measure, "0 or more")
        require(
            self.price is None or 0 <= self.price < inf, "price", self.price, "finite, 0 or more"
        )
        require(
            self.gpus is None or 1 <= self.gpus <= _MOST_GPUS,
            "gpus",
            self.gpus,
            f"from 1 to {_MOST_GPUS:,}",
        )
        if self.gpu is not None:
            room_of(self.gpu)
        for name in ("run", "like"):
            folder = getattr(self, name)
            if folder is not None and not Path(folder).is_dir():
                raise ConfigError(f"{name} is {folder!r}: there is no such folder of a run.")
        if self.forecast is not None and not Path(self.forecast).absolute().parent.is_dir():
            raise ConfigError(f"forecast is {self.forecast!r}: its folder does not exist.")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(lambda: _plan(list(sys.argv[1:] if argv is None else argv)))


def _refuse_at_once(arguments: list[str]) -> None:
    """Check this command's own flags before the libraries of training are imported."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    types = get_type_hints(PlanConfig)
    for one in fields(PlanConfig):
        kind = (get_args(types[one.name]) or (types[one.name],))[0]  # of "int | None", int
        parser.add_argument(f"--{one.name}", type=kind, default=one.default)
    try:
        own, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}. See --help.") from None
    PlanConfig(**vars(own))


def _plan(arguments: list[str]) -> int:
    _refuse_at_once(arguments)
    try:
        from trl import ModelConfig

        from srl_agent.command_line import parse_stages
        from srl_agent.training.checks import packages_may_be_missing
        from srl_agent.training.config import DataConfig, SRLConfig
        from srl_agent.training.defaults import fitted
        from srl_agent.training.doctor import examine
        from srl_agent.training.rehearsal import rehearse
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is missing. A plan needs the extra train: {install_command('train')}"
        ) from None
    types = [DataConfig, SRLConfig, ModelConfig, PlanConfig]
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--config", *arguments]
    with packages_may_be_missing() as absent:
        arguments, said = fitted(arguments, types)
        _, stages = parse_stages(
            types,
            "quickstart",
            arguments,
            prog=f"{program('srl_agent.plan')} [CONFIG]",
        )
    level = stages[0][1][1].log_level
    log_to_stderr(level if level in LOG_LEVELS else "info")
    if said:
        logging.getLogger("srl_agent.plan").warning(said)
    failed = False
    for number, (name, (data, args, model, where)) in enumerate(stages):
        if len(stages) > 1:
            print(f"\nstage {name}\n")
        if where.run is not None and where.forecast is not None:
            from srl_agent.training.forecast import how_far_off, read_forecast

            print(how_far_off(read_forecast(Path(where.forecast)), Path(where.run)))
            continue
        place = _place(where)
        found = examine(data, args, model, place, absent)
        if where.run is None:
            _show(found, args, model)
        failed |= found.fails
        if not found.fails:
            again = partial(rehearse, arguments, types, number, where.measure, True)
            _forecast(found, (data, args, model), where, place, again)
    return int(failed)


def _show(found: Examined, args: Any, model: Any) -> None:
    """Print what was found of one run, and its memory."""
    from srl_agent.evaluation.math.table import aligned
    from srl_agent.training.setups import memory_cells

    print("\n".join(map(str, found.findings)))
    if found.fits:
        print(f"\n{aligned(memory_cells(found.fits))}\n")
        for one in found.fits:
            if one.works:
                print(f"{one.set_up.name}: {one.set_up.flags(args, model) or 'as it is'}")


def _forecast(
    found: Examined,
    settings: tuple[Any, Any, Any],
    where: PlanConfig,
    place: Place,
    again: Callable[[], Rehearsal],
) -> None:
    """Print time, tokens and money, or why they are not known."""
    from trl import get_peft_config

    from srl_agent.training.data import for_tokenizer
    from srl_agent.training.forecast import (
        estimated_speed,
        forecast,
        how_far_off,
        measured_speed,
        recorded_speed,
        save_forecast,
        work_of,
    )
    from srl_agent.training.memory import Shape

    data, args, model = settings
    if found.data is None or found.tokenizer is None or found.config is None:
        print("\ntime       not known: it needs the model's tokenizer and the data on this machine")
        return
    parts = for_tokenizer(found.data, data, args, found.tokenizer)
    shape = Shape.of(found.config, get_peft_config(model))
    work, card = work_of(args, shape, parts, found.tokenizer), CARDS.get((where.gpu or "").lower())
    works = next((one for one in found.fits if one.works), None)
    if where.run is not None:
        speed = recorded_speed(Path(where.run), work, 5)
        print(how_far_off(forecast(work, speed), Path(where.run)))
        return
    if where.like is not None:
        speed = recorded_speed(Path(where.like), work)
    elif place.elsewhere and card and works:
        speed = estimated_speed(card, works.shape, works.load, work)
    elif not place.elsewhere and where.measure:
        speed = measured_speed(again(), work, max(1, place.gpus))
    else:
        print("\ntime       not known: give --like RUN, the folder of a run on such hardware")
        return
    expected = forecast(work, speed)
    print("\n" + "\n".join(expected.lines(place.gpus, where.price)))
    if where.forecast is not None:
        save_forecast(Path(where.forecast), expected)


def _place(where: PlanConfig) -> Place:
    from srl_agent.training.doctor import Place

    here = Place.here()
    if where.gpu is None:
        return here if where.gpus is None else Place(where.gpus, here.room, False)
    return Place(where.gpus or 1, room_of(where.gpu), True)


if __name__ == "__main__":
    sys.exit(main())
