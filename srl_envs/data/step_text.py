"""Splits a written solution at its numbered, titled steps without losing a character."""

from __future__ import annotations

import re

from srl_envs.trajectory import ExpertStep

_TAIL = re.compile(
    r"^(?:#{1,6} *|\*\*)?(?:final answer|answer|conclusion|therefore|thus|hence|in conclusion|so,? the final answer)\b.*",
    re.IGNORECASE | re.MULTILINE,
)
_BOLD_TITLE = re.compile(r"\s*\*\*(?P<title>[^*\n]{1,120}?):?\*\*(?P<mark>:?)[ \t]*")
_PLAIN_TITLE = re.compile(r"\s*(?P<title>[^\n:.$\\]{1,80}):[ \t]*(?=\n|\S)")
_WHOLE_LINE_TITLE = re.compile(r"[ \t]*(?P<title>[^\n]{1,120}?):?(?:\*\*)?:?[ \t]*(?=\n)")


def split_steps(solution: str, style: re.Pattern[str], at_least: int = 2) -> tuple[str, tuple[ExpertStep, ...], str] | None:
    """Preamble, steps and tail of a solution; joined they give it back.

    A line begins a step only if it carries the next number, starting at 1, at the start of the line: an enumeration inside a step that starts again at 1,
    or is indented, stays part of the step. The last step ends where a new paragraph begins with "Final answer", "Therefore" and the like.

    Args:
        solution: The text.
        style: Matches the line that begins a step, with groups ``number`` and ``rest``.
        at_least: With fewer steps it is no solution in steps.

    Returns:
        None if there are fewer than ``at_least`` steps.
    """
    starts: list[re.Match[str]] = []
    for match in style.finditer(solution):
        if int(match["number"]) == len(starts) + 1:
            starts.append(match)
    if len(starts) < at_least:
        return None
    end = _end_of_last_step(solution, starts[-1])
    bounds = [match.start() for match in starts] + [end]
    steps = []
    for match, stop in zip(starts, bounds[1:], strict=True):
        step = _step(solution[match.start() : stop], match.start("rest") - match.start())
        if step is None:
            return None
        steps.append(step)
    return solution[: bounds[0]], tuple(steps), solution[end:]


def _end_of_last_step(solution: str, start: re.Match[str]) -> int:
    for match in _TAIL.finditer(solution, start.end()):
        if solution[: match.start()].endswith("\n\n"):
            return match.start()
    return len(solution)


def _step(block: str, rest_at: int) -> ExpertStep | None:
    """Heading, action and the gap behind it; None if there is no text besides the heading."""
    body = block.rstrip()
    gap = block[len(body) :]
    marker, rest = body[:rest_at], body[rest_at:]
    title_length, title = _title(rest, opened_bold="**" in marker)
    action = rest[title_length:].lstrip()
    if not action:
        if not rest.strip():
            return None
        action, title = rest.lstrip(), ""
    return ExpertStep(action=action, title=title, heading=body[: len(body) - len(action)], gap=gap)


def _title(rest: str, opened_bold: bool) -> tuple[int, str]:
    """How many characters of a step's first line are its title, and the title itself; 0 if it has none."""
    if opened_bold:  # "**1. Title** text": the bold began before the number
        head, close, _ = rest.partition("**")
        if close and "\n" not in head:
            title = head.strip().strip(":").strip()
            length = len(head) + 2
            return length + len(re.match(r":?[ \t]*", rest[length:])[0]), title  # type: ignore[index]
    for pattern in (_BOLD_TITLE, _PLAIN_TITLE, _WHOLE_LINE_TITLE):
        match = pattern.match(rest)
        if match is not None and match["title"].strip():
            return match.end(), match["title"].strip().strip(":").strip()
    return 0, ""
