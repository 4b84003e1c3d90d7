"""The table of benchmarks/collect_profile.py."""

from __future__ import annotations

from benchmarks import collect_profile


def test_differences_are_paired_by_seed_and_step() -> None:
    options = collect_profile.parser().parse_args(["--seeds", "2", "--tokens", "1000"])
    gains = {"selection": 0.3, "dynamic sampling": 0.2, "neither": 0.1}
    hard, easy = -0.5, 0.5
    results = [
        collect_profile.Result(arm, seed, [hard + gain, easy + gain], 10 + seed, 1000, 7)
        for seed in range(2)
        for arm, gain in gains.items()
    ]
    text = collect_profile.report(results, [hard, easy] * 2, options)
    assert "2 held-out steps with 4 answers each" in text
    assert "| selection | +0.300 (-0.200 to +0.800) | 10 | 1,000 | 7 |" in text
    assert "| neither | +0.200 (+0.200 to +0.200) | +0.200, +0.200 |" in text
