"""Runs a model with transformers: prompts of similar length side by side, each computed once.

For a model and a machine that vLLM does not serve: it needs no compiled kernels and
runs on a CPU. Batches are made of conversations sorted by the length of their prompts,
so that little is padded, longest first, so that memory that does not suffice shows at
once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from srl_agent.inference.chat import ChatEncoder, Prompt, SystemRole, end_token_ids
from srl_agent.inference.generator import (
    Completion,
    GenerationSettings,
    Request,
    before_stop,
    request_seed,
)
from srl_agent.inference.sampling import SamplingSettings, write_rows
from srl_agent.models.loading import load_model_and_tokenizer
from srl_envs.errors import ConfigError, InfrastructureError
from srl_envs.prompts.step import Message

_STOP_MARGIN = 8
"""Tokens decoded in front of the longest stop string: some tokenizers drop a leading space."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One conversation and all requests that want a completion of it."""

    written: Prompt
    indices: list[int]

    @property
    def ids(self) -> list[int]:
        """Its tokens."""
        return self.written.ids


class TransformersGenerator:
    """A :class:`~srl_agent.inference.generator.Generator` on this machine's CPU or GPU.

    Args:
        model: Name or path, as
            :func:`srl_agent.models.loading.load_model_and_tokenizer` takes it.
        dtype: Of the weights: ``"bfloat16"``, ``"float32"``, or ``"auto"``: bfloat16 on
            a GPU, float32 on a CPU.
        device: ``"cuda"``, ``"cpu"``, ``"cuda:1"``, ..., or ``"auto"``: a GPU where
            there is one.
        batch_rows: At most this many completions are written side by side.
        batch_tokens: They may take at most this many tokens together, each counted with
            the longest prompt and ``max_new_tokens``; a single row is always allowed.
        system_role: Where a system message goes, see
            :data:`srl_agent.inference.chat.SystemRole`.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run the Python code that some models bring along.

    Raises:
        DataError: No such model, or one without a chat template.
        ConfigError: There is no such device, or a bound below 1.
    """

    def __init__(
        self,
        model: str = "quickstart",
        *,
        dtype: str = "auto",
        device: str = "auto",
        batch_rows: int = 64,
        batch_tokens: int = 262_144,
        system_role: SystemRole = "auto",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        for name, bound in (("batch_rows", batch_rows), ("batch_tokens", batch_tokens)):
            if bound < 1:
                raise ConfigError(f"{name} is {bound}: give at least 1.")
        self.name = model
        self._batch_rows, self._batch_tokens = batch_rows, batch_tokens
        place = device_named(device)
        loaded, self._tokenizer = load_model_and_tokenizer(
            model,
            dtype=dtype_named(dtype, place),
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        self._model: Any = loaded.to(place).eval()
        self._chat = ChatEncoder(self._tokenizer, system_role)
        self._eos = end_token_ids(self._model, self._tokenizer)
        self.context: int | None = getattr(
            self._model.config.get_text_config(), "max_position_embeddings", None
        )

    def generate(
        self, requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        """Completions with the index of their request.

        See :class:`~srl_agent.inference.generator.Generator`.

        All prompts are encoded before the first completion is written.
        """
        if self._model is None:
            raise ConfigError("This generator is closed: open another one.")
        prompts = self._prompts(requests)
        fitting = [
            prompt for prompt in prompts if self.context is None or len(prompt.ids) < self.context
        ]
        for prompt in prompts[: len(prompts) - len(fitting)]:  # the longest come first
            for index in prompt.indices:
                yield index, Completion("", 0, "context")
        for batch in self._batches(fitting, settings):
            yield from self._write(batch, requests, settings)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation, with everything that the chat template adds."""
        return len(self._chat(messages).ids)

    def close(self) -> None:
        """Free the model's memory."""
        if self._model is not None:
            self._model = None
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _prompts(self, requests: Sequence[Request]) -> list[_Prompt]:
        """One prompt a conversation, the longest first."""
        prompts: dict[object, _Prompt] = {}
        for index, request in enumerate(requests):
            said = tuple((message["role"], message["content"]) for message in request.messages)
            key = (said, request.format)
            if key not in prompts:
                prompts[key] = _Prompt(self._chat(request.messages, request.format), [])
            prompts[key].indices.append(index)
        return sorted(prompts.values(), key=lambda prompt: -len(prompt.ids))

    def _limit(self, prompt: _Prompt, settings: GenerationSettings) -> int:
        """How many tokens an answer to this prompt may take."""
        room = settings.max_new_tokens if self.context is None else self.context - len(prompt.ids)
        return min(settings.max_new_tokens, room)

    def _batches(
        self, prompts: Sequence[_Prompt], settings: GenerationSettings
    ) -> Iterator[list[_Prompt]]:
        """Prompts that are written side by side.

        The samples of a prompt are split if they are more than a batch takes.
        """
        batch: list[_Prompt] = []
        rows = allowed = 0
        for prompt in prompts:
            rest = prompt.indices
            while rest:
                if (
                    rows == 0
                ):  # the first prompt is the batch's longest, to which the others are padded
                    allowed = max(
                        1,
                        min(
                            self._batch_rows,
                            self._batch_tokens // (len(prompt.ids) + settings.max_new_tokens),
                        ),
                    )
                taken, rest = rest[: allowed - rows], rest[allowed - rows :]
                batch.append(_Prompt(prompt.written, taken))
                rows += len(taken)
                if rows == allowed:
                    yield batch
                    batch, rows = [], 0
        if batch:
            yield batch

    def _write(
        self, batch: Sequence[_Prompt], requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        indices = [index for prompt in batch for index in prompt.indices]
        sources = [random.Random(request_seed(requests[index], settings.seed)) for index in indices]
        opened = [prompt.written.opened for prompt in batch for _ in prompt.indices]
        lengths = [len(prompt.ids) for prompt in batch for _ in prompt.indices]
        stop = _StopTest(self._chat, self._tokenizer, settings.stop)
        ends = {*self._eos, *stop.tokens}

        def uniforms(rows: Sequence[int]) -> torch.Tensor:
            return torch.tensor(
                [[sources[row].random()] for row in rows],
                dtype=torch.float32,
                device=self._model.device,
            )

        written = write_rows(
            self._model,
            [prompt.ids for prompt in batch],
            [owner for owner, prompt in enumerate(batch) for _ in prompt.indices],
            SamplingSettings(settings.max_new_tokens, settings.temperature, settings.top_p),
            eos_token_ids=sorted(ends),
            pad_token_id=self._tokenizer.pad_token_id,
            uniforms=uniforms,
            limits=[self._limit(prompt, settings) for prompt in batch for _ in prompt.indices],
            ends_at=stop if settings.stop else None,
        )
        try:
            for row, tokens in written:
                at_end = tokens[-1] in self._eos
                text = self._chat.decoded(tokens[:-1] if at_end else tokens)
                before = before_stop(text, settings.stop)
                ended = before is not None or tokens[-1] in ends
                yield (
                    indices[row],
                    Completion(
                        opened[row] + (text if before is None else before),
                        len(tokens),
                        "stop" if ended else "length",
                        lengths[row],
                    ),
                )
        except torch.OutOfMemoryError as error:
            raise InfrastructureError(
                f"The GPU's memory does not suffice for {len(indices)} completions side by side: "
                f"lower batch_tokens (now {self._batch_tokens}) or "
                f"batch_rows (now {self._batch_rows})."
            ) from error


class _StopTest:
    """Whether a row has written a stop string by now.

    It is called after every token, so it decodes only the last few.
    """

    def __init__(self, chat: ChatEncoder, tokenizer: Any, stop: Sequence[str]) -> None:
        self._decoded, self._stop = chat.decoded, stop
        # A token stands for at least one byte, so a stop string that its last token completed lies
        # within so many tokens.
        self._window = (
            max((len(string.encode("utf-8", "replace")) for string in stop), default=0)
            + _STOP_MARGIN
        )
        self.tokens = [
            token
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.special and added.content in stop
        ]
        """Stop strings that are special tokens: decoding omits those, so their ids are searched."""

    def __call__(self, row: int, tokens: Sequence[int]) -> bool:
        if before_stop(self._decoded(tokens[-self._window :]), self._stop) is None:
            return False
        return (
            len(tokens) <= self._window
            or before_stop(self._decoded(tokens), self._stop) is not None
        )


def device_named(name: str) -> torch.device:
    """The device; ``"auto"`` is a GPU where there is one.

    Raises:
        ConfigError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device is {name!r}: use auto, cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and not (
        torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    ):
        raise ConfigError(
            f"device is {name!r}, but this machine shows {torch.cuda.device_count()} "
            "CUDA devices: use auto or cpu."
        )
    return device


def dtype_named(name: str, device: torch.device) -> str:
    """The dtype; ``"auto"`` is bfloat16 on a GPU, float32 on a CPU."""
    return ("bfloat16" if device.type == "cuda" else "float32") if name == "auto" else name
