"""The README's example runs, and what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_run(capsys) -> None:
    tour, swe = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(tour, "README.md", "exec"), {})
    assert "Next step" in capsys.readouterr().out
    exec(compile(swe, "README.md", "exec"), {})


def test_named_settings_configs_and_files_exist() -> None:
    from dataclasses import fields

    from srl_agent.configuration import named_configs
    from srl_agent.training.config import DataConfig, SRLConfig

    table = README.split("| setting |")[1].split("\n\n")[0]
    names = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert names and names <= {
        field.name for config in (DataConfig, SRLConfig) for field in fields(config)
    }
    assert set(re.findall(r"--config (\w+)", README)) <= set(named_configs())
    for path in re.findall(r"`((?:srl_envs|srl_agent)/[\w/]+\.py)`", README):
        assert (ROOT / path).is_file(), path


def test_the_quick_start_has_the_recorded_figures() -> None:
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "quickstart.py"),
        "--run",
        str(ROOT / "benchmarks" / "results" / "quickstart_2cores"),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line for line in printed.splitlines() if line not in README.splitlines()] == []
