"""The Docker engine: a client whose calls have deadlines and fail as :class:`SandboxError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import docker.errors
import requests

from srl_envs.errors import SRLError
from srl_envs.sandbox.protocol import SandboxError


def connect(deadline: float = 60.0) -> docker.DockerClient:
    """A client of the engine that ``DOCKER_HOST`` names (or the default socket).

    Args:
        deadline: Seconds that the engine may be silent in any one call.

    Raises:
        SandboxError: No engine answers.
    """
    try:
        return docker.from_env(timeout=deadline)
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        address = os.environ.get("DOCKER_HOST") or "the default socket"
        raise SandboxError(
            f"No Docker engine answers at {address}: start one, or set DOCKER_HOST "
            f"({_first_line(error)})."
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


def _first_line(error: Any) -> str:
    text = str(getattr(error, "explanation", None) or error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
