"""The tools of other agents as ours: other names, arguments that change nothing, idle tools.

OpenHands, R2E-Gym and the models' makers have the shell, the editor and the end of the
work under names of their own. What a call of theirs says beyond ours either changes
nothing and is left out, or the call cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from srl_envs.commands import CommandError

IDLE_TOOLS = ("think", "task_tracker")
"""They run nothing: what they are given is part of the thought."""

_KEYS = ("", "c-c", "c-d", "c-z", "ctrl+c", "ctrl+d", "ctrl+z")


@dataclass(frozen=True, slots=True)
class _Spellings:
    """Other names of one of our tools.

    Attributes:
        names: Of the tool.
        arguments: Of its arguments -> ours.
        ignored: Arguments that change nothing, each with the values (lower case) for
            which that is so; none means any value.
    """

    names: tuple[str, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_REMARKS: Mapping[str, tuple[str, ...]] = {"security_risk": (), "summary": ()}
_OFF = ("false",)

_SPELLINGS = {
    "bash": _Spellings(
        ("bash", "execute_bash", "terminal"),
        {"cmd": "command"},
        {**_REMARKS, "timeout": (), "is_input": _OFF, "reset": _OFF, "restart": _OFF},
    ),
    "str_replace_editor": _Spellings(
        ("str_replace_editor", "file_editor", "str_replace_based_edit_tool"),
        {"insert_text": "new_str"},
        {**_REMARKS, "concise": ()},
    ),
    "submit": _Spellings(
        ("submit", "finish"),
        {},
        {
            **_REMARKS,
            **dict.fromkeys(("message", "result", "output", "outputs", "task_completed"), ()),
            "command": ("submit",),
        },
    ),
}
_OWN = {name: own for own, spellings in _SPELLINGS.items() for name in spellings.names}


def own_call(tool: str, arguments: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """A call of another agent's tool as one of ours.

    A tool and an argument that are not known stay, for the grammar to refuse.

    Raises:
        CommandError: An argument that may be left out has a value that changes
            something, or an argument is given under two names.
    """
    own = _OWN.get(tool, tool)
    spellings = _SPELLINGS.get(own, _Spellings(()))
    kept: dict[str, str] = {}
    for name, value in arguments.items():
        if name in spellings.ignored:
            harmless = spellings.ignored[name]
            if harmless and value.strip().lower() not in harmless:
                raise CommandError(
                    "unknown argument",
                    f"{tool} with {name}={value[:80]!r} cannot be run here.",
                    f"{own}.{name}={value[:80]}",
                )
            continue
        name = spellings.arguments.get(name, name)
        if name in kept:
            raise CommandError("malformed", f"{tool} has the argument {name!r} twice.")
        kept[name] = value
    return own, kept


def waits(tool: str, arguments: Mapping[str, str]) -> bool:
    """Whether OpenHands only asks for more output of a running command, or interrupts it.

    Here a command that runs past its time is ended, so there is nothing to ask for.
    """
    inputs = arguments.get("is_input", "").strip().lower() == "true"
    pressed = arguments.get("command", "").strip().lower()
    return _OWN.get(tool) == "bash" and inputs and pressed in _KEYS
