"""Gives a vLLM server on CPUs new weights: both ends of a transfer through a TCP store.

vLLM and TRL send weights with NCCL, which needs GPUs. All the rest is theirs here too: the
server, the requests for an update, the loading into its layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from trl.generation.vllm_client import VLLMClient
from vllm.distributed.utils import StatelessProcessGroup
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

BACKEND = "store"


class StoreWeightTransfer(NCCLWeightTransferEngine):  # type: ignore[misc]
    """The server's end."""

    def init_transfer_engine(self, init_info: Any) -> None:
        self.store = StatelessProcessGroup.create(
            host=init_info.master_address,
            port=init_info.master_port,
            rank=init_info.rank_offset + self.parallel_config.rank,
            world_size=init_info.world_size,
        )

    def receive_weights(self, update_info: Any) -> None:
        described = zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True)
        for name, dtype, shape in described:
            empty = torch.empty(shape, dtype=getattr(torch, dtype))
            self.model.load_weights([(name, self.store.broadcast(empty, src=0))])

    def shutdown(self) -> None:
        self.store = None


def register() -> None:
    """Called by vLLM in each of its processes: the entry point of a plugin."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, StoreWeightTransfer)


class StoreClient(VLLMClient):  # type: ignore[misc]
    """The trainer's end."""

    def init_communicator(self, device: Any = None) -> None:
        world_size = self.get_world_size() + 1
        address = {"master_address": "127.0.0.1", "master_port": self.group_port}
        asked = {"init_info": {**address, "rank_offset": 1, "world_size": world_size}}
        with ThreadPoolExecutor(1) as pool:
            other_end = pool.submit(
                self._post, f"{self.base_url}/init_weight_transfer_engine", json=asked
            )
            self.store = StatelessProcessGroup.create(
                host="127.0.0.1", port=self.group_port, rank=0, world_size=world_size
            )
            other_end.result()

    def update_named_params(
        self,
        metadata: list[tuple[str, str, list[int]]],
        named_params: Iterator[tuple[str, torch.Tensor]],
    ) -> None:
        names, dtype_names, shapes = (list(column) for column in zip(*metadata, strict=True))
        asked = {"update_info": {"names": names, "dtype_names": dtype_names, "shapes": shapes}}
        self._start_weight_update()
        with ThreadPoolExecutor(1) as pool:
            other_end = pool.submit(self._post, f"{self.base_url}/update_weights", json=asked)
            for _, tensor in named_params:
                self.store.broadcast(tensor.detach().cpu(), src=0)
            other_end.result()
        self._finish_weight_update()

    def close_communicator(self) -> None: ...
