"""What ``--engines`` and ``--ray`` name, and the fleet of it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from srl_envs.errors import ConfigError
from srl_envs.fleet.fleet import Fleet
from srl_envs.fleet.hosts import EngineHost

ENGINES_HELP = (
    "Docker engines that share the work, separated by commas: unix:///path, tcp://host:port or "
    "ssh://user@host. None: the engine of DOCKER_HOST."
)
RAY_HELP = (
    "Do the work in Ray, one actor on each engine: local (a Ray of this command's own), auto (the "
    "cluster of this machine) or host:port. Without --engines, on the nodes with the resource "
    "docker. None: without Ray."
)
_RAY = re.compile(r"local|auto|[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


def open_fleet(engines: str | None = None, ray: str | None = None, *, places: int) -> Fleet:
    """The fleet that a command line names; close it at the end.

    Args:
        engines: Addresses separated by commas; None is the engine of ``DOCKER_HOST``.
        ray: ``"local"``, ``"auto"``, or ``host:port`` of a cluster; None is without Ray.
        places: Pieces of work or sandboxes at a time on each engine.

    Raises:
        ConfigError: An address cannot be one.
        MissingDependencyError: Ray is not installed.
        InfrastructureError: No engine, or no cluster, answers.
    """
    addresses = [] if engines is None else engine_addresses(engines)
    if ray is not None:
        check_ray(ray)
        from srl_envs.fleet.ray_hosts import open_ray_fleet

        return open_ray_fleet(ray, addresses, places)
    hosts = [EngineHost(address) for address in addresses] or [EngineHost(None)]
    return Fleet(hosts, places)


def engine_addresses(engines: str) -> list[str]:
    """The addresses in a text, each once.

    Raises:
        ConfigError: One cannot be an address, or is there twice.
    """
    addresses = [address.strip() for address in engines.split(",")]
    for address in addresses:
        try:
            parts = urlsplit(address)
            has_place = {
                "unix": not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1,
                "tcp": bool(parts.hostname) and parts.port is not None and not parts.path,
                "ssh": bool(parts.hostname) and (parts.port or 1) > 0,
            }.get(parts.scheme, False)
        except ValueError:  # of a port
            has_place = False
        if not has_place:
            raise ConfigError(
                f"engines: {address!r} is not the address of a Docker engine: use unix:///path, "
                "tcp://host:port or ssh://user@host, separated by commas."
            )
        if addresses.count(address) > 1:
            raise ConfigError(f"engines: {address} is named twice: name each engine once.")
    return addresses


def first_that_answers(engines: str) -> str | None:
    """The first of several engines that answers now; None if none does, from here.

    Raises:
        ConfigError: One cannot be an address.
    """
    hosts = map(EngineHost, engine_addresses(engines))
    return next((host.address for host in hosts if host.answers()), None)


def check_ray(ray: str) -> None:
    """Check the address of a Ray cluster.

    Raises:
        ConfigError: It cannot be one.
    """
    port = ray.rpartition(":")[2]
    if not _RAY.fullmatch(ray) or (port.isdigit() and int(port) > 65_535):
        raise ConfigError(
            f"ray is {ray!r}: use local, auto, or host:port of the cluster's head (6379 unless "
            "you chose another). Ray Client (ray://) is not supported: run the command on a node."
        )
