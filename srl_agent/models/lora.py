"""Models that are saved as an adapter (for example LoRA) of another model.

They are merged into it when they are loaded.

So an adapter serves wherever a model does, also as what the next training starts from:
an adapter that is trained on top of it names the first adapter's folder as its base,
and both are merged in turn.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from srl_envs.errors import DataError, MissingDependencyError, install_command

_CONFIG = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / _CONFIG).is_file()


def base_of(folder: Path) -> tuple[str, str | None]:
    """The model that an adapter belongs to, and its revision on the hub.

    The model is a name or path; revision None is main.

    Raises:
        DataError: The folder does not say, or the adapters below it end in a circle.
    """
    name, revision = _named_base(folder)
    below, seen = Path(name), {folder.resolve()}
    while is_adapter(below):
        if below.resolve() in seen:
            raise DataError(
                f"{folder / _CONFIG} names the adapter itself as its base model, or one that was"
                " trained on it (base_model_name_or_path): give the model that it was trained on."
            )
        seen.add(below.resolve())
        below = Path(_named_base(below)[0])
    return name, revision


def _named_base(folder: Path) -> tuple[str, str | None]:
    try:
        config: Any = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except ValueError:
        config = None
    name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(name, str) or not name:
        raise DataError(
            f"{folder / _CONFIG} does not name the model that the adapter belongs to"
            " (base_model_name_or_path)."
        )
    return name, config.get("revision")


def merged(base: Any, folder: Path) -> Any:
    """The base model with the adapter's weights merged into it.

    From then on it is known by the adapter's folder.

    Args:
        base: A model of transformers; changed in place.
        folder: The adapter's.

    Raises:
        DataError: The adapter's weights are missing, damaged, of another model, or of a
            kind that cannot be merged.
        MissingDependencyError: peft is not installed.
    """
    try:
        from peft import PeftModel
        from safetensors import SafetensorError
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is missing, which adapters need: {install_command('train')}"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below
            adapted: Any = PeftModel.from_pretrained(base, str(folder))
        if adapted.active_peft_config.is_prompt_learning:
            raise DataError(
                f"The adapter in {folder} is of the kind"
                f" {adapted.active_peft_config.peft_type.value}, which changes prompts, not"
                " weights, and cannot be merged. Use LoRA."
            )
        # Once more, for what PEFT only warns of, or does not say.
        _check_keys(adapted.load_adapter(str(folder), adapted.active_adapter), folder)
        model: Any = adapted.merge_and_unload()
    except DataError:
        raise
    except KeyError as error:  # PEFT looks the kind of an adapter up
        raise DataError(
            f"{folder / _CONFIG} has no peft_type that the installed peft knows: {error}. Update"
            " peft, or save the adapter with PEFT's save_pretrained."
        ) from error
    except (OSError, ValueError, RuntimeError, AttributeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"The adapter in {folder} cannot be merged into its base model: {reason}"
        ) from error
    model.requires_grad_(True)  # PEFT froze the base; merged, it is a model like any other
    model.name_or_path = model.config._name_or_path = str(folder.resolve())
    return model


def _check_keys(found: Any, folder: Path) -> None:
    """Refuse an adapter of which a part would have no effect, or be random."""
    lacking, unused = sorted(found.missing_keys), sorted(found.unexpected_keys)
    if not lacking and not unused:
        return
    fault = f"it has no weights for {lacking[0]}" if lacking else f"{unused[0]} has no place in it"
    raise DataError(
        f"The adapter in {folder} does not fit its base model: {fault}"
        f" (missing: {len(lacking)}, unused: {len(unused)}). Give the model and the adapter_config"
        ".json that it was trained with."
    )
