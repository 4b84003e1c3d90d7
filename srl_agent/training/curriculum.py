"""Several methods one after another, such as SRL and then RLVR.

Each stage is a run in its own folder and starts from the previous stage's model.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from trl import ModelConfig

from srl_agent.runs.ownership import check_finished_run, check_run_folder, is_finished
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.run import Run, run_settings
from srl_envs.errors import ConfigError

_logger = logging.getLogger(__name__)

Stage = tuple[str, tuple[DataConfig, SRLConfig, ModelConfig]]
"""A stage's config, by name or path, and its settings."""


class Curriculum:
    """A list of stages in one folder: ``<folder>/1-<config>``, ``<folder>/2-<config>``, ...

    Each stage ends with its best checkpoint as ``final``, which is where the next one
    starts: with LoRA (``use_peft``) each stage trains an adapter of its own, on the
    model of the one before with that one's adapter merged.

    Args:
        config: Name or path of the curriculum, for the folder's name.
        stages: In order; the model of the first is where all begins.

    Raises:
        ConfigError: The folder holds a finished curriculum, or a stage that was begun
            with other settings; or a setting does not go with stages.
    """

    def __init__(self, config: str, stages: Sequence[Stage]) -> None:
        self.stages = stages
        output_dir = stages[0][1][1].output_dir
        self.folder = (
            Path(output_dir)
            if output_dir not in (None, "trainer_output")
            else self._free(Path("runs") / Path(config).stem)
        )
        if is_finished(self._folders(self.folder)[-1]):
            raise ConfigError(
                f"{self.folder} holds a finished curriculum: choose another --output_dir."
            )
        before: Path | None = None
        for folder, (name, (data, args, model)) in zip(
            self._folders(self.folder), stages, strict=True
        ):
            if args.resume_from_checkpoint:
                raise ConfigError(
                    "resume_from_checkpoint does not go with a curriculum: the same command resumes"
                    " with the stage that was not finished."
                )
            args.output_dir = str(folder)
            if before is not None:
                model.model_name_or_path, model.model_revision = (
                    str(before.resolve() / "final"),
                    None,
                )
            check = check_finished_run if is_finished(folder) else check_run_folder
            try:  # now, not when the stages before are trained
                check(folder, run_settings(name, data, args, model))
            except ConfigError as error:
                raise ConfigError(
                    f"{error} Or delete {folder}: that stage is then trained anew, and those before"
                    " it are kept."
                ) from None
            before = folder

    def train(self) -> None:
        """All stages, or what a killed curriculum left to do; finished stages are passed over."""
        for number, (config, (data, args, model)) in enumerate(self.stages, start=1):
            _logger.info(f"stage {number} of {len(self.stages)}: {config}")
            if is_finished(folder := Path(str(args.output_dir))):
                _logger.info(f"finished before: {folder}")
                continue
            Run(config, data, args, model).train()
            # A trainer holds itself in cycles, and with it the model and the optimizer.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _folders(self, folder: Path) -> list[Path]:
        return [
            folder / f"{number}-{Path(config).stem}"
            for number, (config, _) in enumerate(self.stages, start=1)
        ]

    def _free(self, folder: Path) -> Path:
        """The folder itself, or the first numbered one whose last stage is unfinished."""
        number, free = 1, folder
        while is_finished(self._folders(free)[-1]):
            number += 1
            free = folder.with_name(f"{folder.name}-{number}")
        return free
