"""The paper's methods side by side on one small model: ``python -m benchmarks.study --help``."""
