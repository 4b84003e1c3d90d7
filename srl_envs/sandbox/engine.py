"""The Docker engine: a client whose calls have deadlines and fail as :class:`SandboxError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import docker
import docker.errors
import requests

from srl_envs.errors import SRLError
from srl_envs.sandbox.protocol import SandboxError
from srl_envs.sandbox.ssh import tunnel_to

_ADDRESS: ContextVar[str | None] = ContextVar("engine", default=None)


class EngineAPI(docker.APIClient):  # type: ignore[misc]  # docker has no types
    """An engine's certificates are those of ``DOCKER_CERT_PATH``.

    ``requests`` alone would take the authorities of ``REQUESTS_CA_BUNDLE``, a variable for
    the public web, and then refuse an engine whose authority is the user's.
    """

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """What ``requests`` adds to a request from the environment; called by it."""
        chosen = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, chosen, cert)


class _Client(docker.DockerClient):  # type: ignore[misc]  # nor here
    def __init__(self, **settings: Any) -> None:
        self.api = EngineAPI(**settings)


@contextmanager
def engine_at(address: str | None) -> Iterator[None]:
    """In the body, and in this thread, :func:`connect` reaches this engine.

    Args:
        address: ``unix:///path``, ``tcp://host:port`` or ``ssh://user@host``; None takes
            ``DOCKER_HOST``.
    """
    token = _ADDRESS.set(address)
    try:
        yield
    finally:
        _ADDRESS.reset(token)


def engine_address() -> str | None:
    """The engine that :func:`connect` reaches; None is the engine of the default socket."""
    return _ADDRESS.get() or os.environ.get("DOCKER_HOST") or None


def connect(deadline: float = 60.0) -> docker.DockerClient:
    """A client of the engine of :func:`engine_at`, or else of ``DOCKER_HOST``.

    An engine at ``ssh://`` is reached through the ``ssh`` program, with the user's own
    settings and keys.

    Args:
        deadline: Seconds that the engine may be silent in any one call.

    Raises:
        SandboxError: No engine answers.
    """
    address = engine_address()
    here = tunnel_to(address, deadline) if address and address.startswith("ssh://") else address
    environment = {**os.environ, "DOCKER_HOST": here} if here else None
    try:
        client: docker.DockerClient = _Client.from_env(timeout=deadline, environment=environment)
        return client
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        cure = "Start one, or set DOCKER_HOST."
        if address:
            cure = "Start it, or give the address of another one."
        if address and address.startswith("tcp://"):
            cure = "Start it, or set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH as for docker."
        raise SandboxError(
            f"No Docker engine answers at {address or 'the default socket'}: "
            f"{_cause(error).rstrip('.')}. {cure}"
        ) from error


def engine_answers() -> bool:
    """Whether an engine can be reached at all; takes a second or so at most."""
    try:
        client = connect(deadline=2.0)
    except SandboxError:
        return False
    client.close()
    return True


@contextmanager
def engine_call(purpose: str) -> Iterator[None]:
    """Turn whatever an engine call raises into a :class:`SandboxError` that says what was tried.

    Args:
        purpose: Completes "could not ...": "start a container of image X".
    """
    try:
        yield
    except SRLError:  # reported already; some of them are an OSError too
        raise
    except docker.errors.ImageNotFound as error:
        raise SandboxError(
            f"Could not {purpose}: {_first_line(error)}. Pull or build the image first."
        ) from error
    except docker.errors.APIError as error:  # the engine answered, and refused
        raise SandboxError(f"Could not {purpose}: {_first_line(error)}.") from error
    except docker.errors.DockerException as error:
        raise SandboxError(
            f"Could not {purpose}: {_first_line(error)}. Is the engine running, and DOCKER_HOST "
            "right?"
        ) from error
    except (requests.exceptions.RequestException, OSError) as error:
        raise SandboxError(
            f"Could not {purpose}: the Docker engine did not answer ({_first_line(error)})."
        ) from error


def usable_image(client: Any, image: str) -> str:
    """The id of an image of which sandboxes can be made.

    Raises:
        SandboxError: It is missing, or declares volumes; or the engine failed.
    """
    with engine_call(f"read the image {image}"):
        found = client.api.inspect_image(image)
    if volumes := sorted((found.get("Config") or {}).get("Volumes") or ()):
        raise SandboxError(
            f"The image {image} declares volumes ({', '.join(volumes)}): what is written there "
            "escapes the limit of the disk, and is in no image made of it. Build it without "
            "VOLUME, or flatten it with docker export and docker import."
        )
    return str(found["Id"])


def _cause(error: BaseException) -> str:
    """What the system said at the bottom of an error, else the error's first line."""
    said, link = _first_line(error), error.__cause__ or error.__context__
    while link is not None:
        said = getattr(link, "strerror", None) or said
        link = link.__cause__ or link.__context__
    return str(said)


def _first_line(error: Any) -> str:
    text = str(getattr(error, "explanation", None) or error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
