"""Families that change what is in files: edit a value, replace a word, mend a script."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from srl_envs.data.shell.task import (
    PEOPLE,
    STEMS,
    ShellTask,
    Turn,
    folder_name,
    lines,
    some,
    unchanged,
)

_KEYS = ("port", "workers", "timeout", "retries", "limit")
_SENTENCES = (
    "{0} opened the window.",
    "Later {0} wrote to {1}.",
    "Nobody saw {1} at the station.",
    "{1} and {0} left at noon.",
    "The letter came from {0}.",
    "It rained for three days.",
    "Nothing else was found.",
)


def edit(draw: random.Random, difficulty: int) -> ShellTask:
    """A value in a file: the only one, that of one section, or that of some files."""
    folder, key, value = folder_name(draw), draw.choice(_KEYS), draw.randint(100, 9999)
    change = f"s/^{key}=.*/{key}={value}/"
    if difficulty == 1:
        path = f"{folder}/{draw.choice(STEMS)}.conf"
        before, after = _settings(draw, key, value)
        files, changed = {path: before}, {path: after}
        ask = f"Set {key} to {value} in {path}. Change nothing else."
        look = Turn("I look at the file.", f"cat {path}", before)
        thought, command = (
            f"The line that starts with {key}= gets the new value.",
            (f"sed -i '{change}' {path}"),
        )
    elif difficulty == 2:
        path, sections = f"{folder}/{draw.choice(STEMS)}.conf", draw.sample(STEMS, 3)
        wanted = draw.choice(sections)
        parts = {name: _settings(draw, key, value) for name in sections}
        before = "".join(f"[{name}]\n{part[0]}" for name, part in parts.items())
        after = "".join(f"[{n}]\n{part[n == wanted]}" for n, part in parts.items())
        files, changed = {path: before}, {path: after}
        ask = f"In {path} set {key} to {value} in the section {wanted} only."
        look = Turn("I look at the sections.", f"cat {path}", before)
        thought = f"sed changes {key} from the line [{wanted}] up to the next section only."
        command = f"sed -i '/^\\[{wanted}\\]/,/^\\[/ {change}' {path}"
    else:
        modes = draw.sample(["live", "live", "test", "test"], 4)
        names = some(draw, STEMS, 4)
        parts = {f"{folder}/{name}.conf": _settings(draw, key, value) for name in names}
        tagged = dict(zip(parts, modes, strict=True))
        files = {path: f"mode={tagged[path]}\n{part[0]}" for path, part in parts.items()}
        changed = {
            path: f"mode={tagged[path]}\n{part[tagged[path] == 'test']}"
            for path, part in parts.items()
        }
        ask = f"Set {key} to {value} in those files of {folder} that have the line mode=test."
        found = lines([f"{path}:mode={mode}" for path, mode in tagged.items()])
        look = Turn("I see which files have which mode.", f"grep '^mode=' {folder}/*.conf", found)
        thought = "grep -l lists the files with mode=test, and sed changes these."
        command = f"grep -l '^mode=test$' {folder}/*.conf | xargs sed -i '{change}'"
    last = next(path for path in files if files[path] != changed[path])
    seen = lines([line for line in changed[last].splitlines() if line.startswith(key)])
    turns = (
        look,
        Turn(thought, command),
        Turn("I check the new value.", f"grep '^{key}' {last}", seen),
    )
    return ShellTask(ask, files, turns, (unchanged(changed),))


def replace(draw: random.Random, difficulty: int) -> ShellTask:
    """A name in texts: of one file, of a folder, or of the files with an ending."""
    folder = folder_name(draw)
    old, other, new = (name.capitalize() for name in draw.sample(PEOPLE, 3))
    names = some(draw, STEMS, 1 if difficulty == 1 else 3)
    endings = ["txt", "txt", "md"] if difficulty == 3 else ["txt"] * 3
    files = {
        f"{folder}/{name}.{ending}": _text(draw, old, other)
        for name, ending in zip(names, endings, strict=False)
    }
    change = f"s/{old}/{new}/g"
    if difficulty == 1:
        where = what = next(iter(files))
        chosen = set(files)
    elif difficulty == 2:
        where, what, chosen = f"{folder}/*", f"all files of {folder}", set(files)
    else:
        where, what = f"{folder}/*.txt", f"the .txt files of {folder}, and in no other file,"
        chosen = {path for path in files if path.endswith(".txt")}
    changed = {p: text.replace(old, new) if p in chosen else text for p, text in files.items()}
    ask = draw.choice(
        (
            f"Replace the name {old} by {new} everywhere in {what.rstrip(',')}.",
            f"{old} is called {new} now: change every mention in {what.rstrip(',')}.",
        )
    )
    grep = f"grep -c {old} {where}"
    counts = {p: sum(old in line for line in files[p].splitlines()) for p in sorted(chosen)}
    before = lines(
        list(counts.values()) if len(counts) == 1 else [f"{p}:{n}" for p, n in counts.items()]
    )
    turns = (
        Turn(f"I count the lines with {old}.", grep, before),
        Turn(
            "sed with the flag g replaces every mention, several in a line too.",
            f"sed -i '{change}' {where}",
        ),
        Turn("I check that none is left.", f"cat {where} | grep -c {old} || true", "0\n"),
    )
    return ShellTask(ask, files, turns, (unchanged(changed),))


@dataclass(frozen=True, slots=True)
class _Bug:
    """A script of one line: what it should print, the line, what is wrong in it, what is right."""

    purpose: str
    line: str
    wrong: str
    right: str
    does: Callable[[list[tuple[str, int]]], object]


_Rows = list[tuple[str, int]]


def _row(row: tuple[str, int]) -> str:
    return f"{row[0]} {row[1]}"


def _most_frequent(rows: _Rows) -> str:
    return Counter(word for word, _ in rows).most_common(1)[0][0]


_BUGS: dict[int, tuple[_Bug, ...]] = {
    1: (
        _Bug(
            "the sum of the numbers in the second column",
            "awk '{ sum += $# } END { print sum }' \"$1\"",
            "1",
            "2",
            lambda rows: sum(number for _, number in rows),
        ),
        _Bug("the first line", '# -n 1 "$1"', "tail", "head", lambda rows: _row(rows[0])),
        _Bug("the number of lines", 'wc -# < "$1"', "c", "l", len),
    ),
    2: (
        _Bug(
            "the largest number of the second column",
            "awk '{ print $2 }' \"$1\" | sort -# | head -n 1",
            "n",
            "nr",
            lambda rows: max(number for _, number in rows),
        ),
        _Bug(
            "how many lines do not start with the letter a",
            "grep -# '^a' \"$1\"",
            "c",
            "vc",
            lambda rows: sum(not word.startswith("a") for word, _ in rows),
        ),
        _Bug(
            "the words of the first column in reverse alphabetical order",
            "cut -d' ' -f1 \"$1\" | sort#",
            "",
            " -r",
            lambda rows: "\n".join(sorted((word for word, _ in rows), reverse=True)),
        ),
    ),
    3: (
        _Bug(
            "how many different words the first column has",
            "cut -d' ' -f1 \"$1\" | # | wc -l",
            "uniq",
            "sort -u",
            lambda rows: len({word for word, _ in rows}),
        ),
        _Bug(
            "the most frequent word of the first column",
            "cut -d' ' -f1 \"$1\" | #uniq -c | sort -rn | head -n 1 | awk '{ print $2 }'",
            "",
            "sort | ",
            _most_frequent,
        ),
        _Bug(
            "the sum of the second column over lines whose word is longer than four letters",
            "awk 'length($1) # 4 { sum += $2 } END { print sum + 0 }' \"$1\"",
            ">=",
            ">",
            lambda rows: sum(number for word, number in rows if len(word) > 4),
        ),
    ),
}


def mend(draw: random.Random, difficulty: int) -> ShellTask:
    """A script of one line with one mistake; it is tried on data that the agent never sees."""
    bug = draw.choice(_BUGS[difficulty])
    folder = folder_name(draw)
    script, data = f"{folder}/{draw.choice(PEOPLE)}.sh", f"{folder}/{draw.choice(STEMS)}.txt"
    rows, hidden = _rows(draw), _rows(draw)
    broken, mended = (lines([bug.line.replace("#", part)]) for part in (bug.wrong, bug.right))
    ask = (
        f"Given a file such as {data}, `sh {script} {data}` should print {bug.purpose}. The script "
        "has one mistake: mend it."
    )
    result = f"{bug.does(rows)}\n"
    turns = (
        Turn("I read the script.", f"cat {script}", broken),
        Turn(
            f"To print {bug.purpose}, I write the line with {bug.right.strip(' |')!r}.",
            f"cat > {script} <<'END'\n{mended}END",
        ),
        Turn("I try it on the data.", f"sh {script} {data}", result),
    )
    text = lines(list(map(_row, hidden)))
    tried = f"cat > /tmp/rows.txt <<'END'\n{text}END\nsh {script} /tmp/rows.txt"
    files = {script: broken, data: lines(list(map(_row, rows)))}
    checks = (
        (tried, f"{bug.does(hidden)}\n"),
        (f"sh {script} {data}", result),
        unchanged({data: files[data]}),
    )
    return ShellTask(ask, files, turns, checks)


def _settings(draw: random.Random, key: str, value: int) -> tuple[str, str]:
    """Lines of settings with an old value of the key, and with the new one."""
    others = [f"{name}={draw.randint(1, 99)}" for name in draw.sample(_KEYS, 3) if name != key]
    place = draw.randint(0, len(others))
    before, after = (
        lines([*others[:place], f"{key}={number}", *others[place:]])
        for number in (draw.randint(1, 99), value)
    )
    return before, after


def _text(draw: random.Random, old: str, other: str) -> str:
    chosen = [*draw.sample(_SENTENCES[:4], 3), *draw.sample(_SENTENCES[5:], 1), _SENTENCES[4]]
    draw.shuffle(chosen)
    return lines([sentence.format(old, other) for sentence in chosen])


def _rows(draw: random.Random) -> _Rows:
    """Rows on which each script prints something else with its mistake than without.

    One word is the most frequent, not in one piece and not the last by the alphabet; one
    has four letters; first and last word differ; the number of rows is odd.
    """
    stems = [stem for stem in STEMS if stem != "opal"]
    often, *words = sorted(draw.sample(stems, 4))
    mixed = [often, words[0], often, words[1], words[0], often, words[2], "opal", often]
    others = [stem for stem in stems if stem not in (often, *words)]
    mixed += draw.sample(others, draw.choice((2, 4)))
    return [(word, draw.randint(2, 90)) for word in mixed]
