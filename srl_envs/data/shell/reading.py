"""Families whose answer is read out of files: count, find, total, extract, rank."""

from __future__ import annotations

import random
from collections import Counter

from srl_envs.data.shell.task import (
    FOLDERS,
    PEOPLE,
    STEMS,
    ShellTask,
    Turn,
    folder_name,
    lines,
    some,
    unchanged,
)

_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")
_EVENTS = ("started", "stopped", "timed out", "connected", "retried", "saved", "rejected")
_CITIES = ("Basel", "Cairo", "Dakar", "Evora", "Kyoto", "Lima", "Oslo", "Quito", "Riga", "Turin")
_COLUMNS = ("name", "city", "amount")


def count(draw: random.Random, difficulty: int) -> ShellTask:
    """Lines of a log with a word: in one file, in a folder, or of two words."""
    folder, level = folder_name(draw), draw.choice(_LEVELS)
    services = some(draw, STEMS, 3)
    names = some(draw, STEMS, 1 if difficulty == 1 else draw.randint(2, 4))
    files = {f"{folder}/{name}.log": _log(draw, services, level) for name in names}
    first, text = next(iter(files.items()))
    if difficulty == 1:
        where, what, command = first, f"contain {level}", f"grep -c {level} {first}"
        wanted = [line for line in text.splitlines() if level in line]
    elif difficulty == 2:
        where, what = f"the files in {folder}, taken together,", f"contain {level}"
        command = f"cat {folder}/*.log | grep -c {level}"
        wanted = [line for text in files.values() for line in text.splitlines() if level in line]
    else:
        where, service = f"the files in {folder}, taken together,", draw.choice(services)
        what = f"contain {level} and come from {service}"
        command = f"cat {folder}/*.log | grep '{level} {service}:' | wc -l"
        start = f"{level} {service}:"
        wanted = [line for text in files.values() for line in text.splitlines() if start in line]
    answer = f"{len(wanted)}\n"
    ask = draw.choice(
        (
            f"How many lines of {where} {what}? Write the number alone into answer.txt.",
            f"Count the lines of {where} that {what}, and put just the number into answer.txt.",
        )
    )
    turns = (
        Turn(
            "I look at the first lines to see how an entry is written.",
            f"head -n 3 {first}",
            "".join(text.splitlines(keepends=True)[:3]),
        ),
        Turn(
            f"There is one entry a line with its level, so grep finds and counts "
            f"those that {what}.",
            f"{command} > answer.txt",
        ),
        Turn("I check what was written.", "cat answer.txt", answer),
    )
    return ShellTask(ask, files, turns, (("cat answer.txt", answer), unchanged(files)))


def find(draw: random.Random, difficulty: int) -> ShellTask:
    """The one file with a name, with a line, or with a line and an ending."""
    top = folder_name(draw)
    below = some(draw, STEMS, 3)
    owner, *others = draw.sample(PEOPLE, 5)
    stems = some(draw, [word for word in STEMS if word not in below], 6)
    paths = [f"{top}/{draw.choice(below)}/{stem}.{draw.choice(('txt', 'md'))}" for stem in stems]
    paths.sort()
    files = {
        path: f"owner: {draw.choice(others)}\npages: {draw.randint(2, 90)}\n" for path in paths
    }
    wanted = draw.choice(paths)
    if difficulty == 1:
        name = wanted.rpartition("/")[2]
        what, command = f"is called {name}", f"find {top} -name {name}"
        thought = "The name is known, so find gives the path."
    elif difficulty == 2:
        files[wanted] = f"owner: {owner}\npages: {draw.randint(2, 90)}\n"
        what, command = f"has the line 'owner: {owner}'", f"grep -rl '^owner: {owner}$' {top}"
        thought = "grep -rl names the files with a line, in all folders below."
    else:
        files[wanted] = f"owner: {owner}\npages: {draw.randint(2, 90)}\n"
        ending, not_it = wanted.rpartition(".")[2], "md" if wanted.endswith("txt") else "txt"
        decoy = f"{wanted.rpartition('.')[0]}.{not_it}"
        files[decoy] = files[wanted]
        what = f"ends in .{ending} and has the line 'owner: {owner}'"
        command = f"grep -rl --include='*.{ending}' '^owner: {owner}$' {top}"
        thought = f"grep -rl with --include looks into the .{ending} files only."
    files = dict(sorted(files.items()))
    ask = draw.choice(
        (
            f"One file somewhere below {top} {what}. Write its path, starting with {top}/, into "
            "answer.txt.",
            f"Find the file below the folder {top} that {what}; answer.txt must hold its path, "
            f"which starts with {top}/.",
        )
    )
    answer = f"{wanted}\n"
    turns = (
        Turn(
            f"I first see which folders {top} has.",
            f"ls {top}",
            lines(sorted({path.split("/")[1] for path in files})),
        ),
        Turn(thought, f"{command} > answer.txt"),
        Turn("I check that it is one path.", "cat answer.txt", answer),
    )
    return ShellTask(ask, files, turns, (("cat answer.txt", answer), unchanged(files)))


def total(draw: random.Random, difficulty: int) -> ShellTask:
    """The sum of a column: of all rows, of those with a value, or by value."""
    path, rows = _table(draw, 6 + 3 * difficulty)
    text = _csv(rows)
    city = draw.choice([row[1] for row in rows])
    skip = f"tail -n +2 {path} | awk -F, "
    if difficulty == 1:
        what, chosen = "all rows", rows
        command = skip + "'{ sum += $3 } END { print sum }'"
    elif difficulty == 2:
        what, chosen = f"the rows with the city {city}", [row for row in rows if row[1] == city]
        command = skip + f"'$2 == \"{city}\" {{ sum += $3 }} END {{ print sum }}'"
    else:
        least = draw.randint(20, 60)
        what = f"the rows with the city {city} or an amount above {least}"
        chosen = [row for row in rows if row[1] == city or row[2] > least]
        command = skip + f"'$2 == \"{city}\" || $3 > {least} {{ sum += $3 }} END {{ print sum }}'"
    answer = f"{sum(row[2] for row in chosen)}\n"
    ask = f"Add up the amounts of {what} in {path} and write the sum alone into answer.txt."
    turns = (
        Turn(
            "I look at the columns.",
            f"head -n 3 {path}",
            "".join(text.splitlines(keepends=True)[:3]),
        ),
        Turn(
            "The amount is the third column and the first line is a header, so awk adds up "
            f"the third field of {what}, without the header.",
            f"{command} > answer.txt",
        ),
        Turn("I check the sum.", "cat answer.txt", answer),
    )
    return ShellTask(
        ask, {path: text}, turns, (("cat answer.txt", answer), unchanged({path: text}))
    )


def extract(draw: random.Random, difficulty: int) -> ShellTask:
    """A column of a table: whole, of some rows, or two columns of some rows in another order."""
    path, rows = _table(draw, 5 + 3 * difficulty)
    text, target = _csv(rows), f"{draw.choice(STEMS)}.txt"
    city = draw.choice([row[1] for row in rows])
    column = draw.randrange(3)
    skip = f"tail -n +2 {path} | "
    if difficulty == 1:
        what = f"the {_COLUMNS[column]} of every row"
        command = skip + f"cut -d, -f{column + 1}"
        result = lines([row[column] for row in rows])
    elif difficulty == 2:
        column = draw.choice((0, 2))
        what = f"the {_COLUMNS[column]} of every row with the city {city}"
        command = skip + f"awk -F, '$2 == \"{city}\" {{ print ${column + 1} }}'"
        result = lines([row[column] for row in rows if row[1] == city])
    else:
        what = f"amount and name, with a blank between them, of every row with the city {city}"
        command = skip + f"awk -F, '$2 == \"{city}\" {{ print $3, $1 }}'"
        result = lines([f"{row[2]} {row[0]}" for row in rows if row[1] == city])
    ask = f"Write {what} in {path} into {target}, in order and without the header."
    turns = (
        Turn(
            "I look at the columns.",
            f"head -n 3 {path}",
            "".join(text.splitlines(keepends=True)[:3]),
        ),
        Turn(
            f"Fields are parted by commas and the first line is a header: I leave it out and "
            f"print {what}.",
            f"{command} > {target}",
        ),
        Turn("I check the result.", f"cat {target}", result),
    )
    return ShellTask(ask, {path: text}, turns, ((f"cat {target}", result), unchanged({path: text})))


def rank(draw: random.Random, difficulty: int) -> ShellTask:
    """A list of names: sorted, without repetition, or the most frequent ones."""
    path, target = f"{draw.choice(FOLDERS)}/{draw.choice(STEMS)}.txt", f"{draw.choice(PEOPLE)}.txt"
    people = draw.sample(PEOPLE, 4 + difficulty)
    if difficulty == 1:
        names = draw.sample(people, len(people))
        what, command, result = "all names", f"sort {path}", lines(sorted(names))
        how = "in alphabetical order"
    elif difficulty == 2:
        names = [*people, *draw.choices(people, k=5)]
        what, command, result = "each different name once", f"sort -u {path}", lines(sorted(people))
        how = "in alphabetical order"
    else:
        names = [name for times, name in enumerate(people, start=1) for _ in range(times)]
        most = draw.randint(2, 4)
        what, how = f"the {most} most frequent names", "the most frequent first"
        command = f"sort {path} | uniq -c | sort -rn | head -n {most} | awk '{{ print $2 }}'"
        result = lines([name for name, _ in Counter(names).most_common(most)])
    draw.shuffle(names)
    if names == sorted(names):
        names.reverse()
    text = lines(names)
    ask = f"{path} has one name a line. Write {what} into {target}, {how}, one a line."
    turns = (
        Turn("I look at the list.", f"head -n 4 {path}", lines(names[:4])),
        Turn(f"I need {what}, {how}.", f"{command} > {target}"),
        Turn("I check the result.", f"cat {target}", result),
    )
    return ShellTask(ask, {path: text}, turns, ((f"cat {target}", result), unchanged({path: text})))


def _log(draw: random.Random, services: list[str], level: str) -> str:
    entries = [
        f"{hour:02}:{draw.randrange(60):02} {draw.choice(_LEVELS)} {draw.choice(services)}: "
        f"{draw.choice(_EVENTS)}"
        for hour in range(7, 7 + draw.randint(6, 12))
    ]
    return lines([*entries, f"23:59 {level} {services[0]}: {draw.choice(_EVENTS)}"])


def _table(draw: random.Random, count: int) -> tuple[str, list[tuple[str, str, int]]]:
    path = f"{draw.choice(FOLDERS)}/{draw.choice(STEMS)}.csv"
    cities = draw.sample(_CITIES, 3)
    names = draw.sample(PEOPLE, count)
    return path, [(name, draw.choice(cities), draw.randint(3, 99)) for name in names]


def _csv(rows: list[tuple[str, str, int]]) -> str:
    return lines([",".join(_COLUMNS), *(f"{name},{city},{amount}" for name, city, amount in rows)])
