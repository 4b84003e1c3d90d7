"""A local Ray cluster with a node for each engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from own_engine import OwnEngine

HERE = str(Path(__file__).parent)
"""Where actors find the work of the tests."""


class Nodes:
    """A head that does no work, and a node for each engine."""

    def __init__(self, engines: list[OwnEngine]) -> None:
        from ray.cluster_utils import Cluster

        self._small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
        head = {"num_cpus": 0, **self._small}
        self._cluster = _started(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.address = self._cluster.address
        self.nodes = [self.add(engine) for engine in engines]

    def add(self, engine: OwnEngine) -> Any:
        return _started(
            lambda: self._cluster.add_node(
                num_cpus=1,
                resources={"docker": 1},
                env_vars={"DOCKER_HOST": engine.address, "PYTHONPATH": HERE},
                **self._small,
            )
        )

    def kill(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()


def _started(start: Callable[[], Any]) -> Any:
    """Ray gives a node 30 seconds to start, which a busy machine may not have."""
    for _ in range(5):
        try:
            return start()
        except Exception as error:  # Ray raises no other kind
            if "timed out during startup" not in str(error):
                raise
    return start()
