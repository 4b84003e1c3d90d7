r"""Splits a written solution at its numbered, titled steps without losing a character.

What is decided, where a form can be read in two ways:

- A number inside a thought (``</think>``), code or displayed math begins no step.
- A line may be indented by up to three blanks more than the first level, as in
  Markdown; a list that begins at 1 below a step and deeper than it stays in that step.
- ``Step 3`` outranks ``3.``: such texts number their facts and cases too. Marked numbers
  (a heading, bold) outrank plain ones where both cannot be steps.
- ``(1) ...`` counts only if every such line has words: else it labels equations.
- A numbered "Final Answer" is a step, since it is numbered; without a number it begins
  the tail.
"""

from __future__ import annotations

import re

from srl_envs.data.step_lines import (
    BLANK,
    FEWEST,
    MARK,
    PARAGRAPH,
    Line,
    Spans,
    buries_a_step,
    code_and_math,
    is_within,
    outermost,
)
from srl_envs.data.step_title import title_of
from srl_envs.trajectory import ExpertStep

_RULE = re.compile(
    r"-{3,}|\*{3,}|_{3,}|={3,}|[\u2013\u2014\u2500\u2501]{3,}|\u2e3b+|\\hrule|<hr/?>"
)
_RULE_PARAGRAPH = re.compile(
    rf"{PARAGRAPH}(?P<rule>{BLANK}{{0,3}}[-*_=\u2013-\u2e3b\\<][^\n]*)\n\s*"
)
_ANSWER = r"(?:the )?(?:final (?:answer|result|solution)|answer|conclusion)(?: (?:and|&) \w+)*"
_FINAL_ANSWER = re.compile(
    rf"\n(?={BLANK}{{0,3}}(?=_|[^\w\s]){MARK}(?:[^\w\s!-/:-@\[-`{{-~]{{1,3}}{BLANK}*)?{_ANSWER}"
    rf"{BLANK}*(?:[:.!*_}}#\u2013\u2014(\\$\d-]|\r?$|is\b))"
    r"|\n(?=(?:the )?final answer\b|(?:answer|conclusion):|\u7b54\u6848"
    r"|####[ \t]*[-+\d$\\][^\n]*\s*\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_CLOSING = re.compile(
    PARAGRAPH + r"(?=(?:therefore|thus|hence|in conclusion|(?:so,? )?the (?:final )?answer is)\b)",
    re.IGNORECASE,
)
_ANEW = re.compile(  # another part or way, which counts from 1 again
    rf"{PARAGRAPH}(?=(?:\*\*[^*\n]+\*\*|(?i:method|approach|solution|alternative)\b[^\n]{{0,60}}):?"
    rf"{BLANK}*\r?\n\s*(?:\*\*)?1[.)]\s)"
)
_SECTION = re.compile(rf"{PARAGRAPH}(?=(?P<level>\#{{1,6}})[ \t]|\\(?:sub)*section\*?\{{)")


def split_steps(solution: str) -> tuple[str, tuple[ExpertStep, ...], str] | None:
    """Preamble, steps and tail of a solution; joined they give it back.

    A line begins a step if it carries the next number, starting at 1; an enumeration
    inside a step that starts again at 1 stays part of the step. The last step ends at
    a rule (``---``) or a heading, where a "Final answer" or another part that counts
    from 1 begins, or at a closing paragraph ("Therefore, ..."). A number with no text
    behind it begins no step: it stays in the one before, or in the tail if it is the last.

    Returns:
        None if there are fewer than two steps, or one that is marked has a wrong number
        ("Step 1", "Step 2", "Step 4") and would be part of the one before.
    """
    hidden = code_and_math(solution)
    starts, lines = outermost(solution, hidden)
    if len(starts) < FEWEST:
        return None
    end = _end_of_last_step(solution, starts[-1], lines, hidden)
    if buries_a_step([line for line in lines if line.start < end], starts):
        return None
    stops = [line.start for line in starts[1:]] + [end]
    with_text = [
        line
        for line, stop in zip(starts, stops, strict=True)
        if any(character.isalnum() for character in solution[line.rest : stop])
    ]
    if len(with_text) < FEWEST:
        return None
    if with_text[-1] is not starts[-1]:
        end = starts[starts.index(with_text[-1]) + 1].start
    bounds = [line.start for line in with_text] + [end]
    steps = [
        _step(solution[line.start : stop], line)
        for line, stop in zip(with_text, bounds[1:], strict=True)
    ]
    return solution[: bounds[0]], tuple(steps), solution[end:]


def _end_of_last_step(solution: str, start: Line, lines: list[Line], hidden: Spans) -> int:
    """Where the tail begins."""
    ends = [len(solution)]
    for match in _RULE_PARAGRAPH.finditer(solution, start.rest):
        above = solution[start.rest : match.start() + 1]
        if _is_rule(match["rule"]) and not is_within(match.end(), hidden) and _says(above, start):
            ends.append(match.end())
            break
    level = start.mark.count("#") or 6
    numbered = {line.start for line in lines}
    for match in _SECTION.finditer(solution, start.rest):
        lower = len(match["level"] or "#") > level
        if not (lower or match.end() in numbered or is_within(match.end(), hidden)):
            ends.append(match.end())
            break
    for pattern in (_FINAL_ANSWER, _ANEW):
        if found := pattern.search(solution, start.rest):
            ends.append(found.end())
    end = min(ends)
    closings = list(_CLOSING.finditer(solution, start.rest, end))
    if closings and _says(solution[start.rest : closings[-1].start() + 1], start):
        _, *more = re.split(PARAGRAPH, solution[closings[-1].end() : end].strip())
        if all(
            paragraph.startswith(("\\[", "$$", "\\boxed")) or _is_rule(paragraph)
            for paragraph in more
        ):  # a formula may follow, but no further reasoning
            return closings[-1].end()
    return end


def _says(rest: str, line: Line) -> bool:
    """Whether a step has text besides its title."""
    return bool(rest[title_of(rest, line.mark.strip(), line.by_word)[0] :].strip())


def _is_rule(line: str) -> bool:
    return _RULE.fullmatch("".join(line.split())) is not None


def _step(block: str, line: Line) -> ExpertStep:
    """Heading, action and the gap after it; a bare title counts as an action without a title."""
    body = block.rstrip()
    while "\n" in body and _is_rule(body[body.rindex("\n") :]):
        body = body[: body.rindex("\n")].rstrip()
    gap = block[len(body) :]
    rest = body[line.rest - line.start :]
    title_length, title = title_of(rest, line.mark.strip(), line.by_word)
    action = _without_rules(rest[title_length:])
    if not action:
        # Bold that began before the number would be torn apart: then the number belongs to the
        # action.
        action, title = (body if re.search(r"[*_{]", line.mark) else rest).lstrip(), ""
    return ExpertStep(action=action, title=title, heading=body[: len(body) - len(action)], gap=gap)


def _without_rules(action: str) -> str:
    """An action without white space and rules in front."""
    action = action.lstrip()
    while _is_rule((first := action.partition("\n"))[0]):
        action = first[2].lstrip()
    return action
