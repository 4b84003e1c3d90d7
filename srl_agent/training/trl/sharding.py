"""Training with weights that FSDP2 or DeepSpeed divides among processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType

from srl_agent.models.sharded import is_sharded, whole_state_dict
from srl_envs.errors import ConfigError


def check_sharding(process: Any, args: Any) -> None:
    """Check that FSDP, if it is asked for, is one that this project trains with.

    Args:
        process: accelerate's ``PartialState``.
        args: An :class:`~srl_agent.training.config.SRLConfig`.

    Raises:
        ConfigError: FSDP1 is asked for, or FSDP on CPUs.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true" and not args.fsdp:
        return
    if process.distributed_type == DistributedType.MULTI_CPU:
        raise ConfigError(
            "FSDP is asked for, but there is no GPU: accelerate would train whole copies on each"
            " process (DDP) instead. Leave FSDP out of the launch command or its config."
        )
    version = args.fsdp_config.get("version", 2) if args.fsdp else os.environ.get("FSDP_VERSION", 1)
    if int(version) != 2:
        raise ConfigError(
            f"FSDP version is {version}: only FSDP2 is supported. Set fsdp_version: 2 in"
            " accelerate's config (or --fsdp_version 2)."
        )


def forget_trainer_before(args: Any) -> None:
    """Let the next trainer of this process be set up by its own settings.

    accelerate would hold it to the precision of the one before (a format warm-up, or a
    stage of a curriculum) and to the batch sizes that were filled in for DeepSpeed, and
    would leave FSDP out. New settings are set up when they are made; these are set up
    again.

    Args:
        args: Of the next trainer.
    """
    vars(args).pop("_setup_devices", None)
    args.device  # noqa: B018  transformers sets everything up where this is asked for


def save_whole(trainer: Any, folder: Path) -> None:
    """Save a trainer's model as ``from_pretrained`` reads it, however its weights are divided.

    Every process must call this. FSDP's ``SHARDED_STATE_DICT`` and DeepSpeed without
    ``stage3_gather_16bit_weights_on_model_save`` would write no such model.

    Args:
        trainer: Any trainer of transformers.
        folder: Where to.
    """
    if not is_sharded(trainer.model):
        trainer.save_model(str(folder))
        return
    weights = whole_state_dict(trainer.model, keep=trainer.args.should_save)
    if trainer.args.should_save:
        trainer._save(str(folder), state_dict=weights)
