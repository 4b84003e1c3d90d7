"""Asks any server that speaks OpenAI's chat completions: vLLM, llama.cpp, SGLang, Ollama, or a provider.

The server writes the prompt with its own chat template, and it may have sampling
settings of its own for what a request leaves open: ``vllm serve`` takes top_k and a
repetition penalty from the model's generation_config.json unless it is started with
``--generation-config vllm``, and ``transformers serve`` samples only where that file
says ``do_sample``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import Any

from srl_agent.inference.chat import SystemRole, without_system_role
from srl_agent.inference.chat_server import ContextFullError, Endpoint, PostSession
from srl_agent.inference.generator import (
    Completion,
    GenerationSettings,
    Request,
    before_stop,
    request_seed,
)
from srl_envs.errors import ConfigError, SRLError

_UNFINISHED = ("abort", "error", None)
"""Reasons of a server that broke an answer off, on its way down for example: the answer is asked for again."""


class OpenAIGenerator:
    """A :class:`~srl_agent.inference.generator.Generator` behind ``POST {base_url}/chat/completions``.

    Args:
        model: The server's name of the model.
        base_url: Of the server, up to and with ``/v1``.
        api_key_variable: The environment variable that holds the key; not set: no key
            is sent.
        concurrency: So many requests are under way at the same time.
        timeout: Seconds that the server may be silent, while it writes an answer too;
            then it is asked again.
        retries: So often a request is sent again after a time-out, a lost connection, a
            malformed answer, HTTP 429 or 5xx.
        first_pause: Seconds before the first of them; each further pause is twice as
            long, up to a minute, less a random half. A ``Retry-After`` of the server is
            honoured.
        system_role: ``"user"`` for a model without a system role, see
            :data:`srl_agent.inference.chat.SystemRole`: a server cannot be asked for
            its template, so ``"auto"`` sends system messages as they are.

    Raises:
        ConfigError: The address or a number is out of range.
    """

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
        url = base_url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        key = os.environ.get(api_key_variable, "").strip() or None
        self._endpoint = Endpoint(url, key, api_key_variable, timeout, retries, first_pause)
        self._concurrency, self._merges_system = concurrency, system_role == "user"

    def generate(
        self, requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        """Completions with the index of their request; see :class:`~srl_agent.inference.generator.Generator`.

        When one request fails for good, those under way are still waited for and given,
        then the error is raised. An iterator that is closed or forgotten breaks off its
        requests and ends its threads.
        """
        if not requests:
            return
        session = PostSession(self._endpoint)
        threads = ThreadPoolExecutor(
            min(self._concurrency, len(requests)), thread_name_prefix="chat-completions"
        )
        failure: SRLError | None = None
        try:
            waiting = {
                threads.submit(self._complete, session, request, settings): index
                for index, request in enumerate(requests)
            }
            for future in as_completed(list(waiting)):
                index = waiting.pop(future)
                try:
                    completion = future.result()
                except CancelledError:
                    continue
                except SRLError as error:
                    if failure is None:
                        failure = error
                        session.stop_retrying()
                        for other in waiting:
                            other.cancel()
                    continue
                yield index, completion
        finally:
            session.abort()
            threads.shutdown(cancel_futures=True)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Nothing is held between calls."""

    def _complete(
        self, session: PostSession, request: Request, settings: GenerationSettings
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
            text = choice["message"]["content"] or ""  # null where nothing was written
            if not isinstance(text, str):
                raise TypeError("the content is no text")
            before = before_stop(text, settings.stop)  # some servers leave the stop string in
            ended = before is not None or choice["finish_reason"] != "length"
            return Completion(
                text if before is None else before,
                int(answer["usage"]["completion_tokens"]),
                "stop" if ended else "length",
            )

        try:
            return session.post(payload, completion)
        except ContextFullError:  # some servers refuse a prompt that fits, if the most tokens that are asked for do not fit behind it
            del payload["max_tokens"]
        try:
            return session.post(
                payload, completion
            )  # ends where the context does, which is before the limit
        except ContextFullError:
            return Completion("", 0, "context")
