"""Named YAML configs and command-line flags -> dataclasses.

Both set the same fields, flags win, and unknown names are errors.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from srl_envs.command_line import LOG_LEVELS
from srl_envs.errors import ConfigError


@dataclasses.dataclass
class LogConfig:
    """What a command shows of its log."""

    log_level: str = dataclasses.field(
        default="info",
        metadata={
            "help": "Log messages to show on stderr, from this level upward.",
            "choices": list(LOG_LEVELS),
        },
    )


_CURRICULUM = frozenset({"stages"})


def named_configs() -> list[str]:
    """The names of the configs that come with the package."""
    folder = resources.files("srl_agent") / "configs"
    return sorted(
        path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml")
    )


def read_config(name_or_path: str) -> dict[str, Any]:
    """The settings of a named config or of a YAML file.

    Raises:
        ConfigError: There is no such config, or it is not a mapping of settings.
    """
    if name_or_path in named_configs():
        text = (resources.files("srl_agent") / "configs" / f"{name_or_path}.yaml").read_text(
            encoding="utf-8"
        )
    elif Path(name_or_path).is_file():
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{name_or_path} is not UTF-8 text (byte {error.start}): save it as UTF-8."
            ) from None
    else:
        raise ConfigError(
            f"There is no config {name_or_path!r}: use one of {', '.join(named_configs())}, or the"
            " path of a YAML file."
        )
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{name_or_path} is not valid YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{name_or_path} holds no settings: write one `name: value` a line.")
    return settings


def configs_like(default: str, known: Iterable[str]) -> list[str]:
    """The named configs for the command with this default config.

    Their names begin alike (``evaluate_``, ``collect_``, or neither for training), and the
    command knows all of their settings.
    """
    return [
        name
        for name in named_configs()
        if _command(name) == _command(default) and read_config(name).keys() <= set(known)
    ]


def _command(config: str) -> str:
    first = config.partition("_")[0]
    return first if first in ("evaluate", "collect") else "train"


class ConfigParser(HfArgumentParser):  # type: ignore[misc]
    """Parses flags over a YAML config; errors become a ConfigError instead of an exit.

    A field's help may be a function: what it names can have been registered since the
    field was written down.
    """

    def add_argument(self, *names: Any, **settings: Any) -> Any:
        """See argparse."""
        if callable(settings.get("help")):
            settings["help"] = settings["help"]()
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a flag that it cannot use."""
        raise ConfigError(f"{message}. See --help.")


def parse(
    dataclass_types: Sequence[type],
    default_config: str,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
    also: frozenset[str] = frozenset(),
) -> tuple[str, tuple[Any, ...]]:
    """Read ``--config`` and the flags into dataclasses.

    Args:
        dataclass_types: Their fields are the settings.
        default_config: The config without ``--config``.
        argv: The command line; ``sys.argv`` if None.
        prog: The program's name in ``--help``.
        also: Further settings that a config for this command may have.

    Returns:
        The config's name or path, and one instance per type.

    Raises:
        ConfigError: An unknown setting, or a value that does not fit.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = ConfigParser(
        list(dataclass_types),
        prog=prog,
        allow_abbrev=False,
        epilog=(
            "Defaults shown here are those of a setting that the config does not name. Without"
            f" --config the config is {default_config}, which names some: see srl_agent/configs/,"
            " and the config.yaml in a run's folder, which has all."
        ),
    )
    fields = {
        field.name: field
        for kind in dataclass_types
        for field in dataclasses.fields(kind)
        if field.init
    }
    known = set(fields)
    asks_for_help = bool({"-h", "--help"} & set(arguments))
    names = configs_like(default_config, known | also) if asks_for_help else []
    parser.add_argument(
        "--config",
        default=default_config,
        help=f"Named config ({', '.join(names)}) or YAML file. Flags override it.",
    )
    chosen = _config_of(arguments, default_config)
    settings = {} if asks_for_help else read_config(chosen)
    _require_usable(chosen, settings, fields, default_config, also)
    # YAML values go through the same parser as flags, so that both are converted and checked alike.
    flags = [part for name, value in settings.items() for part in _as_flag(name, value)]
    try:
        *instances, rest, unknown = parser.parse_args_into_dataclasses(
            [*flags, *arguments], look_for_args_file=False, return_remaining_strings=True
        )
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            " ".join(str(error).split())
        ) from None  # on one line, whatever library says it
    if unknown:
        raise ConfigError(
            f"unknown setting {unknown[0]}{_did_you_mean(unknown[0].lstrip('-'), known)}"
        )
    del rest  # holds --config, which was read above
    return chosen, tuple(instances)


def _require_usable(
    chosen: str,
    settings: dict[str, Any],
    fields: dict[str, dataclasses.Field[Any]],
    default_config: str,
    also: frozenset[str],
) -> None:
    known = set(fields)
    for name, value in settings.items():
        if name not in known:
            if chosen in named_configs():
                fitting = ", ".join(configs_like(default_config, known | also))
                raise ConfigError(
                    f"{chosen} does not fit here, since it sets {name}: use one of {fitting}, or"
                    " the path of a YAML file."
                )
            raise ConfigError(
                f"{chosen}: unknown setting {name!r}{_did_you_mean(str(name), known)}"
            )
        if isinstance(value, list) and "list" not in str(fields[name].type):
            raise ConfigError(f"{chosen}: {name} is {value!r}: it must be one value, not a list.")
        if value is None and fields[name].default not in (None, dataclasses.MISSING):
            raise ConfigError(
                f"{chosen}: {name} has no value. Give one, or leave the line out for the default:"
                f" {fields[name].default!r}."
            )


def parse_stages(
    dataclass_types: Sequence[type],
    default_config: str,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
) -> tuple[str, list[tuple[str, tuple[Any, ...]]]]:
    """:func:`parse`, also for a curriculum: a config whose ``stages`` lists configs.

    Its other settings, and the flags, apply to every stage.

    Returns:
        The config's name or path; and of each stage its own name or path, with one
        instance per type. A plain config is its own only stage.

    Raises:
        ConfigError: As :func:`parse`; or ``stages`` is not a list of configs.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = _config_of(arguments, default_config)
    settings = read_config(chosen) if not {"-h", "--help"} & set(arguments) else {}
    if "stages" not in settings:
        return chosen, [parse(dataclass_types, default_config, argv, prog, also=_CURRICULUM)]
    stages = settings.pop("stages")
    if not (
        isinstance(stages, list) and stages and all(isinstance(stage, str) for stage in stages)
    ):
        raise ConfigError(
            f"{chosen}: stages is {stages!r}: it must be a list of configs, each a name or the path"
            " of a YAML file."
        )
    common = [part for name, value in settings.items() for part in _as_flag(str(name), value)]
    flags = _without_config(arguments)
    return chosen, [
        parse(dataclass_types, default_config, ["--config", stage, *common, *flags], prog)
        for stage in stages
    ]


def _without_config(arguments: Sequence[str]) -> list[str]:
    """The arguments but for ``--config`` and its value."""
    return [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if argument != "--config" and before != "--config" and not argument.startswith("--config=")
    ]


def _config_of(arguments: Sequence[str], default: str) -> str:
    for i, argument in enumerate(arguments):
        if argument.startswith("--config="):
            return argument.partition("=")[2]
        if argument == "--config" and i + 1 < len(arguments):
            return arguments[i + 1]
    return default


def _as_flag(name: str, value: Any) -> list[str]:
    if value is None:
        return []  # a field's own None
    if isinstance(value, list):
        return [f"--{name}", *map(str, value)]
    if isinstance(value, dict):
        return [f"--{name}", json.dumps(value)]
    return [f"--{name}={value}"]


def _did_you_mean(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name.replace("-", "_"), known, n=3, cutoff=0.6)
    return (
        f": did you mean {', '.join(close)}?"
        if close
        else f". --help lists the {len(known)} valid ones."
    )
