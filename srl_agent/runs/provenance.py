"""What a run ran on: versions, git state, hardware. Written into every run folder."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    *(
        "srl-lm",
        "torch",
        "transformers",
        "trl",
        "accelerate",
        "peft",
        "datasets",
        "gymnasium",
        "numpy",
        "cydifflib",
        "difflib-fast",
        "vllm",
    ),
    *("math-verify", "swebench", "docker"),
)


def environment() -> dict[str, Any]:
    """Versions, git commit of the project, command line and hardware."""
    return {
        "command": ["python", "-m", "srl_agent.train", *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": {
            name: version for name in _PACKAGES if (version := _version(name)) is not None
        },
        "git": _git_state(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit and whether files were changed; None outside a checkout."""
    try:
        import git
    except ImportError:  # also where the program git is missing
        return None
    try:
        repository = git.Repo(Path(__file__).parent, search_parent_directories=True)
        return {"commit": repository.head.commit.hexsha, "changed": repository.is_dirty()}
    except (ValueError, OSError, git.exc.GitError):
        return None
