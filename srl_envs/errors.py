"""The exceptions of ``srl_envs``: each says what was wrong, where, and what to do.

Two families are kept apart, because only one of them is the fault of what a user or a
model wrote:

* :class:`DataError`, :class:`ConfigError`: the input is wrong; mend it and start again.
* :class:`InfrastructureError`: the machinery failed (daemon, disk, network). It is
  never turned into a reward.
"""


class SRLError(Exception):
    """Base class: whatever this project raises on purpose, with a message meant for its user."""


class DataError(SRLError, ValueError):
    """A data source is missing, empty, truncated or of the wrong schema."""


class ConfigError(SRLError, ValueError):
    """A setting has an unknown name or a value outside its range."""


class MissingDependencyError(SRLError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class InfrastructureError(SRLError, RuntimeError):
    """The machinery failed, not the model: never a reward."""


def require(holds: bool, name: str, value: object, range: str) -> None:
    """Check a setting.

    Raises:
        ConfigError: ``holds`` is false; the message names the setting, its value, and
            the range that it must be in.
    """
    if not holds:
        raise ConfigError(f"{name} is {value!r}: it must be {range}.")


def install_command(*extras: str) -> str:
    """The command that installs extras of this project.

    It is run in the project's folder, because the project is not on a package index.
    """
    return f'pip install -e ".[{",".join(extras)}]" (in the project\'s folder)'
