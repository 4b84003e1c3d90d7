"""Patches that are there already: the gold ones, or a file of predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srl_agent.evaluation.swebench.config import SweBenchConfig
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.tables import listed
from srl_envs.data.jsonl import read_lines
from srl_envs.errors import DataError

_logger = logging.getLogger(__name__)


def given_patches(
    config: SweBenchConfig, instances: Sequence[SweBenchInstance]
) -> dict[str, tuple[str, str]]:
    """Instance id -> who wrote the patch, and the patch, where no model is asked."""
    if config.gold:
        return {instance.instance_id: ("gold", instance.patch) for instance in instances}
    if config.predictions is None:
        return {}
    given: dict[str, tuple[str, str]] = {}
    for where, row in _prediction_rows(Path(config.predictions).expanduser()):
        name, patch = row.get("instance_id"), row.get("model_patch", 0)
        if not isinstance(name, str) or not (patch is None or isinstance(patch, str)):
            raise DataError(
                f"{where}: a prediction needs 'instance_id' and 'model_patch', both text."
            )
        if name in given:
            raise DataError(f"{where}: a second prediction for {name}: keep one.")
        given[name] = (str(row.get("model_name_or_path") or "predictions"), patch or "")
    if unknown := sorted(given.keys() - {instance.instance_id for instance in instances}):
        _logger.warning(
            "%s: %d of %d predictions are for instances that are not asked for: %s",
            config.predictions,
            len(unknown),
            len(given),
            listed(unknown),
        )
    return given


def _prediction_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    if path.suffix != ".json":
        return [(f"{path}, line {number}", row) for number, row in read_lines(path)]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from None
    if isinstance(content, dict):  # instance id -> prediction
        content = [
            row | {"instance_id": name} if isinstance(row, dict) else row
            for name, row in content.items()
        ]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DataError(
            f"{path} must be a list of predictions, or an object with one for each instance id."
        )
    return [(f"{path}, row {number}", row) for number, row in enumerate(content, 1)]
