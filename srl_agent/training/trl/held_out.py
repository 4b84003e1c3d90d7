"""What every trainer of this project does with held-out instances.

It answers them in validation, and ends with the best checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from transformers import Trainer

from srl_agent.rollouts.sampler import RolloutModel
from srl_agent.rollouts.scorers import Instance, Scorer
from srl_agent.rollouts.validation import validate
from srl_agent.runs.checkpoints import best_whole
from srl_agent.training.config import SRLConfig


class HeldOut(Trainer):  # type: ignore[misc]
    """Put before a trainer of TRL: validation by answering, and the best checkpoint by it.

    The trainer sets what stands here, and draws completions with ``_complete``.
    """

    args: Any
    control: Any
    settings: SRLConfig
    scorer: Scorer
    eval_instances: Sequence[Instance]
    eos_token_ids: Sequence[int]
    _rollout_model: RolloutModel
    _tokenizer: Any
    _metrics: dict[str, Any]

    def _complete(
        self, prompts: list[list[int]], num_samples: int, seed: Sequence[int]
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        raise NotImplementedError

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Answer the held-out instances, with the same seeds each time.

        Logs reward, similarity and format rate.

        Returns:
            ``eval_reward``, ``eval_similarity`` (of the well-formed answers),
            ``eval_format_rate`` and more.
        """
        metrics, _ = self.answer(self.eval_instances)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        kept, self._metrics["train"] = self._metrics["train"], defaultdict(list)
        self.log(dict(metrics))
        self._metrics["train"] = kept
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def answer(
        self, instances: Sequence[Instance]
    ) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Let the current model answer these instances, with the same seeds each time.

        The processes share them.

        Returns:
            The metrics and one record per answer, as
            :func:`~srl_agent.rollouts.validation.validate` gives them.
        """
        samples = self.settings.num_generations_eval or 1
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        self._rollout_model.outdate()  # the best checkpoint may just have been loaded
        return validate(
            list(instances)[rank::processes],
            self._tokenizer,
            lambda prompts, seed: self._complete(prompts, samples, seed)[0],
            self.eos_token_ids,
            self.scorer,
            num_samples=samples,
            seed=(self.args.seed, rank),
            gather=gather_object if processes > 1 else None,
        )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if (
            self.state.global_step >= self.state.max_steps
        ):  # killed after its last step: nothing is left to train
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _load_best_model(self) -> None:
        """Left to :meth:`load_best`: transformers does not look whether the checkpoint is whole."""

    def load_best(self) -> tuple[int, list[str]]:
        """Load the complete checkpoint that did best in validation.

        The weights stay as they are if none is better.

        Returns:
            The step of the weights, and a line about each better checkpoint that is
            damaged.
        """
        metric = str(self.args.metric_for_best_model)
        metrics = {
            int(row["step"]): float(row[metric])
            for row in self.state.log_history
            if metric in row and row["step"] > 0
        }
        step, complaints = int(self.state.global_step), []
        if self.args.load_best_model_at_end:
            found: list[Any] = [None]
            if self.accelerator.is_main_process:
                found = [
                    best_whole(
                        Path(str(self.args.output_dir)),
                        metrics,
                        step,
                        bool(self.args.greater_is_better),
                    )
                ]
            broadcast_object_list(found)  # all processes load the same
            best, complaints = found[0]
            if (
                self.state.best_model_checkpoint
                and not Path(self.state.best_model_checkpoint).is_dir()
            ):
                complaints.append(
                    f"{self.state.best_model_checkpoint} had the best validation but is missing."
                )
            if best is not None:
                self.state.best_model_checkpoint, step = (
                    str(best),
                    int(best.name.rpartition("-")[2]),
                )
                super()._load_best_model()
        return step, complaints

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """As in transformers, but silent about weights that are tied and therefore not saved."""
        tied = set(getattr(self.model, "all_tied_weights_keys", None) or ())
        missing = [key for key in load_result.missing_keys if key not in tied]
        load_result.missing_keys.clear()
        load_result.missing_keys.extend(missing)
        super()._issue_warnings_after_load(load_result)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Does not write one: TRL's would describe another training.

        ``config.yaml`` and ``report.html`` describe this one.
        """
