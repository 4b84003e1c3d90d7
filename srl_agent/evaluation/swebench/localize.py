"""Which files a model is shown: those its own answer names, or in oracle mode the patch's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.parse_edits import outside_thoughts
from srl_agent.evaluation.swebench.path_lines import FileNames
from srl_agent.evaluation.swebench.prompt_budget import LeftOut, PromptBudget, is_test_path
from srl_agent.evaluation.swebench.prompts import localize_messages
from srl_agent.evaluation.swebench.read_patch import patched_files
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message, cut_middle

MAX_FILES = 5
_AROUND = "`'\"*,;:()[]<>"
_LINES = re.compile(r":\d+(-\d+)?$")
_TREE_LINE = re.compile(r"\W*(?P<folder>[\w.+@/-]+/)\W*:\s")


@dataclass(frozen=True, slots=True)
class LocalizePrompt:
    """A question for the files to change.

    Attributes:
        messages: The conversation.
        tree: How much of the repository it shows: ``"all files"``, ``"Python files"``,
            ``"folders down to level 3"`` or ``"cut"``.
    """

    messages: tuple[Message, ...]
    tree: str


@dataclass(frozen=True, slots=True)
class Localization:
    """The files that an answer names.

    Attributes:
        paths: Those that exist, in the answer's order.
        left_out: Other paths that it names, and why they do not count.
        answer: What the model wrote.
    """

    paths: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    answer: str


def localize_prompt(
    instance: SweBenchInstance,
    tree: Iterable[str],
    budget: PromptBudget = PromptBudget(),
    max_files: int = MAX_FILES,
) -> LocalizePrompt:
    """The prompt that shows the issue and the repository's files without its tests.

    What does not fit is shortened by the first of these that does: all files; Python
    files, with a count of the others; the same with everything below a level of folders
    counted only, from the deepest level up to the first; that text, cut in its middle.
    The issue gives way before that, see
    :meth:`~srl_agent.evaluation.swebench.prompt_budget.PromptBudget.fitted_issue`.

    Raises:
        ConfigError: The budget is too small for a prompt without content, or
            ``max_files`` is below 1.
    """
    if max_files < 1:
        raise ConfigError(f"max_files is {max_files}: give at least 1.")
    paths = sorted(path for path in tree if not is_test_path(path))
    issue = budget.fitted_issue(
        instance.problem_statement, lambda text: localize_messages(text, "", max_files)
    )
    depths = range(
        max((path.count("/") for path in paths), default=0) - 1, 0, -1
    )  # the deepest level has nothing below it
    forms = [
        ("all files", None, False),
        ("Python files", None, True),
        *((f"folders down to level {depth}", depth, True) for depth in depths),
    ]
    text = ""
    for name, depth, python_only in forms:
        text = tree_text(paths, depth, python_only)
        messages = localize_messages(issue, text, max_files)
        if budget.fits(messages):
            return LocalizePrompt(tuple(messages), name)
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high)
            if budget.fits(localize_messages(issue, cut_middle(text, middle), max_files))
            else (low, middle)
        )
    return LocalizePrompt(
        tuple(localize_messages(issue, cut_middle(text, low) if low else "", max_files)), "cut"
    )


def tree_text(paths: Sequence[str], depth: int | None = None, python_only: bool = False) -> str:
    """The files of a repository, one line per folder that has any.

    For example ``src/tool/: __init__.py main.py``.

    Args:
        paths: Relative to the repository, sorted.
        depth: Folders below this level (a folder of the repository itself is level 1)
            are counted in the line of the one at it; None shows all.
        python_only: Name only Python files, and count the others.
    """
    named: dict[str, list[str]] = {}
    others: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for path in paths:
        *folders, name = path.split("/")
        folder = "".join(f"{part}/" for part in folders[:depth]) or "./"
        names = named.setdefault(folder, [])
        if depth is not None and len(folders) > depth:
            below[folder] += 1
        elif python_only and not name.endswith(".py"):
            others[folder] += 1
        else:
            names.append(f"`{name}`" if " " in name else name)
    lines = []
    for folder, names in named.items():
        counts = [
            f"({what}: {count})"
            for what, count in (
                ("other files", others[folder]),
                ("files in folders below", below[folder]),
            )
            if count
        ]
        lines.append(" ".join([f"{folder}:", *names, *counts]))
    return "\n".join(lines)


def parse_localization(
    answer: str, files: Collection[str], max_files: int = MAX_FILES
) -> Localization:
    """The files that an answer names outside its thoughts.

    A path may be anywhere in a line, in quotes, tags, lists or links, behind a bullet,
    with line numbers behind it, below ``/testbed/``; one with white space must be alone
    in its line. Lines as in the prompt's tree (``folder/: name name``) count too.

    Args:
        answer: What the model wrote.
        files: All regular files of the repository; only these count, and of them no
            tests.
        max_files: Only the first of them count.
    """
    paths: list[str] = []
    left_out: dict[str, str] = {}
    names = FileNames(files)
    for line in "\n".join(outside_thoughts(answer)).splitlines():
        for path in _named_in(line, names):
            if path in paths:
                continue
            if path in files and not is_test_path(path):
                if len(paths) < max_files:
                    paths.append(path)
                else:
                    left_out.setdefault(path, f"not among the first {max_files}")
            elif path in files:
                left_out.setdefault(path, "test file")
            elif path.endswith(".py"):
                left_out.setdefault(path, "no such file")
    return Localization(tuple(paths), tuple(LeftOut(*pair) for pair in left_out.items()), answer)


def _named_in(line: str, files: FileNames) -> Iterator[str]:
    """The words of a line that are paths of the repository, or could be."""
    whole = _bare(re.sub(r"^\s*([-*+]|\d+[.)])\s+", "", line))
    if whole in files:
        yield whole
        return
    tree = _TREE_LINE.match(line)
    for word in line.split():
        if (bare := _bare(word)) in files:
            yield bare
            continue
        for path in files.mentioned(word):
            inside = f"{tree['folder']}{path}" if tree else path
            yield inside if inside in files else path


def oracle_paths(instance: SweBenchInstance) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """Oracle mode: the files that the gold patch changes, moves or removes, in its order.

    Nothing but their names is used of the patch, and nothing of the tests.

    Returns:
        The paths, and what the patch names but is not shown: tests, and files that the
        patch makes. There is nothing to show of those, and their names would give the
        solution away.
    """
    paths: list[str] = []
    left_out: list[LeftOut] = []
    for file in patched_files(instance.patch):
        if file.old_path is None:
            left_out.append(LeftOut(file.new_path or "", "made by the gold patch"))
        elif is_test_path(file.old_path):
            left_out.append(LeftOut(file.old_path, "test file"))
        elif file.old_path not in paths:
            paths.append(file.old_path)
    return tuple(paths), tuple(left_out)


def _bare(text: str) -> str:
    """A path without what may surround it.

    Removes quotes, punctuation, line numbers, and the name of something in the file.
    """
    bare = _LINES.sub("", text.strip().strip(_AROUND).partition("::")[0]).rstrip(_AROUND + ".")
    return bare.removeprefix("./").lstrip("/")
