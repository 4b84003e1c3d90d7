"""Asks any server with OpenAI's chat completions: vLLM, llama.cpp, SGLang, Ollama, a provider.

The server writes the prompt with its own chat template, and it may have its own
sampling settings for what a request leaves open: ``vllm serve`` takes top_k and a
repetition penalty from the model's generation_config.json unless it is started with
``--generation-config vllm``, and ``transformers serve`` samples only where that file
says ``do_sample``.

A server's template may open the think block, and its reasoning parser may take the block
out of the text. Both are put back, so that an answer reads the same from every server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from srl_agent.inference.chat import SystemRole, without_system_role
from srl_agent.inference.chat_client import ContextFullError, Endpoint
from srl_agent.inference.generator import (
    Batching,
    Completion,
    GenerationSettings,
    Request,
    before_stop,
    request_seed,
)
from srl_agent.inference.servers import Connections, Servers, addresses, connected_to
from srl_envs.errors import ConfigError, InfrastructureError, SRLError
from srl_envs.response import CLOSE, OPEN, SplitAnswer, whole_text

_UNFINISHED = ("abort", "error", None)
"""Reasons of a server that broke an answer off, when it shuts down for example: ask again."""


_CONTEXT_KEYS = (
    "max_model_len",  # vLLM, SGLang
    "loaded_context_length",  # LM Studio
    "n_ctx",  # llama.cpp, in "meta"
    "context_length",
    "context_window",
    "max_context_length",
    "n_ctx_train",
)
"""Where servers say a model's context in their list of models, the most exact first."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What can be found out about a server's model without asking it anything.

    Attributes:
        context: Tokens of prompt and answer together; None if the server does not say.
        tokenizer: The model's, if it is on this machine; else None.
    """

    context: int | None = None
    tokenizer: Any | None = None


class OpenAIGenerator:
    """A :class:`~srl_agent.inference.generator.Generator` that asks one or several servers.

    Each request is a ``POST {base_url}/chat/completions``, to the server with the fewest
    requests under way. When a server fails for good, the others get its requests.

    Args:
        model: The server's name of the model; the same at each of several servers.
        base_url: Of the server, up to and with ``/v1``; of several, between commas.
        api_key_variable: The environment variable that holds the key; not set: no key
            is sent. Several servers all get it.
        concurrency: How many requests are under way at the same time at each server, at
            most.
        timeout: Seconds that the server may be silent, also while it writes an answer;
            then it is asked again.
        retries: How often a request is sent again after a time-out, a lost connection, a
            malformed answer, HTTP 429 or 5xx.
        first_pause: Seconds before the first retry; each further pause is twice as long,
            up to a minute, less a random half. A ``Retry-After`` header is honored.
        system_role: ``"user"`` for a model without a system role, see
            :data:`srl_agent.inference.chat.SystemRole`: a server cannot be asked for
            its template, so ``"auto"`` sends system messages as they are.

    Raises:
        ConfigError: An address is wrong or there twice, or a number is out of range.
    """

    batching: Batching = "server"
    """See :data:`srl_agent.inference.generator.Batching`."""

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout: float = 600.0,
        retries: int = 6,
        first_pause: float = 1.0,
        system_role: SystemRole = "auto",
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}: give at least 1.")
        self.name = model
        key = os.environ.get(api_key_variable, "").strip() or None
        endpoints = [
            Endpoint(url, key, api_key_variable, timeout, retries, first_pause)
            for url in addresses(base_url)
        ]
        self._servers = Servers(endpoints, concurrency)
        self._under_way: set[Future[None]] = set()
        self._merges_system = system_role == "user"

    def generate(
        self, requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        """Completions with the index of their request, in the order in which they finish.

        See :class:`~srl_agent.inference.generator.Generator`. When a request fails for
        good, those under way are still waited for and given, then the error is raised.
        An iterator that is closed or forgotten breaks off its requests and ends its thread.
        """
        if not requests:
            return
        if any(request.format and request.format.think_prefilled for request in requests):
            raise ConfigError(
                "think_prefilled is True, but a server writes its own prompts: leave it out. A"
                " block that the server's chat template opens is recognized by its end."
            )
        from anyio.from_thread import start_blocking_portal

        finished: SimpleQueue[tuple[int, Completion] | None] = SimpleQueue()
        with start_blocking_portal() as event_loop:  # left with an exception, it cancels its tasks
            all_of_them = event_loop.start_task_soon(self._ask_all, requests, settings, finished)
            self._under_way.add(all_of_them)
            try:
                while (completed := finished.get()) is not None:
                    yield completed
                all_of_them.result()  # raises what it raised
            except CancelledError:
                raise InfrastructureError("The generator was closed.") from None
            finally:
                self._under_way.discard(all_of_them)

    def served_model(self) -> ServedModel:
        """What the servers' lists of models, and this machine, know of the model.

        The context is the shortest of the servers'.
        """
        entries = [_listed_entry(endpoint, self.name) for endpoint in self._servers.endpoints]
        contexts = [
            next((entry[key] for key in _CONTEXT_KEYS if isinstance(entry.get(key), int)), None)
            for entry in entries
        ]
        roots = (entry.get("root") for entry in entries)
        return ServedModel(
            min((each for each in contexts if each is not None), default=None),
            _tokenizer_here(self.name, *roots),
        )

    def close(self) -> None:
        """Break off what other threads are waiting for; they get an InfrastructureError."""
        for asking in tuple(self._under_way):
            asking.cancel()

    async def _ask_all(
        self,
        requests: Sequence[Request],
        settings: GenerationSettings,
        finished: SimpleQueue[tuple[int, Completion] | None],
    ) -> None:
        """Ask for everything; what is finished goes into the queue, and None at the end."""
        import anyio

        failures: list[SRLError] = []

        async def ask(servers: Connections, index: int) -> None:
            try:
                completion = await self._complete(servers, requests[index], settings)
            except SRLError as error:
                failures.append(_with_cure(error, requests[index]))
                servers.stop_retrying()
            else:
                finished.put((index, completion))

        try:
            async with (
                connected_to(self._servers) as servers,
                anyio.create_task_group() as tasks,
            ):
                for index in range(len(requests)):
                    tasks.start_soon(ask, servers, index)
        finally:
            finished.put(None)
        if failures:
            raise failures[0]

    async def _complete(
        self, servers: Connections, request: Request, settings: GenerationSettings
    ) -> Completion:
        messages = (
            without_system_role(request.messages) if self._merges_system else list(request.messages)
        )
        payload: dict[str, Any] = {
            "model": self.name,
            "messages": messages,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": request_seed(request, settings.seed),
            "stream": False,
        }
        if settings.stop:
            payload["stop"] = list(settings.stop)

        def completion(answer: Any) -> Completion:
            choice = answer["choices"][0]
            if choice["finish_reason"] in _UNFINISHED:
                raise ValueError(f"finish_reason is {choice['finish_reason']!r}")
            text = _whole_answer(choice["message"])
            usage = answer.get("usage") or {}
            if "completion_tokens" not in usage:
                raise ValueError("usage does not say completion_tokens")
            before = before_stop(text, settings.stop)  # some servers leave the stop string in
            ended = before is not None or choice["finish_reason"] != "length"
            return Completion(
                text if before is None else before,
                int(usage["completion_tokens"]),
                "stop" if ended else "length",
                _whole(usage.get("prompt_tokens")),
            )

        try:
            return await servers.ask(payload, completion)
        except ContextFullError:
            # Some servers refuse a prompt that fits if max_tokens do not fit behind it.
            del payload["max_tokens"]
        try:
            return await servers.ask(payload, completion)  # ends with the context, before the limit
        except ContextFullError:
            return Completion("", 0, "context")


def _whole(count: Any) -> int | None:
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _with_cure(error: SRLError, request: Request) -> SRLError:
    """The error, with what to do if the server's template takes no system message."""
    is_about_roles = isinstance(error, ConfigError) and re.search(r"\broles?\b", str(error), re.I)
    if is_about_roles and any(message["role"] == "system" for message in request.messages):
        return ConfigError(
            f"{error} If the model has no system role, give --system_role user: it puts the"
            " instructions in front of the first user message."
        )
    return error


def _whole_answer(message: dict[str, Any]) -> str:
    """The text of a message, with the think block that the server took out or its prompt opened.

    vLLM calls the thought ``reasoning``, others ``reasoning_content``; an empty one is an
    empty block, unless the content holds a block itself.
    """
    given = (message.get(name) for name in ("reasoning", "reasoning_content"))
    thought = next((text for text in given if text is not None), None)
    content = message["content"] if thought is None else message.get("content")
    content = content or ""  # null where nothing was written
    if not isinstance(content, str) or not isinstance(thought, str | None):
        raise TypeError("the content is not text")
    if thought is None or (thought == "" and OPEN in content):
        opened_by_prompt = CLOSE in content and OPEN not in content
        return OPEN + content if opened_by_prompt else content
    if not content:  # the block was never closed
        return OPEN + thought if thought else ""
    return whole_text(SplitAnswer(thought, content))


def _listed_entry(endpoint: Endpoint, model: str) -> dict[str, Any]:
    """What a server's list of models says of one; empty if it does not name it."""
    import openai

    client = openai.OpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key or "none",
        timeout=min(30.0, endpoint.timeout),
        max_retries=0,
    )
    try:
        listed: Any = client.get("/models", cast_to=object)
        entries = [entry for entry in listed["data"] if entry.get("id") == model]
    except (openai.OpenAIError, AttributeError, KeyError, TypeError, ValueError):
        entries = []  # a server without a list, or one of another shape
    finally:
        client.close()
    return {**entries[0], **(entries[0].get("meta") or {})} if entries else {}


def _tokenizer_here(*names: Any) -> Any | None:
    """The tokenizer of the first name that is a folder, or in the hub's cache, here."""
    from transformers import AutoTokenizer

    for name in names:
        if isinstance(name, str) and name:
            try:
                return AutoTokenizer.from_pretrained(name, local_files_only=True)
            except (OSError, ValueError, KeyError, ImportError):
                continue
    return None
