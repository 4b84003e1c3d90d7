"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout, or ``$SRL_SHARED_DATA``; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SRL_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data is not there: {folder}")
    return folder
