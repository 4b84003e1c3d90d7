"""What a set-up asks for can be had."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def test_every_pinned_package_takes_the_oldest_python_that_make_accepts() -> None:
    major, minor = re.findall(r"version_info < \((\d+), (\d+)\)", (ROOT / "Makefile").read_text())[
        0
    ]
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    wanted = {name: metadata.metadata(name).get("Requires-Python", "") for name in pins}
    assert len(wanted) > 50
    # Of its last patch release: a distribution may leave out the first ones.
    assert not {
        name: versions
        for name, versions in wanted.items()
        if not SpecifierSet(versions).contains(f"{major}.{minor}.99")
    }
    assert f"Python {major}.{minor} or newer" in (ROOT / "README.md").read_text()
