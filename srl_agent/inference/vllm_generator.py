"""Runs a model with vLLM inside this process: the fast way on a GPU (vLLM's CPU build serves too).

Requests go straight to vLLM's engine, so that each completion is given when it is
finished and the batch is always full. Samples of one conversation share its prompt by
vLLM's prefix cache.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from srl_agent.inference.chat import ChatEncoder, Prompt, SystemRole
from srl_agent.inference.generator import (
    Batching,
    Completion,
    GenerationSettings,
    Request,
    before_stop,
    request_seed,
)
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.models.lora import is_adapter
from srl_agent.models.quickstart import QUICKSTART_NAMES, quickstart_model
from srl_agent.runs.ownership import LOCK, lock_folder
from srl_envs.errors import (
    ConfigError,
    DataError,
    InfrastructureError,
    MissingDependencyError,
    install_command,
)
from srl_envs.prompts.step import Message

_MERGED = "srl-merged-"
"""How the names of temporary folders with merged adapters begin."""


class VLLMGenerator:
    """A :class:`~srl_agent.inference.generator.Generator` on this machine.

    It runs on the GPUs, or on the CPU with vLLM's CPU build.

    Every request has a seed of its own, but vLLM promises the same completions again
    only with ``VLLM_BATCH_INVARIANT=1`` in the environment.

    Args:
        model: Name or path.
        dtype: Of the weights: ``"bfloat16"``, ``"float32"``, or ``"auto"``: the
            checkpoint's, float32 as bfloat16 or half.
        tensor_parallel_size: Over how many GPUs the model is spread.
        max_model_len: Tokens of a prompt and its completion together, which bounds
            memory; None takes the model's own.
        system_role: Where a system message goes, see
            :data:`srl_agent.inference.chat.SystemRole`.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run the Python code that some models bring along.

    Raises:
        MissingDependencyError: vLLM is not installed, or not for this machine.
        DataError: No such model, or one without a chat template.
        InfrastructureError: The engine does not start, for want of memory for example.
    """

    batching: Batching = "engine"
    """See :data:`srl_agent.inference.generator.Batching`."""

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        max_model_len: int | None = None,
        system_role: SystemRole = "auto",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        try:
            self._vllm: Any = importlib.import_module("vllm")
            self._dead: Any = importlib.import_module("vllm.v1.engine.exceptions").EngineDeadError
            self._refused: tuple[Any, ...] = (
                ValueError,
                importlib.import_module("vllm.exceptions").VLLMValidationError,
            )
            self._final_only = importlib.import_module(
                "vllm.sampling_params"
            ).RequestOutputKind.FINAL_ONLY
        except ImportError as error:
            raise MissingDependencyError(
                f"The vllm backend needs vLLM on this machine ({error}): {install_command('vllm')}"
            ) from error
        self.name = model
        source = str(quickstart_model()) if model in QUICKSTART_NAMES else model
        try:
            with _whole_model(source, dtype, trust_remote_code) as folder:
                self._llm: Any = self._vllm.LLM(
                    model=folder,
                    dtype=dtype,
                    tensor_parallel_size=tensor_parallel_size,
                    max_model_len=max_model_len,
                    revision=revision,
                    trust_remote_code=trust_remote_code,
                )
        except (OSError, ValueError) as error:
            raise DataError(f"Model {model!r} cannot be loaded by vLLM: {error}") from error
        except RuntimeError as error:
            raise InfrastructureError(
                f"vLLM does not start with {model!r}: {error}. See its log above for the cause."
            ) from error
        self._tokenizer = tokenizer = self._llm.get_tokenizer()
        self.context: int | None = self._llm.llm_engine.model_config.max_model_len
        if not tokenizer.chat_template:
            raise DataError(
                f"The tokenizer of {model!r} has no chat template, "
                "so that no chat prompt can be written. Use an instruction-tuned model."
            )
        self._chat = ChatEncoder(tokenizer, system_role)
        self._calls = itertools.count()
        self._finished: dict[
            str, Any
        ] = {}  # by the engine while another iterator was read; not given yet

    def generate(
        self, requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        """Completions with the index of their request.

        See :class:`~srl_agent.inference.generator.Generator`.
        """
        if self._llm is None:
            raise ConfigError("This generator is closed: open another one.")
        engine, call = self._llm.llm_engine, next(self._calls)
        prompts = [self._chat(request.messages, request.format) for request in requests]
        waiting: dict[str, int] = {}
        try:
            for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
                if len(prompt.ids) >= engine.model_config.max_model_len:
                    yield index, Completion("", 0, "context")
                    continue
                identity = f"{call}-{index}"
                self._add(engine, identity, prompt.ids, request, settings)
                waiting[identity] = index
            while waiting:
                if (
                    not waiting.keys() & self._finished.keys()
                ):  # else another iterator finished them; an idle engine's step does not return
                    self._finished |= {
                        output.request_id: output for output in engine.step() if output.finished
                    }
                for identity in waiting.keys() & self._finished.keys():
                    index = waiting.pop(identity)
                    output = self._finished.pop(identity).outputs[0]
                    yield index, self._completion(prompts[index], output, settings)
        except self._dead as error:
            waiting.clear()
            raise InfrastructureError(
                f"vLLM's engine died: {error}. Start again; see its log above for the cause."
            ) from error
        finally:
            if waiting:
                engine.abort_request(list(waiting))
                for identity in waiting:
                    self._finished.pop(identity, None)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation, with everything that the chat template adds."""
        return len(self._chat(messages).ids)

    def close(self) -> None:
        """End the engine and free its memory."""
        if self._llm is not None:
            self._llm = None
            gc.collect()  # the engine ends when it is collected

    def _parameters(self, request: Request, settings: GenerationSettings) -> Any:
        return self._vllm.SamplingParams(
            max_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            stop=list(settings.stop),
            seed=request_seed(request, settings.seed),
            output_kind=self._final_only,
            skip_special_tokens=False,  # think tags are special in some models
        )

    def _completion(self, prompt: Prompt, output: Any, settings: GenerationSettings) -> Completion:
        if output.finish_reason == "abort":
            raise InfrastructureError("vLLM broke a completion off: see its log above.")
        ids = list(output.token_ids)
        if ids and output.finish_reason == "stop" and not isinstance(output.stop_reason, str):
            del ids[-1]  # what ended it, also where that is not a special token
        text = self._chat.decoded(ids)
        before = before_stop(text, settings.stop)
        return Completion(
            prompt.opened + (text if before is None else before),
            len(output.token_ids),
            "length" if before is None and output.finish_reason == "length" else "stop",
            len(prompt.ids),
        )

    def _add(
        self,
        engine: Any,
        identity: str,
        prompt: list[int],
        request: Request,
        settings: GenerationSettings,
    ) -> None:
        try:
            engine.add_request(
                identity, {"prompt_token_ids": prompt}, self._parameters(request, settings)
            )
        except self._refused as error:
            raise ConfigError(
                f"{self.name!r} does not take a prompt of {len(prompt)} tokens "
                f"with these settings: {error}"
            ) from error


@contextmanager
def _whole_model(source: str, dtype: str, trust_remote_code: bool) -> Iterator[str]:
    """What vLLM can load: an adapter is merged into a folder that exists while vLLM reads it.

    A killed process leaves its folder behind; the next one that merges removes it.
    """
    if not is_adapter(Path(source)):
        yield source
        return
    _remove_orphans()
    model, tokenizer = load_model_and_tokenizer(
        source, dtype=dtype, trust_remote_code=trust_remote_code
    )
    with tempfile.TemporaryDirectory(prefix=_MERGED) as folder, lock_folder(Path(folder)):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        del model
        yield folder


def _remove_orphans() -> None:
    """Remove merged models whose lock is free: their process is dead."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_MERGED}*/{LOCK}"):
        with suppress(ConfigError, OSError), lock_folder(lock.parent):
            shutil.rmtree(lock.parent)
