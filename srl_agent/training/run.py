"""One training run, from top to bottom.

Base model, format warm-up, the method, report; and how it resumes after a kill.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import disable_progress_bars
from transformers import PrinterCallback
from transformers.integrations import TensorBoardCallback
from transformers.utils import logging as transformers_logging
from trl import ModelConfig, get_peft_config

from srl_agent.inference.chat import end_token_ids
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.models.lora import is_adapter
from srl_agent.models.sharded import as_whole_models, is_sharded, whole_state_dict
from srl_agent.reports.summary import summarize
from srl_agent.reports.training_report import write_report
from srl_agent.rollouts.dynamic_sampling import NothingToLearnError
from srl_agent.rollouts.rollout_model import RolloutModel
from srl_agent.rollouts.sampler import Sampler
from srl_agent.rollouts.scorers import Instance
from srl_agent.runs.answers import Answer, read_answers, write_answers
from srl_agent.runs.checkpoints import (
    SealCheckpoints,
    checkpoint_to_start_from,
    find_damage,
    latest_whole,
    seal,
)
from srl_agent.runs.freed_memory import keep_freed_memory
from srl_agent.runs.metrics_file import LogToFile, MetricsFile
from srl_agent.runs.ownership import free_folder, is_trained, run_folder
from srl_agent.runs.records import write_method
from srl_agent.training.checks import check_adapter, check_model
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.data import LearningData, for_tokenizer, load_data
from srl_agent.training.fit import check_memory
from srl_agent.training.methods import METHODS
from srl_agent.training.prompt_length import check_lengths
from srl_agent.training.trl.format_warmup import warm_up
from srl_agent.training.trl.sharding import check_sharding, forget_trainer_before, save_whole
from srl_agent.training.trl.terminal import CheckpointOnInterrupt, short_progress
from srl_envs.errors import ConfigError, DataError, InfrastructureError, SRLError

_logger = logging.getLogger(__name__)


def run_settings(
    config: str, data: DataConfig, args: SRLConfig, model: ModelConfig
) -> dict[str, Any]:
    """All settings of a run, as its folder records them."""
    return {"config": config, **asdict(data), **asdict(model), **args.to_dict()}


class Run:
    """A training run in its folder.

    Args:
        config: Name or path of the config, for the folder's name.
        data: What is learned from.
        args: How.
        model: Which model, and LoRA if wanted.
    """

    def __init__(self, config: str, data: DataConfig, args: SRLConfig, model: ModelConfig) -> None:
        check_model(model)
        self.data, self.args, self.model_config = data, args, model
        self.process = PartialState()
        check_sharding(self.process, args)
        if args.use_cpu:
            keep_freed_memory()
        if args.output_dir in (None, "trainer_output"):
            args.output_dir = str(free_folder(Path("runs") / Path(config).stem))
        self.folder = Path(args.output_dir)
        args.run_name = args.run_name or self.folder.resolve().name  # what trackers call it
        self._settings = run_settings(config, data, args, model)
        self.method = METHODS.named(args.method)
        self.scorer = self.method.scorer(args)
        self._interrupt = CheckpointOnInterrupt()
        self._started = time.monotonic()

    def train(self) -> None:
        """Everything, or what a killed run left to do.

        Raises:
            ConfigError: The folder holds a run with other settings, or is in use.
        """
        try:
            with run_folder(self.folder, self._settings):
                if self.process.is_main_process:
                    write_method(self.folder, self.method.record(self.args, self.scorer))
                self.metrics = MetricsFile(self.folder / "metrics.jsonl")
                self._train()
        finally:
            self.scorer.close()

    def _train(self) -> None:
        _logger.info(f"run folder: {self.folder}")
        if is_trained(self.folder):  # killed, or out of space, while the report was written
            self._report()
            _logger.info(f"the run was finished but for its report: {self.folder / 'report.html'}")
            return
        self._checkpoint()  # a wrong --resume_from_checkpoint is refused at once
        parts, model, tokenizer = self.prepared()
        test = parts.test
        self._test_untrained("base", model, tokenizer, test)
        model = self._after_warm_up(model, tokenizer, parts.train, test)
        self._give_folder(model, tokenizer)
        trainer = self._trainer(model, tokenizer, parts)
        checkpoint = self._checkpoint()
        try:
            with short_progress(trainer, bar=not self.args.disable_tqdm):
                if checkpoint is None and self.args.eval_strategy != "no":
                    trainer.evaluate()
                trainer.train(
                    resume_from_checkpoint=None if checkpoint is None else str(checkpoint)
                )
        except NothingToLearnError as error:
            step = self._save_best(trainer)
            self._report()
            kept = self.folder / "final"
            raise NothingToLearnError(f"{error} The model of step {step} is {kept}.") from None
        finally:
            self._interrupt.give_back()
        self._check_ended(trainer.state.global_step, trainer.state.max_steps)
        step = self._save_best(trainer)
        self._record(self.args.method, step, *trainer.answer(test))
        if self.process.is_main_process:
            (self.folder / "report.html").unlink(
                missing_ok=True
            )  # of an earlier stage: only a finished run has summary and report
            summary = summarize(
                self.folder, self.args.method, step, time.monotonic() - self._started
            )
            self._report()
            print(
                f"{summary.table()}\nmodel: {self.folder / 'final'}\n"
                f"report: {self.folder / 'report.html'}",
                flush=True,
            )

    def rehearse(self) -> list[dict[str, float]]:
        """Train without answers to held-out instances, checkpoints or a report.

        Returns:
            What each step logged.
        """
        try:
            self.folder.mkdir(parents=True)
            self.metrics = MetricsFile(self.folder / "metrics.jsonl")
            parts, model, tokenizer = self.prepared()
            self._give_folder(model, tokenizer)
            trainer = self._trainer(model, tokenizer, parts)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        finally:
            self.scorer.close()
        *steps, whole = trainer.state.log_history
        # Supervised trainers do not tell their phases apart.
        each = {"time/backward": whole["train_runtime"] / len(steps)}
        return [step if "time/backward" in step else step | each for step in steps]

    def prepared(self) -> tuple[LearningData, Any, Any]:
        """Data, model and tokenizer, after every check that comes before work.

        Raises:
            ConfigError: The run cannot work as it is set.
        """
        check_memory(self.args, self.model_config)
        parts = load_data(self.data, self.args)
        _logger.info(f"data: {parts.summary}")
        model, tokenizer = self._load(
            self.model_config.model_name_or_path, self.model_config.model_revision
        )
        # From here on their bars tell of no download, only of sub-second work, in the middle of
        # ours.
        disable_progress_bars()
        transformers_logging.disable_progress_bar()
        parts = for_tokenizer(parts, self.data, self.args, tokenizer)
        held_out = [*parts.validation, *parts.test]
        check_adapter(self.model_config, model)
        check_lengths(self.args, model, tokenizer, parts.train, held_out)
        return parts, model, tokenizer

    def _save_best(self, trainer: Any) -> int:
        """Leave the best checkpoint as ``final``; its step."""
        step, complaints = trainer.load_best()
        self._warn(complaints)
        save_whole(trainer, self.folder / "final")
        return int(step)

    def _check_ended(self, step: int, steps: int) -> None:
        """Check that training went as far as it was to go."""
        if step >= steps:
            return
        if self._interrupt.stopped:
            raise KeyboardInterrupt
        self._report()
        raise InfrastructureError(
            f"Training ended after step {step} of {steps}, though no signal stopped it: the trainer"
            " had no further batch, or a callback ended it. The same command resumes."
        )

    # ---------------------------------------------------------------- stages

    def _trainer(self, model: Any, tokenizer: Any, parts: LearningData) -> Any:
        callbacks = [
            LogToFile(self.metrics, "train", self.args.method),
            SealCheckpoints(),
            self._interrupt,
        ]
        adapter = get_peft_config(self.model_config)
        if adapter is not None:  # TRL leaves it out, and the adapter would be merged into main
            adapter.revision = self.model_config.model_revision
        forget_trainer_before(self.args)
        try:
            trainer = self.method.make_trainer(
                model,
                self.args,
                parts.train,
                parts.validation,
                tokenizer,
                adapter,
                callbacks,
                self.scorer,
            )
        except ValueError as error:  # what TRL and PEFT say of settings that do not fit the model
            raise error if isinstance(error, SRLError) else ConfigError(str(error)) from None
        for callback in trainer.callback_handler.callbacks:
            # A validation before the first step would open ./runs/DATE_HOST in the working folder.
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                callback.logging_dir = str(self.folder / "tensorboard")
        return trainer

    def _load(self, name_or_path: str, revision: str | None) -> tuple[Any, Any]:
        with as_whole_models():
            return load_model_and_tokenizer(
                name_or_path,
                dtype=self._dtype(),
                revision=revision,
                trust_remote_code=self.args.trust_remote_code,
                attn_implementation=self.model_config.attn_implementation,
            )

    def _after_warm_up(
        self, model: Any, tokenizer: Any, train: Sequence[Instance], test: Sequence[Instance]
    ) -> Any:
        """The model that the method starts from.

        The warm-up is done once and kept in the run folder.
        """
        if not self.args.format_warmup_steps:
            return model
        done = self.folder / "warmup"
        problem = find_damage(done) if done.is_dir() else None
        if problem:
            self._warn([f"{done} is made again: {problem}."])
        if problem or not done.is_dir():
            _logger.info(f"format warm-up: {self.args.format_warmup_steps} supervised steps")
            scratch = self.folder / "warmup.part"
            warm_up(
                model, tokenizer, train, self.args, scratch, [LogToFile(self.metrics, "warmup")]
            )
            self._keep(model, tokenizer, done)
        # Loaded anew, since the supervised trainer patches the model's forward.
        model, _ = self._load(str(done.resolve()), revision=None)
        self._test_untrained("warmup", model, tokenizer, test)
        return model

    def _give_folder(self, model: Any, tokenizer: Any) -> None:
        """Write out a model that came from an adapter where its folder is read again.

        TRL's reference model and vLLM read a whole model by its name.
        """
        reads = self.args.use_vllm or (self.args.beta and not self.model_config.use_peft)
        if not reads or not is_adapter(Path(model.name_or_path)):
            return
        whole = self.folder / "start"
        if not whole.is_dir() or find_damage(whole):
            self._keep(model, tokenizer, whole)
        model.name_or_path = model.config._name_or_path = str(whole.resolve())

    def _keep(self, model: Any, tokenizer: Any, folder: Path) -> None:
        """Save a model in the run folder, whole or not at all."""
        main = self.process.is_main_process
        weights = whole_state_dict(model, keep=main) if is_sharded(model) else None
        if main:
            scratch = folder.with_suffix(".part")
            model.save_pretrained(scratch, state_dict=weights)
            tokenizer.save_pretrained(scratch)
            seal(scratch)
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        self.process.wait_for_everyone()

    def _test_untrained(
        self, stage: str, model: Any, tokenizer: Any, test: Sequence[Instance]
    ) -> None:
        """Let a model that no trainer holds yet answer the test instances."""
        if self._is_answered(stage, test):
            return
        args, rank, processes = self.args, self.process.process_index, self.process.num_processes
        sampling = args.sampling_settings
        sampler = Sampler(tokenizer, end_token_ids(model, tokenizer), sampling)
        rollout_model = RolloutModel(model, bool(args.bf16), args.device).at(0, model)
        metrics, answers = self.method.answer(
            test[rank::processes],
            rollout_model,
            sampler,
            args,
            self.scorer,
            (args.seed, rank),
            gather_object if processes > 1 else None,
        )
        self._record(stage, 0, metrics, answers)

    def _record(
        self, stage: str, step: int, metrics: dict[str, float], answers: list[Answer]
    ) -> None:
        if not self.process.is_main_process:
            return
        self.metrics.write("test", step, metrics, stage=stage)
        path = self._samples(stage, step)
        write_answers(path, answers)
        similarity = (
            ""
            if (value := metrics.get("similarity")) is None
            else f", similarity of the well-formed {value:.3f}"
        )
        _logger.info(
            f"{stage:>7}: held-out {self.scorer.measure} {metrics['reward']:+.3f}, well-formed"
            f" {metrics['format_rate']:.0%}{similarity} ({len(answers)} answers)"
        )

    def _is_answered(self, stage: str, test: Sequence[Instance]) -> bool:
        """Whether the untrained model's answers exist and are complete.

        Every process looks for itself.
        """
        path = self._samples(stage, 0)
        if not path.is_file():
            return False
        asked = Counter({instance.id: self.args.num_generations_eval or 1 for instance in test})
        try:
            if Counter(answer.instance_id for answer in read_answers(path)) == asked:
                return True
        except DataError:
            pass
        _logger.warning(f"{path} is damaged: the {stage} model answers again")
        return False

    def _samples(self, stage: str, step: int) -> Path:
        return self.folder / "samples" / f"{stage}-{step}.jsonl"

    # ---------------------------------------------------------------- folder

    def _checkpoint(self) -> Path | None:
        asked = self.args.resume_from_checkpoint
        if asked and str(asked).lower() not in ("true", "false"):
            return checkpoint_to_start_from(Path(asked))
        checkpoint, complaints = latest_whole(self.folder)
        self._warn(complaints)
        if checkpoint is not None:
            _logger.info(f"resuming from {checkpoint}")
        return checkpoint

    def _report(self) -> None:
        if self.process.is_main_process:
            write_report(self.folder)

    def _dtype(self) -> Any:
        """The precision of the weights: fp32 for full fine-tuning.

        Updates at these learning rates vanish in bf16; LoRA's frozen base may be bf16.
        """
        if self.model_config.dtype not in (None, "auto"):
            return self.model_config.dtype
        return torch.bfloat16 if self.model_config.use_peft and self.args.bf16 else torch.float32

    def _warn(self, complaints: list[str]) -> None:
        for complaint in complaints:
            _logger.warning(complaint)
