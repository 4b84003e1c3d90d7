"""Labelled pairs of commands: equivalent spellings of experts' commands, and near misses.

Real commands of three kinds of trajectories: the built-in shell tasks (in their own
folders), and the built-in and given trajectories of software engineering. Of the latter,
whose images need a network, the state is made again from what the expert saw: the lines
that a command showed stand at their numbers in a file of that name, with other lines
around them and another file beside it.

A label says what a command means, by a rule for each kind of command; no label was made by
running anything.
"""

from __future__ import annotations

import json
import random
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from srl_envs.commands import Command, CommandError, grammar_named
from srl_envs.trajectory import ExpertStep, Trajectory

_PATH = r"(?P<path>[\w./-]+)"
_NUMBERED = re.compile(r"^ *(\d+)\t(.*)$")
_AROUND = 12  # other lines before and after those that the expert saw

Rewrites = tuple[list[str], list[str]]
"""Shell commands that do the same, and near misses."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One step with other commands for it.

    Attributes:
        trajectory: Its steps before ``index`` make the state.
        index: Of the step, from 0.
        kind: Of the command: ``"read lines"``.
        equivalent: Actions that do the same.
        other: Actions that do something else.
    """

    trajectory: Trajectory
    index: int
    kind: str
    equivalent: tuple[str, ...]
    other: tuple[str, ...]


def labelled(trajectories: Iterable[Trajectory]) -> Iterator[Labelled]:
    """The steps of which the rules know other spellings.

    Args:
        trajectories: Of the domain ``"swe"``.
    """
    for trajectory in trajectories:
        grammar = grammar_named(trajectory.grammar)
        for index, step in enumerate(trajectory.steps):
            try:
                command = grammar.parse(step.action)
            except CommandError:
                continue
            if "checks" in trajectory.metadata:  # a shell task: the state can be made
                if command.tool == "bash" and (found := _shell(command.arguments["command"])):
                    kind, (same, other) = found
                    yield _of(trajectory, index, kind, same, other)
            elif rebuilt := _rebuilt(trajectory, index, command):
                yield rebuilt


def _of(
    trajectory: Trajectory, index: int, kind: str, same: Sequence[str], other: Sequence[str]
) -> Labelled:
    grammar = grammar_named(trajectory.grammar)

    def written(command: str) -> str:
        return grammar.command("bash", command=command).text

    return Labelled(trajectory, index, kind, tuple(map(written, same)), tuple(map(written, other)))


# ---------------------------------------------------------------- rules of the shell


def _shell(command: str) -> tuple[str, Rewrites] | None:
    """The kind of a command, with equivalent and other ones; None if no rule knows it."""
    for kind, pattern, rule in _RULES:
        if found := re.fullmatch(pattern, command, re.DOTALL):
            return kind, rule(**found.groupdict())
    return None


def _first_lines(path: str, count: str) -> Rewrites:
    n = int(count)
    return (
        [f"sed -n 1,{n}p {path}", f"sed {n}q {path}", f"awk 'NR <= {n}' {path}"],
        [f"head -n {n - 1} {path}", f"tail -n +{n} {path}", f"cat -n {path} | head -n {n}"],
    )


def _lines(path: str, first: str, last: str) -> Rewrites:
    a, b = int(first), int(last)
    return (
        [
            f"head -n {b} {path} | tail -n +{a}",
            f"awk 'NR >= {a} && NR <= {b}' {path}",
            f"cat {path} | sed -n {a},{b}p",
            f"tail -n +{a} {path} | head -n {b - a + 1}",
        ],
        [
            f"sed -n '{a},{b + 1}p' {path}",
            f"sed -n '{a + 1},{b}p' {path}",
            f"sed '{a},{b}p' {path}",
            f"sed -n '{a},{b}p' {path}.orig",
        ],
    )


def _numbered_lines(path: str, first: str, last: str) -> Rewrites:
    a, b = int(first), int(last)
    return (
        [
            f"cat -n {path} | sed -n {a},{b}p",
            f"nl -ba {path} | head -n {b} | tail -n +{a}",
            f"nl -b a {path} | awk 'NR >= {a} && NR <= {b}'",
        ],
        [
            f"sed -n '{a},{b}p' {path}",
            f"nl -ba {path} | sed -n '{a},{b + 1}p'",
            f"nl -ba {path}.orig | sed -n '{a},{b}p'",
        ],
    )


def _whole(path: str) -> Rewrites:
    return (
        [f"sed -n '1,$p' {path}", f"tail -n +1 {path}", f"cat < {path}", f"awk 1 {path}"],
        [f"cat -n {path}", f"tail -n +2 {path}", f"wc -l {path}", f"cat {path} {path}"],
    )


def _matches(path: str, pattern: str) -> Rewrites:
    return (
        [
            f"grep -n -e {pattern} {path}",
            f"cat {path} | grep -n {pattern}",
            f"grep --line-number {pattern} {path}",
        ],
        [
            f"grep {pattern} {path}",
            f"grep -nv {pattern} {path}",
            f"grep -c {pattern} {path}",
            f"grep -n {pattern} {path}.orig",
        ],
    )


def _counted(path: str, pattern: str) -> Rewrites:
    return (
        [f"cat {path} | grep -c {pattern}", f"awk '/{pattern}/' {path} | wc -l"],
        [f"grep -n {pattern} {path}", f"grep -c {pattern}X {path}", f"wc -l {path}"],
    )


def _folder(path: str) -> Rewrites:
    return (
        [f"ls {path}/", f"ls -1 {path}", f"(cd {path} && ls)"],
        [f"ls -a {path}", f"ls -d {path}", f"ls -l {path}", "ls"],
    )


def _files(path: str) -> Rewrites:
    return (
        [f"find {path} ! -type d | sort", f"find {path} -type f -print | LC_ALL=C sort"],
        [f"find {path} | sort", f"find {path} -type f | wc -l", f"find {path} -type d | sort"],
    )


def _modes(path: str) -> Rewrites:
    return (
        [f"stat --format='%a %n' {path}", f"find {path} -printf '%m %p\\n' | sort -k2"],
        [f"stat -c '%n %a' {path}", f"stat -c '%A %n' {path}", f"ls {path}"],
    )


def _written(command: str, path: str) -> Rewrites:
    return (
        [
            f"{command} | tee {path} > /dev/null",
            f"{{ {command}; }} > {path}",
            f"{command} > .part && mv .part {path}",
        ],
        [command, f"{command} > {path}.out", f"{command} | wc -c > {path}", f": > {path}"],
    )


def _changed(script: str, path: str) -> Rewrites:
    return (
        [
            f"sed --in-place {script} {path}",
            f"for f in {path}; do sed {script} $f > .part && cat .part > $f && rm .part; done",
        ],
        [f"sed {script} {path}", f"sed -i.bak {script} {path}", f"cat {path}"],
    )


def _moved(path: str, target: str) -> Rewrites:
    return (
        [f"cp -p {path} {target} && rm {path}", f"mv -n -- {path} {target}"],
        [f"cp {path} {target}", f"rm {path}", f"mv {path} {target}.bak"],
    )


def _removed(path: str) -> Rewrites:
    return (
        [f"rm -f -- {path}", f"for f in {path}; do rm $f; done"],
        [f"ls {path}", f"mkdir removed && mv {path} removed/"],
    )


def _allowed(mode: str, path: str) -> Rewrites:
    words = {"600": "u=rw,go=", "700": "u=rwx,go=", "644": "u=rw,go=r", "755": "u=rwx,go=rx"}
    return (
        [f"chmod 0{mode} {path}", f"chmod {words.get(mode, mode)} {path}"],
        [f"chmod 640 {path}", f"stat -c %a {path}", f"chmod 000 {path}"],
    )


_GLOB = r"(?P<path>[\w./*-]+)"
_RULES = (
    ("first lines", rf"head -n (?P<count>\d+) {_PATH}", _first_lines),
    ("lines", rf"sed -n '?(?P<first>\d+),(?P<last>\d+)p'? {_PATH}", _lines),
    (
        "numbered lines",
        rf"nl -ba {_PATH} \| sed -n '(?P<first>\d+),(?P<last>\d+)p'",
        _numbered_lines,
    ),
    ("whole file", rf"cat {_PATH}", _whole),
    ("matches", rf"grep -n (?P<pattern>'[^']+'|\"[^\"$`]+\"|\w+) {_PATH}", _matches),
    ("count", rf"grep -c (?P<pattern>\w+) {_PATH}", _counted),
    ("folder", rf"ls {_PATH}", _folder),
    ("files", rf"find {_PATH} -type f \| sort", _files),
    ("modes", rf"stat -c '%a %n' {_GLOB}", _modes),
    ("change", rf"sed -i (?P<script>'[^']+') {_GLOB}", _changed),
    ("move", rf"mv {_PATH} (?P<target>[\w./-]+[\w-])", _moved),
    ("remove", rf"rm {_GLOB}", _removed),
    ("mode", rf"chmod (?P<mode>\d+) {_GLOB}", _allowed),
    ("write", r"(?P<command>[^>;&]+) > (?P<path>[\w./-]+)", _written),
)


# ---------------------------------------------------------------- states from recordings


def _rebuilt(trajectory: Trajectory, index: int, command: Command) -> Labelled | None:
    """A step of a recording in a state that holds what it saw or changes."""
    step = trajectory.steps[index]
    if command.tool == "str_replace_editor":
        return _editor(trajectory, step, command)
    if command.tool != "bash" or not (found := _shell(command.arguments["command"])):
        return None
    kind, (same, other) = found
    lines = _seen(kind, step, command.arguments["command"])
    path = re.search(_PATH + r"(?= \||$)", command.arguments["command"])
    if not lines or path is None or path["path"].startswith("/"):
        return None
    return _of(_with_file(trajectory, step, path["path"], lines), 0, kind, same, other)


def _seen(kind: str, step: ExpertStep, command: str) -> dict[int, str]:
    """The lines of the file that a command showed, by number; empty if that is not known."""
    body = re.search(r"<output>\n(.*?)\n?</output>", step.observation, re.DOTALL)
    shown = body[1] if body else step.observation
    if not shown.strip() or "truncated" in shown or "elided" in step.observation:
        return {}
    lines = shown.split("\n")
    if kind in ("lines", "first lines", "whole file"):
        first = int(found[1]) if (found := re.search(r"sed -n '?(\d+),", command)) else 1
        return {first + number: line for number, line in enumerate(lines)}
    pattern = _NUMBERED if kind == "numbered lines" else re.compile(r"^(\d+):(.*)$")
    found_lines = [pattern.match(line) for line in lines]
    if kind not in ("numbered lines", "matches") or not all(found_lines):
        return {}
    return {int(one[1]): one[2] for one in found_lines if one}


def _editor(trajectory: Trajectory, step: ExpertStep, command: Command) -> Labelled | None:
    """A call of the file tool, and what does the same in the shell."""
    arguments, grammar = command.arguments, grammar_named(trajectory.grammar)
    path = arguments["path"].lstrip("/").partition("/")[2]  # without the repository's folder
    if not re.fullmatch(_PATH, path):
        return None
    full = f"/srv/{path}"

    def call(**changed: str) -> str:
        return grammar.command(command.tool, **{**arguments, "path": full, **changed}).text

    if arguments["command"] == "view" and "view_range" in arguments:
        lines = {
            int(found[1]): found[2]
            for line in step.observation.splitlines()
            if (found := _NUMBERED.match(line))
        }
        if len(lines) < 3:
            return None
        a, b = min(lines), max(lines)
        if json.loads(arguments["view_range"]) != [a, b]:
            return None
        made = _with_file(trajectory, replace(step, action=call()), path, lines)
        pair = _of(
            made,
            0,
            "view",
            [f"cat -n {path} | sed -n {a},{b}p", f"nl -ba {full} | head -n {b} | tail -n +{a}"],
            [f"sed -n {a},{b}p {path}"],
        )
        near = (call(view_range=f"[{a}, {b + 2}]"), call(path=f"{full}.orig"))
        return replace(pair, other=(*pair.other, *near))
    if arguments["command"] != "str_replace" or len(arguments["old_str"]) < 10:
        return None
    old, new = arguments["old_str"], arguments.get("new_str", "")
    lines = dict(enumerate(old.strip("\n").split("\n"), _AROUND))
    made = _with_file(trajectory, replace(step, action=call()), path, lines)

    def python(with_: str, where: str = path) -> str:
        return (
            "python3 - <<'END'\nfrom pathlib import Path\n"
            f"file = Path({where!r})\n"
            f"file.write_text(file.read_text().replace({old!r}, {with_!r}, 1))\nEND"
        )

    pair = _of(made, 0, "edit", [python(new)], [python(new + "#"), python(new, f"{path}.orig")])
    near = (call(new_str=new + " "), call(new_str=old))
    return replace(pair, other=(*pair.other, *near))


def _with_file(
    trajectory: Trajectory, step: ExpertStep, path: str, lines: dict[int, str]
) -> Trajectory:
    """A trajectory of one step, in a folder that holds the file with these lines."""
    whole = re.match(r"(?:```bash\n)?cat ", step.action) is not None
    last = max(lines) if whole else max(lines) + _AROUND
    text = "".join(f"{lines.get(i, f'other line {i}')}\n" for i in range(1, last + 1))
    other = text.replace("e", "E", 3).replace("a", "A")
    made = " && ".join(
        f"printf %s {shlex.quote(content)} > {shlex.quote(name)}"
        for name, content in ((path, text), (f"{path}.orig", other + "last\n"))
    )
    folder = shlex.quote(path.rpartition("/")[0] or ".")
    return Trajectory(
        f"{trajectory.id}@{abs(hash_of(step.action + text)):x}",
        trajectory.prompt,
        (step,),
        domain="swe",
        metadata={
            "grammar": trajectory.grammar,
            "image": "srl-base:bookworm",
            "workdir": "/srv",
            "setup_command": f"mkdir -p {folder} && {made}",
        },
    )


def hash_of(text: str) -> int:
    """A number that is the same in every process."""
    return int.from_bytes(random.Random(text).randbytes(6), "big")


def sampled(pairs: Sequence[Labelled], most: int, seed: int = 0) -> list[Labelled]:
    """At most so many of each kind, drawn at random."""
    draw, kinds = random.Random(seed), dict[str, list[Labelled]]()
    for pair in pairs:
        kinds.setdefault(pair.kind, []).append(pair)
    return [pair for group in kinds.values() for pair in draw.sample(group, min(most, len(group)))]


def as_row(pair: Labelled) -> str:
    """A pair as a line of JSON, to read."""
    return json.dumps(
        {
            "id": pair.trajectory.id,
            "kind": pair.kind,
            "expert": pair.trajectory.steps[pair.index].action,
            "equivalent": pair.equivalent,
            "other": pair.other,
        },
        ensure_ascii=False,
    )
