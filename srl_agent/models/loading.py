"""Where models come from.

A folder (also of an adapter), the hub, or the built-in quick-start model.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srl_agent.models.lora import base_of, is_adapter, merged
from srl_agent.models.quickstart import (
    QUICKSTART_NAMES,
    missing_package,
    quickstart_model,
    quiet_transformers,
)
from srl_agent.models.tokenizers import check_tokenizer, check_vocabulary, set_end_and_padding
from srl_envs.errors import ConfigError, DataError, SRLError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_logger = logging.getLogger(__name__)

HUB_PROBE_SECONDS = 10.0


def load_model_and_tokenizer(
    name_or_path: str,
    *,
    dtype: torch.dtype | str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer, with a pad token set.

    Args:
        name_or_path: ``"quickstart"`` or ``"smollm2"`` for the built-in model, an
            existing folder (of an adapter too, which is merged into its base model), or
            a name on the hub. A hub that cannot be reached costs one short attempt;
            then only the hub's local cache is looked at.
        dtype: Of the weights: ``torch.float32``, ``"bfloat16"``, ...; ``"auto"`` takes
            the checkpoint's.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run the Python code that some models bring along.
        attn_implementation: ``"sdpa"``, ``"eager"``, ``"flash_attention_2"``, ...; None
            leaves the choice to transformers.

    Raises:
        DataError: No such model, a damaged folder, weights that are missing, a
            tokenizer without a chat template, or with tokens that the model lacks.
        ConfigError: ``attn_implementation`` needs a package that is missing.
        MissingDependencyError: torch or transformers is missing.
    """
    extra = {"attn_implementation": attn_implementation} if attn_implementation else {}
    model, tokenizer = _load(name_or_path, revision, trust_remote_code, {"dtype": dtype, **extra})
    set_end_and_padding(model, tokenizer, name_or_path)
    check_tokenizer(tokenizer, name_or_path)
    check_vocabulary(model, tokenizer, name_or_path)
    return model, tokenizer


def load_config(name_or_path: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The configuration of a model, or of the model that an adapter belongs to.

    None if it cannot be read: loading the model then says why.
    """
    from transformers import AutoConfig

    folder = quickstart_model() if name_or_path in QUICKSTART_NAMES else _folder(name_or_path)
    if folder is not None and is_adapter(folder):
        return load_config(*base_of(folder), trust_remote_code)
    try:
        return AutoConfig.from_pretrained(
            str(folder or name_or_path),
            revision=revision,
            trust_remote_code=trust_remote_code,
            # Where the hub does not answer, transformers itself would retry for half a minute.
            local_files_only=folder is None and not _hub_has(name_or_path, revision),
        )
    except (OSError, ValueError, ImportError):
        return None


def load_tokenizer(name_or_path: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The tokenizer of a model, without its weights.

    Raises:
        DataError: There is none, or it has no chat template, or it loses text.
    """
    from transformers import AutoTokenizer

    folder = quickstart_model() if name_or_path in QUICKSTART_NAMES else _folder(name_or_path)
    if folder is not None and is_adapter(folder) and not _has_tokenizer(folder):
        return load_tokenizer(*base_of(folder), trust_remote_code)
    cached_only = folder is None and not _hub_has(name_or_path, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder or name_or_path),
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=cached_only,
        )
    except (OSError, ValueError, ImportError) as error:
        if cached_only:
            raise _not_there(name_or_path) from error
        raise DataError(
            f"The tokenizer of {name_or_path!r} cannot be loaded: {_first_line(error)}"
        ) from error
    check_tokenizer(tokenizer, name_or_path)
    return tokenizer


def weights_of(name_or_path: str, revision: str | None) -> str:
    """Where a model's weights are, in words.

    Raises:
        DataError: They are nowhere.
    """
    folder = quickstart_model() if name_or_path in QUICKSTART_NAMES else _folder(name_or_path)
    if folder is not None and is_adapter(folder):
        return f"an adapter of {base_of(folder)[0]}, {weights_of(*base_of(folder))}"
    if folder is None:
        from huggingface_hub import snapshot_download

        if _hub_has(name_or_path, revision):
            return "on the hub, from where it is fetched unless the cache has it"
        with contextlib.suppress(OSError):
            folder = Path(snapshot_download(name_or_path, revision=revision, local_files_only=True))
    files = [] if folder is None else [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not files:
        raise (
            _not_there(name_or_path)
            if folder is None
            else DataError(
                f"{folder} has no weights (*.safetensors): save the model with save_pretrained."
            )
        )
    size = sum(file.stat().st_size for file in files)
    return f"{size / 1e9:.2f} GB of weights in {folder}"


def _not_there(name: str) -> DataError:
    return DataError(
        f"Model {name!r} is neither an existing folder nor in the local hub cache, and the hub"
        ' cannot be reached. Give the path of a folder with the model, or "quickstart" for the'
        " built-in one."
    )


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()


def _load(
    name_or_path: str, revision: str | None, trust_remote_code: bool, settings: dict[str, Any]
) -> tuple[Any, Any]:
    """Model and tokenizer as they were saved.

    An adapter is merged into its model, and its own tokenizer is used if it has one.
    """
    try:
        from safetensors import SafetensorError
        from transformers import AutoTokenizer
    except ImportError as error:
        raise missing_package(error) from error

    folder = quickstart_model() if name_or_path in QUICKSTART_NAMES else _folder(name_or_path)
    is_local, source = folder is not None, str(folder or name_or_path)
    hub: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    if not is_local:
        hub["local_files_only"] = not _hub_has(source, revision)
    with quiet_transformers() if is_local else contextlib.nullcontext():
        try:
            if folder is not None and is_adapter(folder):
                base, base_revision = base_of(folder)
                model, tokenizer = _load(base, base_revision, trust_remote_code, settings)
                own = _has_tokenizer(folder)
                return merged(model, folder), (
                    AutoTokenizer.from_pretrained(source, **hub) if own else tokenizer
                )
            model, tokenizer, found = _load_whole(source, settings, hub)
        except SRLError:  # what is wrong with an adapter, or with its base model
            raise
        except ImportError as error:
            raise ConfigError(
                f"Model {name_or_path!r} needs a package that is not installed:"
                f" {_first_line(error)}"
            ) from error
        except (OSError, ValueError, SafetensorError) as error:
            if hub.get("local_files_only"):
                raise _not_there(name_or_path) from error
            raise DataError(
                f"Model {name_or_path!r} cannot be loaded: {_first_line(error)}"
            ) from error
    _check_weights(model, found, name_or_path)
    return model, tokenizer


def _load_whole(
    source: str, settings: dict[str, Any], hub: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """A model that is not an adapter, its tokenizer, and which weights did not match."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    # The tokenizer first: where nothing is cached, the model's loader would ask the hub again.
    tokenizer = AutoTokenizer.from_pretrained(source, **hub)
    if (Path(source) / "generation_config.json").is_file():
        # The model's loader would ignore a damaged one, and with it what ends an answer.
        GenerationConfig.from_pretrained(source)
    model, found = AutoModelForCausalLM.from_pretrained(
        source, output_loading_info=True, **settings, **hub
    )
    return model, tokenizer, found


def _check_weights(model: Any, found: dict[str, Any], name: str) -> None:
    """Refuse a model that transformers filled up with random weights."""
    if missing := sorted(found["missing_keys"]):
        raise DataError(
            f"Model {name!r} has no weights for {missing[0]}"
            f"{f' and {len(missing) - 1} more' if missing[1:] else ''}, so"
            f" {type(model).__name__} would start with random ones. The checkpoint is incomplete"
            " or not of a language model: save it from the class that it was trained as."
        )
    if unused := sorted(found["unexpected_keys"]):
        _logger.warning(
            f"{name}: {len(unused)} tensors of the checkpoint are not part of"
            f" {type(model).__name__} and are not used, such as {unused[0]}"
        )


def _folder(name_or_path: str) -> Path | None:
    """The model's folder, or None for a name on the hub.

    Raises if a path can only mean a folder and there is no such folder.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise DataError(
                f"The folder {name_or_path!r} holds no model: it has neither config.json nor"
                " adapter_config.json."
            )
        return path.resolve()  # an adapter trained on it names it, and may be read elsewhere
    if path.is_file():
        raise DataError(
            f"{name_or_path!r} is a file: give the folder of a model saved with save_pretrained."
        )
    if name_or_path.startswith((".", "~", os.sep)) or name_or_path.count("/") > 1:
        raise DataError(
            f"There is no folder {name_or_path!r}: give an existing model folder, a hub name"
            ' (owner/name), or "quickstart".'
        )
    return None


def _hub_has(name: str, revision: str | None) -> bool:
    """Whether the hub can be reached and has this model.

    Asked once, because transformers itself retries for half a minute.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # Which HTTP library the hub's client is built on differs by its version; its errors' base class
    # is a base of the client's own.
    transport_error: type[Exception] = HfHubHTTPError.__bases__[0]
    try:
        HfApi().model_info(name, revision=revision, timeout=HUB_PROBE_SECONDS)
    except GatedRepoError as error:
        raise DataError(
            f"Model {name!r} is gated: accept its terms on the hub and log in with `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"The hub has no model {name!r} (or it is private: log in with `hf auth login`). Check"
            " the name."
        ) from error
    except RevisionNotFoundError as error:
        raise DataError(f"Model {name!r} has no revision {revision!r} on the hub.") from error
    except HFValidationError as error:
        raise DataError(
            f"{name!r} is neither an existing folder nor a valid hub name: {_first_line(error)}"
        ) from error
    except (OSError, transport_error):
        return False
    return True


def _first_line(error: BaseException) -> str:
    first, _, rest = str(error).strip().partition("\n")
    return first if not first.rstrip().endswith(":") else " ".join(f"{first} {rest}".split())
