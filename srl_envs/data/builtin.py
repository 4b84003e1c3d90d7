"""The sources that come with the package: generated problems and tasks, and solved issues."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from srl_envs.data.jsonl import load_jsonl
from srl_envs.data.registry import SourceRequest
from srl_envs.trajectory import Trajectory

_SWE = Path(__file__).parents[1] / "swe" / "tasks" / "trajectories.jsonl"


def load_math(request: SourceRequest) -> Iterable[Trajectory]:
    """``"builtin"``: as many word problems as are asked for."""
    from srl_envs.data.procedural import generate  # reads its templates: only when they are wanted

    return generate(request.count, request.seed)


def load_shell(request: SourceRequest) -> Iterable[Trajectory]:
    """``"builtin_shell"``: as many shell tasks as are asked for."""
    from srl_envs.data.shell import generate

    return generate(request.count, request.seed, request.families)


def load_swe(request: SourceRequest) -> Iterable[Trajectory]:
    """``"builtin_swe"``: the trajectories that were recorded with this package."""
    return load_jsonl(_SWE)
