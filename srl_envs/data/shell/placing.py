"""Families about the files themselves: rename, move, delete, change their modes."""

from __future__ import annotations

import random
from collections.abc import Mapping

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


def rename(draw: random.Random, difficulty: int) -> ShellTask:
    """One file, all with an ending, or those with a line."""
    folder = folder_name(draw)
    stems = some(draw, STEMS, 4)
    paths = [f"{folder}/{stem}.txt" for stem in stems]
    done = sorted(draw.sample(paths, 2))
    files = {
        path: f"by: {draw.choice(PEOPLE)}\nstatus: {'done' if path in done else 'open'}\n"
        for path in paths
    }
    if difficulty == 1:
        old, new = draw.choice(paths), f"{folder}/{draw.choice(PEOPLE)}.txt"
        named = {old: new}
        ask = f"Rename {old} to {new}."
        thought, command = "mv gives the file its new name.", f"mv {old} {new}"
    elif difficulty == 2:
        files[f"{folder}/zebra.log"] = "kept\n"
        ending = draw.choice(("md", "text", "rst"))
        named = {path: f"{path.removesuffix('txt')}{ending}" for path in paths}
        ask = f"Every .txt file in {folder} must end in .{ending} instead. Rename them."
        thought = "The loop takes each name without its ending and adds the new one."
        command = f'for f in {folder}/*.txt; do mv "$f" "${{f%.txt}}.{ending}"; done'
    else:
        prefix = draw.choice(("done", "old", "closed"))
        named = {path: path.replace("/", f"/{prefix}-") for path in done}
        ask = (
            f"Put {prefix}- in front of the names of those files in {folder} that have the line "
            "'status: done'."
        )
        thought = "grep -l lists the files with the line, and the loop renames each of them."
        command = (
            f"for f in $(grep -l '^status: done$' {folder}/*); do "
            f'mv "$f" "{folder}/{prefix}-${{f##*/}}"; done'
        )
    after = {named.get(path, path): text for path, text in files.items()}
    return _task(ask, files, after, folder, thought, command)


def move(draw: random.Random, difficulty: int) -> ShellTask:
    """Files with an ending, those of each ending, or the larger ones, into new folders."""
    folder, target = folder_name(draw), draw.choice(STEMS)
    endings = draw.sample(("csv", "log", "md", "txt"), 2)
    stems = some(draw, STEMS, 5)
    mixed = [*endings, *draw.choices(endings, k=3)]
    paths = [f"{folder}/{stem}.{end}" for stem, end in zip(stems, mixed, strict=True)]
    files = {path: f"{draw.choice(PEOPLE)}\n" for path in paths}
    if difficulty == 1:
        end = endings[0]
        moved = {path: f"{target}/{path.partition('/')[2]}" for path in paths if path.endswith(end)}
        ask = f"Make a folder {target} and move all .{end} files of {folder} into it."
        command = f"mkdir {target} && mv {folder}/*.{end} {target}/"
        thought = f"The folder comes first, then *.{end} takes all such files."
    elif difficulty == 2:
        moved = {p: f"{folder}/{p.rpartition('.')[2]}/{p.partition('/')[2]}" for p in paths}
        first, second = endings
        ask = (
            f"Sort the files of {folder} into new folders by their endings: {folder}/{first} and "
            f"{folder}/{second}."
        )
        command = (
            f"for e in {first} {second}; do mkdir {folder}/$e; mv {folder}/*.$e {folder}/$e/; done"
        )
        thought = "The loop makes a folder for each ending and moves the files with it."
    else:
        least = draw.choice((100, 200, 300))
        large = sorted(draw.sample(paths, 2))
        files = {
            path: lines(draw.choices(PEOPLE, k=least // 2 if path in large else 5))
            for path in paths
        }
        moved = {path: f"{target}/{path.partition('/')[2]}" for path in large}
        ask = (
            f"Make a folder {target} and move those files of {folder} into it that are larger than "
            f"{least} bytes."
        )
        command = (
            f"mkdir {target} && find {folder} -type f -size +{least}c -exec mv {{}} {target}/ \\;"
        )
        thought = f"find -size +{least}c finds the files with more than {least} bytes."
    after = {moved.get(path, path): text for path, text in files.items()}
    return _task(ask, files, after, folder, thought, command)


def delete(draw: random.Random, difficulty: int) -> ShellTask:
    """Files with an ending, empty files, or copies of what is still there."""
    folder = folder_name(draw)
    stems = some(draw, STEMS, 5)
    end = draw.choice(("tmp", "old", "swp"))
    if difficulty == 1:
        gone = {f"{folder}/{stem}.{end}" for stem in draw.sample(stems, 2)}
        files = {f"{folder}/{stem}.txt": f"{draw.choice(PEOPLE)}\n" for stem in stems}
        files |= {path: "x\n" for path in gone}
        ask = f"Delete all .{end} files in {folder} and nothing else."
        thought, command = f"The pattern *.{end} takes just those.", f"rm {folder}/*.{end}"
    elif difficulty == 2:
        below = draw.choice(PEOPLE)
        paths = [f"{folder}/{below}/{stem}.txt" for stem in stems]
        paths.append(f"{folder}/{draw.choice(PEOPLE)}.md")
        gone = set(draw.sample(paths, 3))
        files = {path: "" if path in gone else f"{draw.choice(PEOPLE)}\n" for path in paths}
        ask = f"Delete all empty files below {folder}, in its folders too, and nothing else."
        thought = "find -empty finds the files without content, at any depth."
        command = f"find {folder} -type f -empty -delete"
    else:
        kept, lone = stems[:4], stems[4]
        files = {f"{folder}/{stem}.txt": f"{draw.choice(PEOPLE)}\n" for stem in kept}
        copied = draw.sample(kept, 2)
        gone = {f"{folder}/{stem}.txt.bak" for stem in copied}
        files |= {path: "x\n" for path in gone} | {f"{folder}/{lone}.txt.bak": "kept\n"}
        ask = (
            f"Delete each .bak file in {folder} whose original, the same name without .bak, is "
            "still there. Keep the others."
        )
        thought = "The loop looks for each copy's original, and removes the copy if it is there."
        command = f'for f in {folder}/*.bak; do if [ -e "${{f%.bak}}" ]; then rm "$f"; fi; done'
    files = dict(sorted(files.items()))
    after = {path: text for path, text in files.items() if path not in gone}
    return _task(ask, files, after, folder, thought, command)


def permit(draw: random.Random, difficulty: int) -> ShellTask:
    """The mode of one file, of all scripts, or of those that everybody may write."""
    folder = folder_name(draw)
    stems = some(draw, STEMS, 4)
    if difficulty == 3:
        paths = [f"{folder}/{stem}.txt" for stem in stems]
        modes = dict(zip(paths, draw.sample(["666", "646", "644", "640"], 4), strict=True))
        wanted = {
            path: f"{mode[:2]}{'4' if mode[2] == '6' else mode[2]}" for path, mode in modes.items()
        }
        ask = f"Take from others the right to write the files in {folder}; change nothing else."
        thought = "find -perm -o+w finds what others may write, and chmod o-w takes just that."
        command = f"find {folder} -type f -perm -o+w -exec chmod o-w {{}} +"
    else:
        paths = [
            f"{folder}/{s}.{e}" for s, e in zip(stems, ("sh", "sh", "txt", "txt"), strict=True)
        ]
        modes = dict.fromkeys(paths, "644")
        if difficulty == 1:
            chosen, mode = [draw.choice(paths)], draw.choice(("600", "640", "400", "700", "755"))
            ask = f"Give {chosen[0]} the mode {mode}."
            thought, command = "chmod sets the mode.", f"chmod {mode} {chosen[0]}"
        else:
            chosen, mode = paths[:2], draw.choice(("700", "750", "755"))
            ask = f"Give all .sh files in {folder} the mode {mode}; the others keep theirs."
            thought, command = (
                "The pattern *.sh takes the scripts only.",
                (f"chmod {mode} {folder}/*.sh"),
            )
        wanted = {path: mode if path in chosen else "644" for path in paths}
    files = {path: f"echo {draw.choice(PEOPLE)}\n" for path in paths}
    stat = f"stat -c '%a %n' {folder}/*"
    before, after = (
        lines([f"{table[path]} {path}" for path in sorted(paths)]) for table in (modes, wanted)
    )
    turns = (
        Turn("I look at the modes.", stat, before),
        Turn(thought, command),
        Turn("I check the modes.", stat, after),
    )
    return ShellTask(ask, files, turns, ((stat, after), unchanged(files)), modes)


def _task(
    ask: str,
    files: Mapping[str, str],
    after: Mapping[str, str],
    folder: str,
    thought: str,
    command: str,
) -> ShellTask:
    """A task after which the files are as given; the expert looks before and after."""
    at_end = dict(sorted(after.items()))
    above = sorted({path.partition("/")[0] for path in (*files, *after)})
    find = f"find {' '.join(above)} -type f | sort"
    listed = sorted(path for path in files if path.startswith(f"{folder}/"))
    turns = (
        Turn(f"I see what is in {folder}.", f"find {folder} -type f | sort", lines(listed)),
        Turn(thought, command),
        Turn("I check which files there are now.", find, lines(list(at_end))),
    )
    return ShellTask(ask, files, turns, ((find, lines(list(at_end))), unchanged(at_end)))
