r"""The paper's methods side by side on one small model.

Base, SFT, RLVR, SRL, SRL -> RLVR, SRL without dynamic sampling, SRL one-step. Run it from
the project's root:

    # A model of 0.65M parameters in a made world, pretrained on the spot: docs/study.md.
    python -m benchmarks.study
    # Qwen2.5-1.5B-Instruct on one GPU (not run yet); GSM8K from the hub.
    python -m benchmarks.study --size gpu
    # GSM8K from FOLDER/gsm8k/test.jsonl.
    python -m benchmarks.study --size gpu --gsm8k FOLDER/gsm8k
    # Copy the results to benchmarks/results/study_NAME as well.
    python -m benchmarks.study --record NAME

Rerun the same command to resume a killed study: what is finished is not repeated, and a
training resumes from its latest checkpoint.

**What is held equal** (size gpu). All trained arms of a seed start from the same
weights: a supervised warm-up that teaches both formats (whole solutions with the answer
in a box, then single steps after a think block), since a small model may have neither.
Then each arm takes the same number of optimizer steps and learns from the same number
of prompts a step: ``steps * prompts_per_step`` in all, 8 rollouts each where there are
rollouts. A prompt is one step of a solution (SRL) or one problem (SFT, RLVR, SRL
one-step). SRL -> RLVR splits this budget in halves, as else it would have twice as much
as the arms that it is compared with. Methods that drop groups whose rewards are all
equal replace them with fresh prompts, as in the paper. So they draw more than they learn
from, at most ``max_sampling_rounds`` times as much; the table shows how much. The last
weights count; no validation chooses a checkpoint. Not equal: tokens (a solution is
longer than a step) and, for SFT, sampling (it needs none).

**An arm that stops is a result.** An arm that finds nothing to learn from (all rewards
of its groups equal) stops. The model it stopped with is scored, and the table says so.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

if not __package__:  # python benchmarks/study: its modules are found from the project's root
    sys.path[0] = str(Path(__file__).parents[2])

from benchmarks.study.plan import SIZES, read_size
from benchmarks.study.processes import Study, claimed
from benchmarks.study.tiny.plan import tiny_settings
from srl_envs.command_line import exit_status
from srl_envs.errors import require

RESULTS = Path(__file__).parents[1] / "results"
RECORDED = ("results.json", "table.md", "plot.png", "curves.png", "findings.md")


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--size",
        default="tiny",
        help="tiny (default), gpu, or the path of a YAML file like those in benchmarks/study/",
    )
    parser.add_argument("--model_name_or_path", help="another model than the size's")
    parser.add_argument("--seeds", type=int, help="another number of seeds than the size's")
    parser.add_argument(
        "--gsm8k", help="GSM8K's test set, as a file or a folder; without it the hub is asked"
    )
    parser.add_argument("--output_dir", type=Path, help="default: runs/study-<size>")
    parser.add_argument(
        "--record", metavar="NAME", help="copy the results to benchmarks/results/study_NAME"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="size tiny: bases that train at the same time, each in its own process"
        " (default: as many as there are cores)",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="size tiny: train nothing, and write the results of what is finished",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    return exit_status(
        lambda: _study(options),
        interrupted="interrupted: rerun the same command to resume",
    )


def _study(options: argparse.Namespace) -> int:
    folder = options.output_dir or Path("runs") / f"study-{Path(options.size).stem}"
    named = SIZES / f"{options.size}.yaml"
    path = named if named.is_file() else Path(options.size)
    tiny = tiny_settings(path, options.seeds)
    if tiny is not None:
        _check_left_out(options, "model_name_or_path", "gsm8k")
        require(options.jobs is None or options.jobs > 0, "jobs", options.jobs, "at least 1")
        from benchmarks.study.tiny.study import TinyStudy  # imports torch and TRL

        study = TinyStudy(folder, tiny)
        if options.report:
            print(study.report())
        else:
            study.run(options.jobs)
        _record(options.record, folder)
        return 0
    _check_left_out(options, "jobs", "report")
    size = read_size(
        options.size, {"model_name_or_path": options.model_name_or_path, "seeds": options.seeds}
    )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as lock:
        gsm8k = claimed(folder, size, options.gsm8k)
        study = Study(folder, size, gsm8k, lock)
        study.run()
        from benchmarks.study.results import write_all  # imports matplotlib, only for this

        print("\n" + write_all(folder, size))
    _record(options.record, folder)
    return 0


def _check_left_out(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        require(not getattr(options, name), name, getattr(options, name), "left out with this size")


def _record(name: str | None, folder: Path) -> None:
    if not name:
        return
    target = RESULTS / f"study_{name}"
    target.mkdir(parents=True, exist_ok=True)
    for path in (folder / recorded for recorded in RECORDED):
        if path.is_file():
            shutil.copy(path, target / path.name)
    print(f"recorded in {target}")


@contextmanager
def _alone(folder: Path) -> Iterator[TextIO]:
    """Lock the folder; wait for a training that outlived a killed study, as it holds the lock."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"{folder} is in use by a study, or by a training that outlived one: waiting",
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
