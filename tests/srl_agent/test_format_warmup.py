"""How the format warm-up parts its batches."""

from __future__ import annotations

import pytest

from srl_agent.training.format_warmup import rows_at_once


@pytest.mark.parametrize(
    ("rows", "longest", "tokens", "expected"),
    [(8, 100, 1024, 8), (8, 300, 1024, 2), (8, 256, 1024, 4), (10, 300, 1024, 2), (7, 300, 1024, 1), (4, 5000, 1024, 1), (1, 10, 1024, 1)],
)
def test_micro_batches_hold_every_row_and_few_tokens(rows: int, longest: int, tokens: int, expected: int) -> None:
    assert rows_at_once(rows, longest, tokens) == expected
