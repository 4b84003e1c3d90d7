"""Splits a written solution at its numbered, titled steps without losing a character."""

from __future__ import annotations

import re

from srl_envs.trajectory import ExpertStep

_PARAGRAPH = r"\n[ \t\r]*\n"
_FINAL_ANSWER = re.compile(
    _PARAGRAPH + r"(?=(?:#{1,6} *|\*\*)(?:the )?(?:final answer|answer|conclusion)\b"
    r"|(?:the )?final answer\b|(?:answer|conclusion):)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    _PARAGRAPH + r"(?=(?:therefore|thus|hence|in conclusion|so,? the final answer)\b)",
    re.IGNORECASE,
)
_BOLD_TITLE = re.compile(r"\s*\*\*(?P<title>[^*\n]{1,120}?):?\*\*(?P<mark>:?)[ \t]*")
_PLAIN_TITLE = re.compile(r"\s*(?P<title>[^\n:.$\\]{1,80}):[ \t]*(?=\n|\S)")
_SENTENCE = (
    r"(?![^\n]*[=$\\][^\n]*[.,;][ \t]*\n)"  # "We see that x = 3." says something already: no title
)
_WHOLE_LINE_TITLE = re.compile(
    _SENTENCE + r"[ \t]*(?P<title>[^\n]{1,120}?):?(?:\*\*)?:?[ \t]*(?=\n)"
)
_BEHIND_TITLE = re.compile(r":?[ \t]*")
_BEHIND_NUMBER = re.compile(r"[ \t]*(?::|[-\u2013\u2014](?=[ \t]))?[ \t]*")
_MARKS = "*#:"


def split_steps(
    solution: str, style: re.Pattern[str], at_least: int = 2
) -> tuple[str, tuple[ExpertStep, ...], str] | None:
    """Preamble, steps and tail of a solution; joined they give it back.

    A line begins a step only if it carries the next number, starting at 1, and is
    indented as little as any such line; an enumeration inside a step that starts again
    at 1, or is indented further, stays part of the step. The last step ends where a
    "Final answer" begins, or a closing paragraph ("Therefore, ..."). A number with no
    text behind it begins no step: it stays in the one before, or in the tail if it is
    the last.

    Args:
        solution: The text.
        style: Matches the line that begins a step, with groups ``indent``, ``number``
            and ``rest``.
        at_least: With fewer steps it is no solution in steps.

    Returns:
        None if there are fewer than ``at_least`` steps.
    """
    matches = list(style.finditer(solution))
    outermost = min((_columns(match["indent"]) for match in matches), default=0)
    matches = [match for match in matches if _columns(match["indent"]) == outermost]
    starts = [matches[i] for i in _top_level(solution, matches, at_least)]
    if len(starts) < at_least:
        return None
    end = _end_of_last_step(solution, starts[-1])
    stops = [match.start() for match in starts[1:]] + [end]
    with_text = [
        match
        for match, stop in zip(starts, stops, strict=True)
        if _has_text(solution[match.start("rest") : stop])
    ]
    if len(with_text) < at_least:
        return None
    if with_text[-1] is not starts[-1]:
        end = starts[starts.index(with_text[-1]) + 1].start()
    bounds = [match.start() for match in with_text] + [end]
    steps = [
        _step(solution[match.start() : stop], match.start("rest") - match.start())
        for match, stop in zip(with_text, bounds[1:], strict=True)
    ]
    return solution[: bounds[0]], tuple(steps), solution[end:]


def _has_text(block: str) -> bool:
    """Whether a block holds more than white space (of any kind that Unicode knows) and marks."""
    return any(word.strip(_MARKS) for word in block.split())


def _columns(indent: str) -> int:
    return len(indent.expandtabs(4))


def _top_level(solution: str, matches: list[re.Match[str]], at_least: int) -> list[int]:
    """Which of the numbered lines are steps; the others belong to enumerations inside a step.

    Lines read as ``1 [1 2 3] 2 [1 2] 3``: wherever a line could continue both the steps
    and an inner enumeration, both readings are followed. The best one explains most
    numbers, does not cut an enumeration between lines that no blank line parts, and
    then has most steps.
    """
    # (steps so far, last number of the open inner enumeration) -> (score, indices of the steps)
    readings: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {(0, 0): (0, ())}
    for i, match in enumerate(matches):
        number = int(match["number"])
        tight = (
            i > 0
            and re.search(_PARAGRAPH, solution[matches[i - 1].start() : match.start()]) is None
        )
        extended: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
        for (count, inner), (score, steps) in readings.items():
            options = []
            if number == count + 1:
                cuts = tight and inner > 0 and number == inner + 1
                options.append(((count + 1, 0), (score + (0 if cuts else 1), (*steps, i))))
            if count and (number == 1 or (inner and number == inner + 1)):
                options.append(((count, number), (score + 1, steps)))
            for state, reading in options or [((count, inner), (score, steps))]:
                if state not in extended or extended[state][0] < reading[0]:
                    extended[state] = reading
        readings = extended
    return list(
        max(
            readings.values(),
            key=lambda reading: (len(reading[1]) >= at_least, reading[0], len(reading[1])),
        )[1]
    )


def _end_of_last_step(solution: str, start: re.Match[str]) -> int:
    final = _FINAL_ANSWER.search(solution, start.end())
    end = final.end() if final else len(solution)
    closings = list(_CLOSING.finditer(solution, start.end(), end))
    if closings:
        _, *more = re.split(_PARAGRAPH, solution[closings[-1].end() : end].strip())
        if all(
            paragraph.startswith(("\\[", "$$", "\\boxed")) for paragraph in more
        ):  # a formula may follow, but no further reasoning
            return closings[-1].end()
    return end


def _step(block: str, rest_at: int) -> ExpertStep:
    """Heading, action and the gap after it; a bare title counts as an action without a title."""
    body = block.rstrip()
    gap = block[len(body) :]
    marker, rest = body[:rest_at], body[rest_at:]
    title_length, title = _title(rest, marker)
    action = rest[title_length:].lstrip()
    if not action:
        # Bold that began before the number would be torn apart: then the number belongs to the
        # action.
        action, title = (body if "**" in marker else rest).lstrip(), ""
    return ExpertStep(action=action, title=title, heading=body[: len(body) - len(action)], gap=gap)


def _title(rest: str, marker: str) -> tuple[int, str]:
    """How many characters of a step's first line are its title, and the title itself.

    Without a title, the characters that close the number's bold are counted.
    """
    begin = 0
    if "**" in marker:  # "**1. Title** text", "**1.** text": the bold began before the number
        head, close, _ = rest.partition("**")
        if close and "\n" not in head:
            title, begin = head.strip().strip(":").strip(), len(head) + 2
            if title:
                return _BEHIND_TITLE.match(rest, begin).end(), title  # type: ignore[union-attr]
            begin = _BEHIND_NUMBER.match(rest, begin).end()  # type: ignore[union-attr]
    # Behind a plain "1." a whole line is a sentence, not a title.
    by_word = "#" in marker or "step" in marker.lower()
    for pattern in (
        (_BOLD_TITLE, _PLAIN_TITLE, _WHOLE_LINE_TITLE) if by_word else (_BOLD_TITLE, _PLAIN_TITLE)
    ):
        match = pattern.match(rest, begin)
        if match is not None and match["title"].strip():
            return match.end(), match["title"].strip().strip(":").strip()
    return begin, ""
