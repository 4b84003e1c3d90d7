"""Train and evaluate language models by Supervised Reinforcement Learning, on ``srl_envs``."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("srl-lm")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
