"""Explanations of rewards as text in a terminal, and as a page."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from srl_agent.reports.comparison import Segment
from srl_agent.reports.explanation import Explanation
from srl_agent.runs.files import replace_file
from srl_envs.errors import MissingDependencyError, install_command

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_MOST_BLOCKS = 40  # of an answer, in the terminal; the page has all
_BLOCK_CHARACTERS = 60


def print_explanations(
    explanations: Sequence[Explanation], group: str, console: Console | None = None
) -> None:
    """Print explanations, and the group that they are.

    Raises:
        MissingDependencyError: rich is not installed.
    """
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError as error:
        raise MissingDependencyError(
            f"The text needs rich: {install_command('view')}; --html needs none."
        ) from error
    console = console or Console(highlight=False)
    for one in explanations:
        for part in _parts(one):
            console.print(part)
        console.print()
    console.print(Text(group, "bold"))
    if len(explanations) > 1:
        for one in explanations:
            console.print(Text(f"  {_visible(one.name)}: reward {one.reward:.4f}{_advantage(one)}"))


def _parts(one: Explanation) -> Sequence[RenderableType]:
    from rich.rule import Rule
    from rich.text import Text

    title = f"{_visible(one.name)}: reward {one.reward:.4f}{_advantage(one)}"
    parts: list[RenderableType] = [Rule(Text(title, "bold"), align="left"), Text(one.parse)]
    if one.match is None:
        return [*parts, Text(one.arithmetic, "bold red")]
    parts += [
        Text("\nThe answer's action, matching characters marked:", "dim"),
        _marked(one.match.action),
        Text("\nThe expert's, the same:", "dim"),
        _marked(one.match.expert),
        Text(f"\n{one.arithmetic}", "bold"),
    ]
    if one.match.blocks:
        parts.append(_blocks(one))
        left_out = len(one.match.blocks) - _MOST_BLOCKS
        if left_out > 0:
            parts.append(Text(f"{left_out} further blocks; --html shows all.", "dim"))
    if one.changes:
        parts += [Text("\nOther settings:", "dim"), _changes(one)]
    return parts


def _blocks(one: Explanation) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("block", "answer at", "expert at", "characters"):
        table.add_column(name, justify="right")
    table.add_column("text")
    assert one.match is not None  # the caller has looked
    for number, block in enumerate(one.match.blocks[:_MOST_BLOCKS], start=1):
        text = one.action[block.a : block.a + block.size]
        shown = text if len(text) <= _BLOCK_CHARACTERS else text[:_BLOCK_CHARACTERS] + "..."
        numbers = (str(number), str(block.a), str(block.b), str(block.size))
        table.add_row(*numbers, Text(_visible(repr(shown)), "green"))
    return table


def _changes(one: Explanation) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for change in one.changes:
        color = "dim" if change.difference == 0 else "green" if change.difference > 0 else "red"
        value = f"{change.reward:.4f} ({change.difference:+.4f})"
        table.add_row(Text(f"  {change.setting}"), Text(value, color), Text(change.words))
    return table


def _marked(segments: Sequence[Segment]) -> Text:
    from rich.text import Text

    text = Text()
    for segment in segments:
        text.append(_visible(segment.text), "black on green" if segment.matches else "")
    return text


def _advantage(one: Explanation) -> str:
    return "" if one.advantage is None else f", advantage {one.advantage:+.4f}"


def _visible(text: str) -> str:
    """A text without what would control the terminal: such characters become pictures."""
    return "".join(_picture(character) for character in text)


def _picture(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 32 else f"<U+{code:04X}>"


def write_page(
    path: Path, explanations: Sequence[Explanation], group: str, title: str = ""
) -> None:
    """Write explanations as a page of its own.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    from srl_agent.reports.viewer.pages import page_environment

    environment = page_environment()
    page = environment.get_template("explain.html.j2").render(
        explanations=explanations,
        group=group,
        heading=title,
        title=f"Why this reward{f': {title}' if title else ''}",
    )
    replace_file(path, page.encode("utf-8", "replace"))
