"""What an installed package holds: data files, commands under both names, one version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA_FILES = {".yaml", ".yml", ".jsonl", ".j2", ".md", ".typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The wheel, built from a copy of the sources, and all that the build printed."""
    source = tmp_path_factory.mktemp("source")
    for package in ("srl_envs", "srl_agent"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    # Where it is set, setuptools warns that it compiles nothing.
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=source, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(built: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel was installed into."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(built[0])], check=True)
    return target


def run(installed: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=installed, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_wheel_holds_every_data_file(built: tuple[Path, str]) -> None:
    held = set(zipfile.ZipFile(built[0]).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("srl_envs", "srl_agent")
        for path in (ROOT / package).rglob("*")
        if path.suffix in DATA_FILES or path.name == "py.typed"
    }
    kinds = {"srl_agent/configs/quickstart.yaml", "srl_envs/swe/tasks/trajectories.jsonl"}
    assert kinds <= wanted
    assert any(name.endswith(".html.j2") for name in wanted)
    assert any(name.startswith("srl_envs/data/word_problems/") for name in wanted)
    assert wanted - held == set()


def test_the_build_warns_of_nothing(built: tuple[Path, str]) -> None:
    assert "would be ignored" not in built[1]
    assert not re.search("warning", built[1], re.IGNORECASE)


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("srl-train", "srl_agent.train"),
        ("srl-evaluate", "srl_agent.evaluate"),
        ("srl-replay", "srl_envs.replay"),
        ("srl-sandbox", "srl_envs.sandbox"),
    ],
)
def test_help_names_the_command_as_it_was_typed(installed: Path, script: str, module: str) -> None:
    help_of_script = run(installed, sys.executable, str(installed / "bin" / script), "--help")
    help_of_module = run(installed, sys.executable, "-m", module, "--help")
    assert script in help_of_script and f"python -m {module}" not in help_of_script
    assert f"python -m {module}" in help_of_module and script not in help_of_module


def test_one_version_everywhere(installed: Path) -> None:
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    for package in ("srl_envs", "srl_agent"):
        program = f"import {package}; print({package}.__version__, {package}.__file__)"
        found, file = run(installed, sys.executable, "-c", program).split()
        assert found == version and file.startswith(str(installed))
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version}\n" in citation


@pytest.mark.parametrize("folder", ["benchmarks", "benchmarks/gpu", "examples"])
def test_no_script_hides_a_module_of_the_standard_library(folder: str) -> None:
    """A script's folder is searched first, so torch would import the neighbour."""
    names = {path.stem for path in (ROOT / folder).iterdir()}
    assert names and not names & sys.stdlib_module_names
