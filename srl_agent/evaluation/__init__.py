"""Scores models: math benchmarks as in the paper's Table 1."""
