"""A fleet in Ray: one actor a Docker engine. Ray starts processes; who does what is ours.

Restarts and retries of Ray are off: a piece of work that Ray repeated by itself could be
done twice, and a killed node then never ended.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from srl_envs.errors import (
    ConfigError,
    InfrastructureError,
    MissingDependencyError,
    SRLError,
    install_command,
)
from srl_envs.fleet.fleet import Fleet
from srl_envs.fleet.hosts import EngineHost
from srl_envs.sandbox.engine import engine_address
from srl_envs.sandbox.ownership import remove_run, run_here

T = TypeVar("T")

RESOURCE = "docker"
"""What a node with a Docker engine offers: ``ray start --resources '{"docker": 1}'``."""

_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_FIRST_START_S = 60.0
_HEALTH_S = 15.0


class EngineActor:
    """Runs on a node, beside an engine; the only process of a fleet that talks to it.

    Args:
        address: Of the engine; None is the node's ``DOCKER_HOST`` or default socket.
    """

    def __init__(self, address: str | None) -> None:
        self._host = EngineHost(address or engine_address() or _DEFAULT_SOCKET)

    def take_up(self, last_run: str) -> tuple[bool, Any]:
        """Remove what dead owners left, and what the actor before this one did."""

        def work() -> tuple[str, str]:
            if last_run and last_run != run_here():
                remove_run(last_run)
            return run_here(), self._host.name

        return self.call(_in_turn, (self._host.take_up, work))

    def answers(self) -> tuple[bool, Any]:
        """Whether the engine is well."""
        return True, self._host.answers()

    def call(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        """Whether work ended well, and its result, or what it raised on purpose."""
        try:
            return True, self._host.call(work, *arguments)
        except SRLError as error:
            return False, error


def _in_turn(*works: Callable[[], Any]) -> Any:
    return [work() for work in works][-1]


class RayHost:
    """An actor, and another one in its place when it is dead.

    Args:
        name: What messages call it.
        address: See :class:`EngineActor`.
        options: Of the actor.
    """

    def __init__(self, name: str, address: str | None, options: dict[str, Any]) -> None:
        self.name = name
        self._address, self._options = address, options
        self._actor: Any = None
        self._starting: Any = None
        self._run, self._patience = "", _FIRST_START_S

    def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """See :meth:`Host.call`; work and arguments are pickled."""
        actor = self._actor
        if actor is None:
            raise InfrastructureError(f"{self.name} has died.")
        result: T = self._get(actor, actor.call.remote(work, arguments))
        return result

    def answers(self) -> bool:
        """See :meth:`Host.answers`."""
        actor = self._actor
        try:
            return bool(actor and self._get(actor, actor.answers.remote(), _HEALTH_S))
        except InfrastructureError:
            return False

    def take_up(self) -> None:
        """See :meth:`Host.take_up`; a new actor waits until a node has a place for it."""
        import ray

        if self._actor is None:
            self._actor = ray.remote(EngineActor).options(**self._options).remote(self._address)
            self._starting = None
        if self._starting is None:
            self._starting = self._actor.take_up.remote(self._run)
        ready, _ = ray.wait([self._starting], timeout=self._patience)
        self._patience = 1.0
        if not ready:
            raise InfrastructureError("no node of the Ray cluster has started its actor yet.")
        started, self._starting = self._starting, None
        self._run, engine = self._get(self._actor, started)
        self.name = f"{self.name.split(' at ')[0]} at {engine}"

    def close(self) -> None:
        """Kill the actor; its watcher removes its containers."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)

    def _get(self, actor: Any, answer: Any, timeout: float | None = None) -> Any:
        import ray

        try:
            is_well, result = ray.get(answer, timeout=timeout)
        except ray.exceptions.RayError as error:
            is_task = isinstance(error, ray.exceptions.RayTaskError)
            if is_task and not isinstance(error.cause, ray.exceptions.RaySystemError):
                raise  # a fault of the program
            if isinstance(error, ray.exceptions.ActorDiedError) and self._actor is actor:
                self._actor = None
            said = (str(error).strip() or type(error).__name__).splitlines()
            why = " ".join(dict.fromkeys((said[0].strip(), said[-1].strip())))
            raise InfrastructureError(f"{self.name} failed: {why[:200]}") from error
        if not is_well:
            raise result
        return result


def open_ray_fleet(ray_address: str, engines: list[str], places: int) -> Fleet:
    """See :func:`~srl_envs.fleet.open_fleet`."""
    if ray_address == "local":  # read when Ray is imported; "CLUSTER" or not decides the address
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            f"--ray needs Ray, which is not installed: {install_command('ray')}"
        ) from None
    is_ours = not ray.is_initialized()
    end = ray.shutdown if is_ours else lambda: None
    try:
        if is_ours:
            _connect(ray_address)
        return Fleet(_hosts(ray_address, engines, places), places, end)
    except BaseException:
        end()
        raise


def _hosts(ray_address: str, engines: list[str], places: int) -> list[RayHost]:
    import ray

    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_concurrency": places + 4,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    if engines:
        options["scheduling_strategy"] = "SPREAD"
        return [RayHost(f"actor {i}", one, options) for i, one in enumerate(engines)]
    count = int(ray.cluster_resources().get(RESOURCE, 0))
    if not count:
        raise ConfigError(
            f"No node of the Ray cluster at {ray_address} offers the resource {RESOURCE!r}: start "
            f"nodes that have an engine with ray start --resources '{{\"{RESOURCE}\": 1}}', or "
            "name --engines."
        )
    options["resources"] = {RESOURCE: 1}
    return [RayHost(f"actor {i}", None, options) for i in range(count)]


def _connect(address: str) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")  # a busy machine takes longer
    if address == "local":  # actors are small: whatever fills the memory, it is not they
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    local: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,
        "resources": {RESOURCE: 1},
    }
    try:
        if ":" in address:  # Ray itself tries for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=_HEALTH_S).close()
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            **(local if address == "local" else {}),
        )
    except Exception as error:  # a start that takes too long is a bare one
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if address == "local":
            busy = " Try again when it is less busy." if "timed out" in said else ""
            raise InfrastructureError(
                f"Ray cannot be started on this machine: {said}.{busy}"
            ) from error
        if address == "auto" and isinstance(error, ConnectionError):
            raise InfrastructureError(
                "No Ray cluster runs on this machine. Start one with ray start --head, or give "
                "--ray the HOST:PORT of another one."
            ) from error
        said = getattr(error, "strerror", None) or said
        raise InfrastructureError(
            f"No Ray cluster can be used at {address}: {said}. Start one with ray start --head."
        ) from error
    here = ray.util.get_node_ip_address()
    if address == "local" and not ip_address(here).is_loopback:
        raise InfrastructureError(
            f"Ray would listen on {here}, beyond this machine: it was imported before the fleet. "
            "Set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, or start a cluster and give its address."
        )
