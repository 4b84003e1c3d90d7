"""Posts JSON to a server until it gives a usable answer: waits longer after each failure, and can be called off in the middle."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import random
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from srl_envs.errors import ConfigError, InfrastructureError

CONNECT_SECONDS = 30.0
LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 600.0

Result = TypeVar("Result")

_CONTEXT_FULL = re.compile(r"context[ _-]?(?:length|size|window)", re.IGNORECASE)
"""What the refusals of vLLM, SGLang, llama.cpp and OpenAI have in common when a request takes more tokens than the context holds."""

_PASSING = frozenset({408, 409, 425, 429})
"""Answers below 500 that another attempt may mend: time-out, conflict, too early, too many requests."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to post.

    Attributes:
        url: With http or https.
        api_key: Sent as a bearer token; None sends none.
        key_variable: The environment variable that holds the key, for messages.
        timeout: So many seconds the server may be silent.
        retries: So often a request is sent again.
        first_pause: Seconds before the second attempt; each further pause is twice as
            long, up to 60 s, less a random half of it.
    """

    url: str
    api_key: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    retries: int = 6
    first_pause: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError(
                f"{self.url!r} is no address of a server: give one like http://localhost:8000/v1, with the key in ${self.key_variable}."
            )
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError(
                f"${self.key_variable} holds characters that no API key has: set it anew."
            )
        if self.timeout <= 0 or self.retries < 0:
            raise ConfigError(
                f"timeout is {self.timeout} and retries is {self.retries}: give more than 0 seconds, and 0 or more."
            )


class ContextFullError(ConfigError):
    """The server refuses a request because prompt and answer together do not fit the model's context."""


class _Fault(Exception):
    """One attempt failed, and another may succeed. ``wait``: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class PostSession:
    """Posts to one endpoint, from any number of threads.

    Every attempt has a connection of its own: a completion takes seconds, a connection
    milliseconds, and none goes stale.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._aborted = False
        self._hurry = threading.Event()  # set: no attempt is made again
        # A proxy that the environment names is for other machines: none of them reaches this one's
        # loopback interface.
        local = urlsplit(endpoint.url).hostname in ("localhost", "127.0.0.1", "::1")
        proxies = urllib.request.ProxyHandler({} if local else None)
        secure = [_TrackingSecureHandler(self)] if urlsplit(endpoint.url).scheme == "https" else []
        self._opener = urllib.request.build_opener(
            proxies, _TrackingHandler(self), *secure, _NoRedirects()
        )

    def post(self, payload: dict[str, Any], usable: Callable[[Any], Result]) -> Result:
        """Post until ``usable`` takes the answer.

        Args:
            payload: Becomes JSON.
            usable: Makes the result from the decoded answer; a KeyError, IndexError,
                TypeError or ValueError means that the answer is malformed.

        Returns:
            What ``usable`` returned.

        Raises:
            ContextFullError: The server refuses the request because it takes more
                tokens than the model's context holds.
            ConfigError: The server refuses the request itself: sending it again would
                not help.
            InfrastructureError: Every attempt failed, or the session was aborted.
        """
        body = json.dumps(payload).encode()
        attempts = 0
        while True:
            attempts += 1
            try:
                return self._attempt(body, usable)
            except _Fault as fault:
                reason, pause = str(fault), self._pause(attempts, fault.wait)
            if (
                attempts > self._endpoint.retries
                or pause > LONGEST_RETRY_AFTER
                or self._hurry.wait(pause)
            ):
                break
        times = f"{attempts} attempts" if attempts > 1 else "1 attempt"
        asks = f" It asks to wait {pause:.0f} s." if pause > LONGEST_RETRY_AFTER else ""
        raise InfrastructureError(
            f"{self._endpoint.url} gave no usable answer in {times}; the last one: {reason}.{asks} Is the server well?"
        )

    def stop_retrying(self) -> None:
        """Let attempts that are under way come to their end, and make no further ones."""
        self._hurry.set()

    def abort(self) -> None:
        """Break off everything: threads inside :meth:`post` come back at once with an InfrastructureError."""
        self._hurry.set()
        with self._lock:
            self._aborted = True
            for connected in self._sockets:
                _shut(connected)

    def track(self, connected: socket.socket) -> None:
        """Remember a socket that :meth:`abort` has to shut."""
        with self._lock:
            self._sockets = {known for known in self._sockets if known.fileno() >= 0} | {connected}
            if self._aborted:
                _shut(connected)

    def _pause(self, attempts: int, wait: float) -> float:
        doubled = min(LONGEST_PAUSE, self._endpoint.first_pause * 2.0 ** min(attempts - 1, 30))
        return (
            max(wait, doubled) * random.uniform(1.0, 1.25)
            if wait
            else doubled * random.uniform(0.5, 1.0)
        )

    def _attempt(self, body: bytes, usable: Callable[[Any], Result]) -> Result:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._endpoint.api_key:
            headers["Authorization"] = f"Bearer {self._endpoint.api_key}"
        request = urllib.request.Request(self._endpoint.url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._endpoint.timeout) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            if isinstance(cause, ssl.SSLCertVerificationError):
                where = self._endpoint.url
                raise ConfigError(
                    f"{where} shows a certificate that is not trusted here ({cause}): name its authority with SSL_CERT_FILE."
                ) from None
            raise _Fault(
                f"no answer within {self._endpoint.timeout:g} s"
                if isinstance(cause, TimeoutError)
                else f"{type(cause).__name__}: {cause}"
            ) from None
        try:
            return usable(json.loads(text))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise _Fault(
                f"an answer that is no chat completion ({type(error).__name__}: {error}): {text[:200].decode('utf-8', 'replace')!r}"
            ) from None

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        url, variable = self._endpoint.url, self._endpoint.key_variable
        try:
            says = _message_in(error.read())
        except (OSError, http.client.HTTPException):
            says = ""
        what = f"HTTP {error.code} {error.reason}" + (f": {says}" if says else "")
        if error.code in _PASSING or error.code >= 500:
            return _Fault(what, _retry_after(error.headers.get("Retry-After")))
        if error.code in (401, 403):
            return ConfigError(
                f"{url} refuses the API key in ${variable}{'' if self._endpoint.api_key else ', which is not set'} ({what})."
            )
        if error.code == 404:
            return ConfigError(
                f"{url} does not know this address or this model ({what}). Does base_url end in /v1, and is the model's name the server's?"
            )
        if 300 <= error.code < 400:
            return ConfigError(
                f"{url} is elsewhere ({what}): give {error.headers.get('Location')!r} as the address, without /chat/completions."
            )
        if _CONTEXT_FULL.search(what):
            return ContextFullError(f"{url} refuses the request ({what}).")
        return ConfigError(f"{url} refuses the request ({what}).")


class _TrackingHandler(urllib.request.HTTPHandler):
    """Tells the session about every socket."""

    def __init__(self, session: PostSession) -> None:
        super().__init__()
        self._session = session

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_tracking(http.client.HTTPConnection, self._session), request)


class _TrackingSecureHandler(urllib.request.HTTPSHandler):
    """The same with TLS. The authorities' certificates are read once, not for every connection."""

    def __init__(self, session: PostSession) -> None:
        self._session, self._trusted = session, ssl.create_default_context()
        super().__init__(context=self._trusted)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(
            _tracking(http.client.HTTPSConnection, self._session), request, context=self._trusted
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: following one would turn the POST into a GET."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _tracking(kind: type[http.client.HTTPConnection], session: PostSession) -> Any:
    """A connection class of this kind whose sockets the session knows, and that connects within half a minute."""

    class Connection(kind):  # type: ignore[misc, valid-type]
        timeout: float

        def connect(self) -> None:
            silence = self.timeout
            self.timeout = min(silence, CONNECT_SECONDS)
            super().connect()
            self.sock.settimeout(silence)
            session.track(self.sock)

    return Connection


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed
        socket.socket.shutdown(
            connected, socket.SHUT_RDWR
        )  # past TLS, whose own shutdown would wait for the reader


def _message_in(body: bytes) -> str:
    """The message of an error's body, of which servers write several forms, in one line of at most 300 characters; of a page, its text."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        return " ".join(re.sub(r"<style.*?</style>|<[^<>]*>", " ", text, flags=re.DOTALL).split())[
            :300
        ]
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return " ".join(str(found).split())[:300]


def _retry_after(header: str | None) -> float:
    """Seconds to wait, from a header that holds seconds or a date; 0 without one."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0
