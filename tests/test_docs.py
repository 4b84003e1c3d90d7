"""README and documentation: examples run, and everything that they name exists."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
EXAMPLES = [
    pytest.param(name, block, id=f"{name}-{number}")
    for name, text in TEXTS.items()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]
MODULES = sorted(
    path.relative_to(ROOT)
    for package in ("srl_envs", "srl_agent")
    for path in (ROOT / package).rglob("*.py")
)
ROLE = re.compile(r":(?:mod|class|func|meth|data|attr|exc):`~?(srl_(?:envs|agent)[\w.]*)`")


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].encode()) < 7000


@pytest.mark.parametrize("name, block", EXAMPLES)
def test_every_python_example_runs(name: str, block: str) -> None:
    run = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, f"{name}:\n{run.stderr}"


@pytest.mark.parametrize("name", TEXTS)
def test_links_and_files_exist(name: str) -> None:
    text, folder = TEXTS[name], (ROOT / name).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    files = re.findall(r"`((?:srl_envs|srl_agent|benchmarks|tests)/[\w/.]+\.\w+)`", text)
    assert [link for link in links if not (folder / link).exists()] == []
    assert [path for path in files if not (ROOT / path).exists()] == []


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_commands_name_flags_and_configs_that_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from srl_agent.command_line import named_configs

    text = "\n".join(TEXTS.values())
    assert set(re.findall(r"--config (\w+)", text)) <= set(named_configs())
    commands = re.findall(r"python -m (srl_(?:agent|envs)\.\w+)( [a-z][\w-]+)?([^\n`]*)", text)
    assert len(commands) > 20
    for module, subcommand in sorted({command[:2] for command in commands}):
        wanted = {
            flag
            for name, of, rest in commands
            if (name, of) == (module, subcommand)
            for flag in re.findall(r"(?<!\S)--[a-z]\w+", rest.split("#")[0])
        }
        monkeypatch.setattr(sys, "argv", [module, *subcommand.split(), "--help"])
        with pytest.raises(SystemExit) as end:
            runpy.run_module(module, run_name="__main__")
        assert not end.value.code
        known = capsys.readouterr().out
        assert [flag for flag in wanted if not re.search(rf"{flag}\b", known)] == [], module


def test_the_table_of_settings_names_settings() -> None:
    from srl_agent.training.config import DataConfig, SRLConfig

    table = TEXTS["docs/train.md"].split("| setting |")[1].split("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    names = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    known = {field.name for config in (DataConfig, SRLConfig) for field in fields(config)}
    assert names and names <= known


def test_the_quick_start_has_the_recorded_figures() -> None:
    script = str(ROOT / "benchmarks" / "quickstart.py")
    recorded = str(ROOT / "benchmarks" / "results" / "quickstart_2cores")
    command = [sys.executable, script, "--run", recorded]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    page = TEXTS["docs/quickstart.md"].splitlines()
    assert [line for line in printed.splitlines() if line not in page] == []
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert [line for line in table if line not in TEXTS["README.md"].splitlines()] == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_cross_references_resolve(path: Path) -> None:
    broken = []
    for target in ROLE.findall((ROOT / path).read_text(encoding="utf-8")):
        parts = target.split(".")
        for end in range(len(parts), 0, -1):
            try:
                found = import_module(".".join(parts[:end]))
            except ModuleNotFoundError:
                continue
            for name in parts[end:]:
                fields_of = getattr(found, "__dataclass_fields__", {})
                found = fields_of.get(name) or getattr(found, name, None)
            if found is None:
                broken.append(target)
            break
    assert broken == []


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0 and "WARNING " not in built.stderr, built.stderr
    assert "sequence_similarity" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
