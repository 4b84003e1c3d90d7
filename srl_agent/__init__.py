"""Train and evaluate language models by Supervised Reinforcement Learning, on ``srl_envs``."""

import os
from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

# OpenMP reads this when torch is imported. By default its threads spin while they wait for each
# other, which all but stops training on a CPU that does anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    __version__ = version("srl-lm")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
