"""Asks a server for a chat completion until it gives a usable answer, with the ``openai`` client.

The retries are ours: those of ``openai`` pause for times that cannot be set, give up on a
``Retry-After`` above two minutes, and accept an answer that is malformed or was broken off.
"""

from __future__ import annotations

import json
import random
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from srl_agent.inference.http_errors import first_cause, message_in, retry_after
from srl_envs.errors import (
    ConfigError,
    InfrastructureError,
    MissingDependencyError,
    install_command,
)

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

CONNECT_SECONDS = 30.0
LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 600.0

Result = TypeVar("Result")

_CONTEXT_FULL = re.compile(r"context[ _-]?(?:length|size|window)", re.IGNORECASE)
"""Common to the refusals of vLLM, SGLang, llama.cpp and OpenAI when the context is too short."""

_TEMPORARY = frozenset({408, 409, 425, 429})
"""Statuses below 500 worth another attempt: time-out, conflict, too early, too many requests."""

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, and how patiently it is asked.

    Attributes:
        base_url: The address up to ``/v1``, with http or https.
        api_key: Sent as a bearer token; None sends none.
        key_variable: The environment variable that holds the key, for messages.
        timeout: Seconds that the server may be silent.
        retries: How often a request is sent again.
        first_pause: Seconds before the second attempt; each further pause is twice as
            long, up to 60 s, less a random half of it.
    """

    base_url: str
    api_key: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    retries: int = 6
    first_pause: float = 1.0

    def __post_init__(self) -> None:
        if not _is_address(self.base_url):
            raise ConfigError(
                f"{self.base_url!r} is not the address of a server: give one like "
                f"http://localhost:8000/v1, and the key in ${self.key_variable}."
            )
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError(
                f"${self.key_variable} contains characters that no API key has: set it again."
            )
        if self.timeout <= 0 or self.retries < 0:
            raise ConfigError(
                f"timeout is {self.timeout} and retries is {self.retries}: "
                "give more than 0 seconds, and 0 or more retries."
            )

    @property
    def url(self) -> str:
        """Where completions are requested."""
        return f"{self.base_url}/chat/completions"


class ContextFullError(ConfigError):
    """The server refuses a request because prompt and answer do not fit the model's context."""


class _Fault(Exception):
    """An attempt failed, and another may succeed.

    Attributes:
        wait: Seconds that the server asks for.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class ChatClient:
    """Asks one server; any number of requests may be under way. Made by :func:`connected`."""

    def __init__(
        self, endpoint: Endpoint, client: AsyncOpenAI, on_retry: Callable[[str], None]
    ) -> None:
        import anyio

        self._endpoint, self._client, self._on_retry = endpoint, client, on_retry
        self._stopped = anyio.Event()

    @property
    def url(self) -> str:
        """Where completions are requested."""
        return self._endpoint.url

    @property
    def is_stopped(self) -> bool:
        """Whether :meth:`stop_retrying` was called."""
        return self._stopped.is_set()

    def stop_retrying(self) -> None:
        """Let attempts that are under way finish; from now on each request has only one."""
        self._stopped.set()

    def retry_again(self) -> None:
        """Take :meth:`stop_retrying` back."""
        import anyio

        self._stopped = anyio.Event()

    async def ask(self, payload: dict[str, Any], usable: Callable[[Any], Result]) -> Result:
        """Ask until ``usable`` accepts the answer.

        Args:
            payload: The request, as OpenAI's API defines it.
            usable: Makes the result from the decoded answer; a KeyError, IndexError,
                TypeError or ValueError means that the answer is malformed.

        Returns:
            What ``usable`` returned.

        Raises:
            ContextFullError: The request takes more tokens than the model's context holds.
            ConfigError: The server refuses the request: sending it again would not help.
            InfrastructureError: Every attempt failed.
        """
        import anyio

        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._attempt(payload, usable)
            except _Fault as fault:
                reason, pause = str(fault), self._pause(attempts, fault.wait)
            if attempts > self._endpoint.retries or pause > LONGEST_RETRY_AFTER:
                break
            self._on_retry(reason)
            with anyio.move_on_after(pause):
                await self._stopped.wait()
            if self.is_stopped:
                break
        times = f"{attempts} attempts" if attempts > 1 else "1 attempt"
        asks = f" It asks to wait {pause:.0f} s." if pause > LONGEST_RETRY_AFTER else ""
        raise InfrastructureError(
            f"{self._endpoint.url}: no usable response after {times}; "
            f"the last one: {reason}.{asks} Is the server running?"
        )

    def _pause(self, attempts: int, wait: float) -> float:
        doubled = min(LONGEST_PAUSE, self._endpoint.first_pause * 2.0 ** min(attempts - 1, 30))
        if wait:
            return max(wait, doubled) * random.uniform(1.0, 1.25)
        return doubled * random.uniform(0.5, 1.0)

    async def _attempt(self, payload: dict[str, Any], usable: Callable[[Any], Result]) -> Result:
        import openai

        url, timeout, key = self._endpoint.url, self._endpoint.timeout, self._endpoint.api_key
        authorization: Any = f"Bearer {key}" if key else openai.omit
        try:
            response = await self._client.chat.completions.with_raw_response.create(
                **payload, extra_headers={"Authorization": authorization}
            )
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APITimeoutError:
            raise _Fault(f"no answer within {timeout:g} s") from None
        except openai.APIConnectionError as error:
            cause = first_cause(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ConfigError(
                    f"{url} has a certificate that is not trusted here ({cause}): "
                    "name its authority with SSL_CERT_FILE."
                ) from None
            raise _Fault(f"{type(cause).__name__}: {cause}") from None
        except UnicodeEncodeError as error:  # half a surrogate pair, which no JSON in UTF-8 holds
            raise ConfigError(f"A prompt for {url} is not valid Unicode ({error}).") from None
        try:
            return usable(json.loads(response.content))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            start = response.content[:200].decode("utf-8", "replace")
            raise _Fault(
                f"not a chat completion ({type(error).__name__}: {error}): {start!r}"
            ) from None

    def _refusal(self, error: APIStatusError) -> Exception:
        """What a status above 299 means: another attempt, or an error that ends the request."""
        url, variable, response = self._endpoint.url, self._endpoint.key_variable, error.response
        says = message_in(response.content)
        what = f"HTTP {error.status_code} {response.reason_phrase}" + (f": {says}" if says else "")
        if error.status_code in _TEMPORARY or error.status_code >= 500:
            return _Fault(what, retry_after(response.headers.get("Retry-After")))
        if error.status_code in (401, 403):
            unset = "" if self._endpoint.api_key else ", which is not set"
            return ConfigError(f"{url} refuses the API key in ${variable}{unset} ({what}).")
        if error.status_code == 404:
            return ConfigError(
                f"{url} does not know this address or this model ({what}). "
                "Does base_url end in /v1, and is the model's name the server's?"
            )
        if error.status_code < 400:
            elsewhere = response.headers.get("Location", "").removesuffix("/chat/completions")
            return ConfigError(f"{url} redirects ({what}): set base_url to {elsewhere!r}.")
        kind = ContextFullError if _CONTEXT_FULL.search(what) else ConfigError
        return kind(f"{url} refuses the request ({what}).")


@asynccontextmanager
async def connected(
    endpoint: Endpoint, on_retry: Callable[[str], None]
) -> AsyncIterator[ChatClient]:
    """A :class:`ChatClient` whose connections end with the block.

    ``on_retry`` gets the reason each time before a request is sent again.

    Of the environment it takes a proxy, for other machines only, and ``SSL_CERT_FILE``.
    ``openai`` would also send OPENAI_ORG_ID and OPENAI_PROJECT_ID, to whatever server.

    Raises:
        ConfigError: The environment names a proxy that cannot be used.
        MissingDependencyError: ``openai`` is not installed.
    """
    try:
        import openai
    except ImportError:
        raise MissingDependencyError(
            f"Asking a server needs openai, which is not installed: {install_command('train')}"
        ) from None

    try:
        http = openai.DefaultAsyncHttpxClient(
            verify=ssl.create_default_context(),
            trust_env=urlsplit(endpoint.base_url).hostname not in _THIS_MACHINE,
            follow_redirects=False,  # would turn the POST into a GET
        )
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{endpoint.url} cannot be reached through the proxy of the environment: {error}"
        ) from None
    unsent: Any = openai.omit
    async with openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key or "none",  # openai demands one
        default_headers={
            "OpenAI-Organization": unsent,
            "OpenAI-Project": unsent,
            # A completion takes seconds, a connection milliseconds, and a new one is not stale.
            "Connection": "close",
        },
        timeout=openai.Timeout(
            endpoint.timeout, connect=min(endpoint.timeout, CONNECT_SECONDS), pool=None
        ),
        max_retries=0,
        http_client=http,
    ) as client:
        yield ChatClient(endpoint, client, on_retry)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0  # a ValueError above 65535
            and not set(" ;,@") & set(url)
        )
    except ValueError:
        return False
