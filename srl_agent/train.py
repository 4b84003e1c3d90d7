"""Train a language model by Supervised Reinforcement Learning (SRL).

Or by the methods that it is compared with (RLVR, SFT), or by several in turn.

    # The quick start: a small model, built-in problems, 2 CPU cores.
    python -m srl_agent.train
    # The paper's math settings.
    python -m srl_agent.train --config srl_math_7b
    # A curriculum: stages one after another, each from the best checkpoint before.
    python -m srl_agent.train --config srl_then_rlvr_math_7b
    python -m srl_agent.train --config my.yaml --learning_rate 1e-6 --output_dir runs/mine

Would it work here? `--dry_run` checks everything and trains one micro-batch.

A run: answer what is held out with the base model, teach the format if asked to, answer
it again, train with the method, write the report. A run whose ``--output_dir`` holds
checkpoints resumes from the latest whole one; a curriculum passes over the stages that
are finished.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.errors import MissingDependencyError, SRLError, install_command


@dataclass
class TrainCommand:
    """What the command does beside the run's settings."""

    dry_run: bool = field(
        default=False,
        metadata={
            "help": (
                "Do everything that srl_agent.plan checks on this machine, train a single"
                " micro-batch in a temporary folder, and stop. Exit status 1 if the run would fail."
            )
        },
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if sys.stderr is sys.__stderr__:
        # A crash in a library's C code, hours into a run, then says where it was.
        faulthandler.enable()

    def train() -> int:
        with _recorded_errors():
            return _train(argv)

    return exit_status(train)


def _train(argv: list[str] | None) -> int:
    with _interrupted_imports():
        try:
            from trl import ModelConfig

            from srl_agent.command_line import parse_stages
            from srl_agent.runs.machine_errors import explained_errors
            from srl_agent.training.config import DataConfig, SRLConfig
            from srl_agent.training.curriculum import Curriculum
            from srl_agent.training.defaults import fitted
            from srl_agent.training.methods import check_used
            from srl_agent.training.run import Run
        except ImportError as error:
            raise MissingDependencyError(
                f"{error.name} is missing. Training needs the extra train:"
                f" {install_command('train')}"
            ) from None
    types = [DataConfig, SRLConfig, ModelConfig, TrainCommand]
    arguments, said = fitted(sys.argv[1:] if argv is None else argv, types)
    config, parsed = parse_stages(types, "quickstart", arguments, program("srl_agent.train"))
    stages = [(name, (data, args, model)) for name, (data, args, model, _) in parsed]
    check_used([args for _, (_, args, _) in stages])
    data, args, model = stages[0][1]
    # transformers' own default, "passive", leaves its loggers alone; ours are at "info" then.
    level = args.log_level if args.log_level in LOG_LEVELS else "info"
    log_to_stderr(level if args.process_index == 0 else "error")  # processes do not repeat it
    if said:
        logging.getLogger("srl_agent.train").warning(said)
    if parsed[0][1][3].dry_run:
        from srl_agent.training.rehearsal import dry_run

        return int(dry_run(arguments, types))
    with explained_errors(lambda: Path(args.output_dir)):
        if [name for name, _ in stages] == [config]:
            Run(config, data, args, model).train()
        else:
            Curriculum(config, stages).train()
    # Not after a failure, where the others may wait for what this process will never do.
    atexit.unregister(_end_process_group)
    atexit.register(_end_process_group)
    return 0


def _end_process_group() -> None:
    """End this process's part in the launch.

    Gloo's own threads need Python to let go of the last collective's tensors. If Python is
    about to end by then, that aborts the process, and the launcher calls a good run failed.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        if "gloo" in distributed.get_backend():
            time.sleep(0.5)  # lets those threads have Python: nothing tells when they are done
        distributed.destroy_process_group()


@contextmanager
def _recorded_errors() -> Iterator[None]:
    """Write what ends this process where its launcher, torchrun or accelerate, reads it.

    The launcher prints its own traceback, whose last line is then our error. The file is
    that of ``torch.distributed.elastic.multiprocessing.errors``.
    """
    try:
        yield
    except Exception as error:
        if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
            ours = isinstance(error, SRLError)
            text = f"error: {error}" if ours else traceback.format_exc().rstrip()
            Path(file).write_text(json.dumps({"message": text, "timestamp": int(time.time())}))
        raise


@contextmanager
def _interrupted_imports() -> Iterator[None]:
    """Ctrl-C ends the process at once while libraries are imported.

    Raised inside an import, it can turn into any other exception.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        os.write(2, b"interrupted\n")
        os._exit(130)

    try:
        before = (
            signal.signal(signal.SIGINT, leave)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler
            else None
        )
    except ValueError:  # not in the main thread, where no signal arrives either
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
