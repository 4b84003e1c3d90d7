"""The benchmark of episodes: each of its loops does all of the work."""

from __future__ import annotations

import pytest

from benchmarks import episodes


def test_each_loop_does_all_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "ANSWER_S", 1e-4)
    monkeypatch.setattr(episodes, "COMMAND_S", 1e-4)
    times = episodes.measure(1)
    assert times.bound == max(times.model, times.sandbox)
    assert min(times.episodes, times.lock_step, times.trl) > times.bound
