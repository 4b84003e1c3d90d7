"""Instances -> patches: prompts are made, answers asked for and kept, a chunk of instances at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from srl_agent.evaluation.swebench.config import SweBenchConfig
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.localize import localize_prompt, parse_localization
from srl_agent.evaluation.swebench.oracle import oracle_paths
from srl_agent.evaluation.swebench.prompt_budget import LeftOut, PromptBudget, estimated_tokens
from srl_agent.evaluation.swebench.records import Records
from srl_agent.evaluation.swebench.repair import RepairPrompt, repair_outcome, repair_prompt, select_by_majority
from srl_agent.evaluation.swebench.repositories import CommitFiles, Repositories, RepositoryError
from srl_agent.inference.backends import GeneratorConfig
from srl_agent.inference.generator import Completion, Generator, Request


class PatchWriter:
    """Lets a model write the patches of instances.

    Args:
        config: How to ask.
        generator: The model.
        count_tokens: Counts the tokens of a text.
        repositories: Where files are read from.
        records: Where answers are kept; those that it holds are not asked for again.
        model: The model's name in predictions.
    """

    def __init__(
        self,
        config: SweBenchConfig,
        generator: Generator,
        count_tokens: Callable[[str], int],
        repositories: Repositories,
        records: Records,
        model: str,
    ) -> None:
        self._config, self._generator, self._repositories, self._records, self._model = config, generator, repositories, records, model
        self._budget = PromptBudget(config.max_prompt_tokens, count_tokens)
        self.errors: dict[str, str] = {}
        """Instance id -> why no patch could be asked for."""

    def write(self, instances: Sequence[SweBenchInstance]) -> Iterator[SweBenchInstance]:
        """Ask for the patches of a chunk; each instance as soon as its prediction stands in the records.

        Raises:
            InfrastructureError: The model cannot be reached; what was answered before is kept.
            ConfigError: The budget or a prompt does not fit the model.
        """
        files: dict[str, CommitFiles] = {}
        answers: dict[str, dict[str, Any]] = {}
        for instance in instances:
            try:
                files[instance.instance_id] = self._repositories.files(instance)
            except RepositoryError as error:
                self.errors[instance.instance_id] = str(error)
            else:
                answers[instance.instance_id] = self._records.answer(instance.instance_id) or {"instance_id": instance.instance_id, "mode": self._config.mode}
        readable = [instance for instance in instances if instance.instance_id in answers]
        if self._config.mode == "end-to-end":
            self._localize(readable, files, answers)
        yield from self._repair(readable, files, answers)

    def _localize(self, instances: Sequence[SweBenchInstance], files: dict[str, CommitFiles], answers: dict[str, dict[str, Any]]) -> None:
        missing = [instance for instance in instances if "localize" not in answers[instance.instance_id]]
        prompts = [localize_prompt(instance, files[instance.instance_id], self._budget) for instance in missing]
        for index, completion in self._generator.generate([Request(prompt.messages) for prompt in prompts], self._config.generation()):
            name = missing[index].instance_id
            found = parse_localization(completion.text, files[name])
            answers[name]["localize"] = {
                "messages": list(prompts[index].messages),
                "tree": prompts[index].tree,
                **_written(completion),
                "paths": list(found.paths),
                "left_out": [asdict(one) for one in found.left_out],
            }
            self._records.write_answer(name, answers[name])

    def _repair(self, instances: Sequence[SweBenchInstance], files: dict[str, CommitFiles], answers: dict[str, dict[str, Any]]) -> Iterator[SweBenchInstance]:
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
            repair = answer.setdefault("repair", {"messages": list(prompt.messages), "given": list(prompt.given), "samples": []})
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
        for index, completion in self._generator.generate(requests, self._config.generation()):
            instance, name = asked[index], asked[index].instance_id
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

    def _repair_prompt(self, instance: SweBenchInstance, files: CommitFiles, answer: dict[str, Any]) -> RepairPrompt:
        if self._config.mode == "oracle":
            paths, left_out = oracle_paths(instance)
        else:
            paths, left_out = tuple(answer["localize"]["paths"]), tuple(LeftOut(**one) for one in answer["localize"]["left_out"])
        return repair_prompt(instance, paths, files, self._budget, left_out)

    def _predict(self, instance: SweBenchInstance, answer: dict[str, Any]) -> None:
        """Choose among the samples and write the prediction."""
        patches = [str(sample["patch"]) for sample in answer["repair"]["samples"]]
        chosen = select_by_majority(patches)
        answer["repair"]["chosen"] = chosen
        self._records.write_answer(instance.instance_id, answer)
        self._records.add_prediction(instance.instance_id, self._model, patches[chosen])


def token_counter(model: GeneratorConfig) -> Callable[[str], int]:
    """Counts tokens with the model's own tokenizer where it runs on this machine; for a server, an estimate.

    The model must have been opened before, so that its tokenizer is known to be there.
    """
    if model.base_url:
        return estimated_tokens
    from transformers import AutoTokenizer

    from srl_agent.models import QUICKSTART_NAMES, quickstart_model

    source = quickstart_model() if model.model in QUICKSTART_NAMES else model.model
    tokenizer = AutoTokenizer.from_pretrained(source, revision=model.model_revision or "main", trust_remote_code=model.trust_remote_code)
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def patch_problems(answer: dict[str, Any]) -> list[str]:
    """Why all patches of an answer were kept out; empty if one was not, or if there was nothing to keep out."""
    samples = answer.get("repair", {}).get("samples", [])
    if any(sample["patch"] for sample in samples):
        return []
    return [f"{problem['path']}: {problem['reason']}" for sample in samples for problem in sample["problems"]]


def _written(completion: Completion) -> dict[str, Any]:
    return {"answer": completion.text, "tokens": completion.tokens, "finish": completion.finish}
