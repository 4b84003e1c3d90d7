"""Instances -> patches.

Makes prompts, asks for answers and keeps them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from typing import Any

from srl_agent.evaluation.swebench.config import SweBenchConfig
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.localize import (
    localize_prompt,
    oracle_paths,
    parse_localization,
)
from srl_agent.evaluation.swebench.prompt_budget import LeftOut, PromptBudget
from srl_agent.evaluation.swebench.records import Records
from srl_agent.evaluation.swebench.repair import (
    RepairPrompt,
    repair_outcome,
    repair_prompt,
    select_by_majority,
)
from srl_agent.evaluation.swebench.repositories import CommitFiles, Repositories, RepositoryError
from srl_agent.evaluation.swebench.samples import sample_patches
from srl_agent.inference.generator import Completion, Generator, MeasuresPrompts, Request
from srl_envs.errors import ConfigError, InfrastructureError

_logger = logging.getLogger(__name__)

_MOST_REFUSALS = 4
"""Instances that a model may refuse before it has answered one."""


class PatchWriter:
    """Lets a model write the patches of instances.

    Args:
        config: How to ask.
        generator: The model.
        budget: Of every prompt, see :mod:`~srl_agent.evaluation.swebench.model_budget`.
        repositories: Where files are read from.
        records: Where answers are kept; those that it holds are not asked for again.
        model: The model's name in predictions.
    """

    def __init__(
        self,
        config: SweBenchConfig,
        generator: Generator,
        budget: PromptBudget,
        repositories: Repositories,
        records: Records,
        model: str,
    ) -> None:
        self._config, self._generator, self._repositories, self._records, self._model = (
            config,
            generator,
            repositories,
            records,
            model,
        )
        self._budget = budget
        self._has_answered = False
        self._refusal: ConfigError | None = None
        self.errors: dict[str, str] = {}
        """Instance id -> why no patch could be asked for."""

    def write(
        self, instances: Sequence[SweBenchInstance], side_by_side: int
    ) -> Iterator[SweBenchInstance]:
        """Ask for patches; each instance is yielded once its prediction is in the records.

        A server answers requests one by one: each instance goes its own way there, and
        none waits for another. A model on this machine answers batches: so many
        instances are asked for together.

        Args:
            instances: Without a prediction in the records.
            side_by_side: How many are under way at a time.

        Raises:
            InfrastructureError: The model cannot be reached; what was answered before
                is kept.
            ConfigError: The model refused the first instances, all of them: the settings
                are wrong. Refusals of single instances are in
                :attr:`errors`.
        """
        if isinstance(self._generator, MeasuresPrompts):
            for start in range(0, len(instances), side_by_side):
                yield from self._write(instances[start : start + side_by_side])
                if start + side_by_side >= min(_MOST_REFUSALS, len(instances)):
                    self._require_answers()
            return

        def write_one(instance: SweBenchInstance) -> list[SweBenchInstance]:
            return list(self._write([instance]))

        with ThreadPoolExecutor(side_by_side, thread_name_prefix="instance") as threads:
            under_way = [threads.submit(write_one, instance) for instance in instances]
            failure: InfrastructureError | None = None
            try:
                for number, future in enumerate(as_completed(under_way), start=1):
                    try:
                        yield from future.result()
                    except CancelledError:
                        continue
                    except InfrastructureError as error:  # those under way may still be answered
                        failure = failure or error
                        threads.shutdown(wait=False, cancel_futures=True)
                    if number in (max(side_by_side, _MOST_REFUSALS), len(instances)):
                        self._require_answers()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self._generator.close()  # breaks off what is under way
                raise
        if failure:
            raise failure

    def _require_answers(self) -> None:
        if self._refusal is not None and not self._has_answered:
            raise self._refusal

    def _write(self, instances: Sequence[SweBenchInstance]) -> Iterator[SweBenchInstance]:
        files: dict[str, CommitFiles] = {}
        answers: dict[str, dict[str, Any]] = {}
        for instance in instances:
            try:
                files[instance.instance_id] = self._repositories.files(instance)
            except RepositoryError as error:
                self.errors[instance.instance_id] = str(error)
            else:
                answers[instance.instance_id] = self._records.answer(instance.instance_id) or {
                    "instance_id": instance.instance_id,
                    "mode": self._config.mode,
                }
        readable = [instance for instance in instances if instance.instance_id in answers]
        if self._config.mode == "end-to-end":
            self._localize(readable, files, answers)
            readable = [
                instance for instance in readable if "localize" in answers[instance.instance_id]
            ]
        yield from self._repair(readable, files, answers)

    def _localize(
        self,
        instances: Sequence[SweBenchInstance],
        files: dict[str, CommitFiles],
        answers: dict[str, dict[str, Any]],
    ) -> None:
        missing = [
            instance for instance in instances if "localize" not in answers[instance.instance_id]
        ]
        prompts = [
            localize_prompt(instance, files[instance.instance_id], self._budget)
            for instance in missing
        ]
        for index, completion in self._answers([Request(prompt.messages) for prompt in prompts]):
            name = missing[index].instance_id
            if isinstance(completion, ConfigError):
                self.errors[name] = str(completion)
                continue
            found = parse_localization(completion.text, files[name])
            answers[name]["localize"] = {
                "messages": list(prompts[index].messages),
                "prompt_tokens": self._budget.count(prompts[index].messages),
                "max_prompt_tokens": self._budget.max_prompt_tokens,
                "tree": prompts[index].tree,
                **_written(completion),
                "paths": list(found.paths),
                "left_out": [asdict(one) for one in found.left_out],
            }
            self._records.write_answer(name, answers[name])

    def _repair(
        self,
        instances: Sequence[SweBenchInstance],
        files: dict[str, CommitFiles],
        answers: dict[str, dict[str, Any]],
    ) -> Iterator[SweBenchInstance]:
        requests: list[Request] = []
        asked: list[SweBenchInstance] = []
        prompts: dict[str, RepairPrompt] = {}
        finished: list[SweBenchInstance] = []
        for instance in instances:
            name = instance.instance_id
            answer = answers[name]
            try:
                prompts[name] = prompt = self._repair_prompt(instance, files[name], answer)
            except RepositoryError as error:
                self.errors[name] = str(error)
                continue
            tokens = {
                "prompt_tokens": self._budget.count(prompt.messages),
                "max_prompt_tokens": self._budget.max_prompt_tokens,
            }
            repair = answer.setdefault(
                "repair",
                {
                    "messages": list(prompt.messages),
                    **tokens,
                    "given": list(prompt.given),
                    "samples": [],
                },
            )
            repair["left_out"] = [asdict(one) for one in prompt.left_out]
            known = {sample["number"] for sample in repair["samples"]}
            numbers = [number for number in range(self._config.num_samples) if number not in known]
            requests += [Request(prompt.messages, number) for number in numbers]
            asked += [instance] * len(numbers)
            if not numbers:  # a kill came between the last answer and the prediction
                finished.append(instance)
        for instance in finished:
            self._predict(instance, answers[instance.instance_id])
            yield instance
        for index, completion in self._answers(requests):
            instance, name = asked[index], asked[index].instance_id
            if isinstance(completion, ConfigError):
                self.errors[name] = str(completion)
                continue
            samples = answers[name]["repair"]["samples"]
            try:
                outcome = repair_outcome(prompts[name], completion.text, files[name])
            except RepositoryError as error:
                self.errors[name] = str(error)
                continue
            samples.append(
                {
                    "number": requests[index].number,
                    **_written(completion),
                    "edits": [asdict(edit) for edit in outcome.edits],
                    "patch": outcome.patch,
                    "problems": [asdict(problem) for problem in outcome.problems],
                }
            )
            samples.sort(key=lambda sample: int(sample["number"]))
            self._records.write_answer(name, answers[name])
            if len(samples) == self._config.num_samples:
                self._predict(instance, answers[name])
                yield instance

    def _answers(
        self, requests: Sequence[Request]
    ) -> Iterator[tuple[int, Completion | ConfigError]]:
        """Completions with the index of their request, or why there is none.

        A server may refuse a prompt (a filter of contents, for example) and does not
        say which one: then those without an answer are asked for one by one.
        """
        waiting = dict(enumerate(requests))
        try:
            for index, completion in self._generator.generate(requests, self._config.generation()):
                del waiting[index]
                self._has_answered = True
                yield index, _with_room(completion)
        except ConfigError:
            for index, request in waiting.items():
                try:
                    yield from (
                        (index, _with_room(completion))
                        for _, completion in self._generator.generate(
                            [request], self._config.generation()
                        )
                    )
                    self._has_answered = True
                except ConfigError as error:
                    self._refusal = self._refusal or error
                    yield index, error

    def _repair_prompt(
        self, instance: SweBenchInstance, files: CommitFiles, answer: dict[str, Any]
    ) -> RepairPrompt:
        if self._config.mode == "oracle":
            paths, left_out = oracle_paths(instance)
        else:
            paths, left_out = (
                tuple(answer["localize"]["paths"]),
                tuple(LeftOut(**one) for one in answer["localize"]["left_out"]),
            )
        return repair_prompt(instance, paths, files, self._budget, left_out)

    def _predict(self, instance: SweBenchInstance, answer: dict[str, Any]) -> None:
        """Choose among the samples and write the prediction."""
        patches = sample_patches(answer)
        chosen = select_by_majority(patches)
        answer["repair"]["chosen"] = chosen
        self._records.write_answer(instance.instance_id, answer)
        self._records.add_prediction(instance.instance_id, self._model, patches[chosen])


def _with_room(completion: Completion) -> Completion | ConfigError:
    """The completion, unless its prompt left no room for one."""
    return (
        ConfigError("its prompt leaves no room in the model's context: lower --max_prompt_tokens")
        if completion.finish == "context"
        else completion
    )


def _written(completion: Completion) -> dict[str, Any]:
    return {"answer": completion.text, "tokens": completion.tokens, "finish": completion.finish}
