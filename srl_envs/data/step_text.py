r"""Splits a written solution at its numbered, titled steps without losing a character.

What is decided, where a form can be read in two ways:

- A number inside code or displayed math begins no step.
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
from collections.abc import Iterator
from dataclasses import dataclass

from srl_envs.data.step_title import title_of
from srl_envs.trajectory import ExpertStep

_B = r"[^\S\r\n]"  # a blank: any white space within a line, such as a no-break space
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
_NUMBERS = {name.lower(): i for names in (_WORDS, _ROMAN) for i, name in enumerate(names, 1)}
_MARK = (  # a heading, an emoji, the start of bold or italics
    rf"(?P<mark>(?:\#{{1,6}}{_B}*)?(?:[^\w\s!-/:-@\[-`{{-~]{{1,3}}{_B}*)?"
    r"(?:\\(?:(?:sub)*section|paragraph|text(?:bf|it))\*?\{)?(?:\*{1,3}|__)?)"
)
_WORD = re.compile(
    rf"^(?P<indent>{_B}*)(?:[-*+\u2022]{_B}+)?{_MARK}(?i:step){_B}*[(\#]?"
    rf"(?P<number>\d{{1,4}}(?![\d]|[.,]\d)|(?i:{'|'.join(reversed(_WORDS))})\b"
    rf"|(?:{'|'.join(reversed(_ROMAN))})\b)(?P<behind>(?:\)|{_B}*(?:/|of\b){_B}*\d+)?"
    rf"(?:[:.)\uff1a]|{_B}*[-\u2013\u2014](?!\d)|(?=\*|__|\}})|(?={_B}*\r?$)"
    rf"|(?={_B}+(?:[A-Z]|\*\*))))",
    re.MULTILINE,
)
_NUMBER = re.compile(
    rf"^(?P<indent>{_B}*){_MARK}(?P<number>\d{{1,4}})"
    rf"(?P<behind>(?:\\?[.)\uff0e\u3001]|\ufe0f?\u20e3)(?={_B}|\*\*|__|\}})|(?=(?:\*\*|__)[.):]))[^\n]*$",
    re.MULTILINE,
)
_PARENTHESES = re.compile(
    rf"^(?P<indent>{_B}*){_MARK}\((?P<number>\d{{1,4}})(?P<behind>\)(?={_B}|\*\*|__|\}}))[^\n]*$",
    re.MULTILINE,
)
_HAS_WORDS = re.compile(r"[^\n]*?(?<![\\A-Za-z])[^\W\d_]{3}")
_FEWEST = 2
_Spans = list[tuple[int, int]]

_PARAGRAPH = r"\n[^\S\n]*\n"
_NO_STEPS = re.compile(  # code, and displayed math, which no empty line may interrupt
    r"^[^\S\n]*(?P<fence>```|~~~).*?^[^\S\n]*(?P=fence)"
    r"|\\begin\{(?P<code>verbatim|lstlisting|minted)\}.*?\\end\{(?P=code)\}"
    rf"|\\\[(?:(?!{_PARAGRAPH}|\\[\[\]]).)*\\\]|\$\$(?:(?!{_PARAGRAPH}|\$\$).)*\$\$"
    r"|\\begin\{(?P<math>(?!enumerate|itemize|document)[a-z]+\*?)\}"
    rf"(?:(?!{_PARAGRAPH}).){{0,2000}}?\\end\{{(?P=math)\}}",
    re.DOTALL | re.MULTILINE,
)
_RULE = re.compile(
    r"-{3,}|\*{3,}|_{3,}|={3,}|[\u2013\u2014\u2500\u2501]{3,}|\u2e3b+|\\hrule|<hr/?>"
)
_RULE_PARAGRAPH = re.compile(rf"{_PARAGRAPH}(?P<rule>{_B}{{0,3}}[-*_=\u2013-\u2e3b\\<][^\n]*)\n\s*")
_ANSWER = r"(?:the )?(?:final (?:answer|result|solution)|answer|conclusion)(?: (?:and|&) \w+)*"
_FINAL_ANSWER = re.compile(
    rf"\n(?={_B}{{0,3}}(?=_|[^\w\s]){_MARK}(?:[^\w\s!-/:-@\[-`{{-~]{{1,3}}{_B}*)?{_ANSWER}"
    rf"{_B}*(?:[:.!*_}}#\u2013\u2014(\\$\d-]|\r?$|is\b))"
    rf"|\n(?=(?:the )?final answer\b)|{_PARAGRAPH}(?=(?:answer|conclusion):)",
    re.IGNORECASE | re.MULTILINE,
)
_CLOSING = re.compile(
    _PARAGRAPH + r"(?=(?:therefore|thus|hence|in conclusion|so,? the final answer)\b)",
    re.IGNORECASE,
)
_SECTION = re.compile(rf"{_PARAGRAPH}(?=(?P<level>\#{{1,6}})[ \t]|\\(?:sub)*section\*?\{{)")
_MOST_BLANKS = 3  # as in Markdown: a fourth makes a line part of what is above it


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may begin a step.

    Attributes:
        start: Where it begins.
        rest: Where the text behind its number begins.
        number: Its number.
        columns: How far it is indented.
        mark: What comes before its number, such as ``"### **"``.
        marked: Whether a heading or bold marks it.
        by_word: Whether it says "Step".
    """

    start: int
    rest: int
    number: int
    columns: int
    mark: str
    marked: bool
    by_word: bool


def split_steps(solution: str) -> tuple[str, tuple[ExpertStep, ...], str] | None:
    """Preamble, steps and tail of a solution; joined they give it back.

    A line begins a step if it carries the next number, starting at 1; an enumeration
    inside a step that starts again at 1 stays part of the step. The last step ends at
    a rule (``---``) or a heading, where a "Final answer" begins, or at a closing
    paragraph ("Therefore, ..."). A number with no text behind it begins no step: it
    stays in the one before, or in the tail if it is the last.

    Returns:
        None if there are fewer than two steps, or one that is marked has a wrong number
        ("Step 1", "Step 2", "Step 4") and would be part of the one before.
    """
    hidden = [match.span() for match in _NO_STEPS.finditer(solution)]
    starts, lines = _outermost(solution, hidden)
    if len(starts) < _FEWEST:
        return None
    end = _end_of_last_step(solution, starts[-1], lines, hidden)
    if _buries_a_step([line for line in lines if line.start < end], starts):
        return None
    stops = [line.start for line in starts[1:]] + [end]
    with_text = [
        line
        for line, stop in zip(starts, stops, strict=True)
        if any(character.isalnum() for character in solution[line.rest : stop])
    ]
    if len(with_text) < _FEWEST:
        return None
    if with_text[-1] is not starts[-1]:
        end = starts[starts.index(with_text[-1]) + 1].start
    bounds = [line.start for line in with_text] + [end]
    steps = [
        _step(solution[line.start : stop], line)
        for line, stop in zip(with_text, bounds[1:], strict=True)
    ]
    return solution[: bounds[0]], tuple(steps), solution[end:]


def _outermost(solution: str, hidden: _Spans) -> tuple[list[_Line], list[_Line]]:
    """The lines that begin the steps, in the spelling whose steps hold the others, and all of it.

    Both are empty without steps.
    """
    words, numbers, parentheses = (
        list(_lines(style, solution, hidden)) for style in (_WORD, _NUMBER, _PARENTHESES)
    )
    if not all(_HAS_WORDS.match(solution, line.rest) for line in parentheses):
        parentheses = []
    by_number = _steps_of(solution, numbers)
    marked = [line for line in numbers if line.marked]
    by_mark = _steps_of(solution, marked)
    if not set(by_mark) <= set(by_number):
        by_number, numbers = by_mark, marked
    spellings = [
        (_steps_of(solution, words), words),
        (by_number, numbers),
        (_steps_of(solution, parentheses), parentheses),
    ]
    for steps, lines in spellings:
        if steps and not any(_holds(other, steps) for other, _ in spellings):
            return steps, lines
    return [], []


def _buries_a_step(lines: list[_Line], starts: list[_Line]) -> bool:
    """Whether a marked line, as little indented as the steps, is neither one nor of a list."""
    steps = set(starts)
    deepest = max(line.columns for line in starts)
    marked = [
        line
        for line in lines
        if line.start > starts[0].start
        and (line in steps or ((line.marked or line.by_word) and line.columns <= deepest))
    ]
    others = {i for i, line in enumerate(marked) if line not in steps}
    return any(
        not (
            (marked[i - 1].number == marked[i].number - 1 and i - 1 in others)
            or (marked[i].number == 1 and i + 1 in others and marked[i + 1].number == 2)
        )
        for i in others
    )


def _lines(style: re.Pattern[str], solution: str, hidden: _Spans) -> Iterator[_Line]:
    for match in style.finditer(solution):
        if _within(match.start(), hidden):
            continue
        number, rest = match["number"], match.end("number") + len(match["behind"])
        yield _Line(
            match.start(),
            rest,
            int(number) if number.isdecimal() else _NUMBERS[number.lower()],
            len(match["indent"].expandtabs(4)),
            match["mark"],
            bool(match["mark"].strip()) or solution[rest : match.end()].lstrip()[:2] == "**",
            style is _WORD,
        )


def _within(place: int, hidden: _Spans) -> bool:
    return any(begin < place < end for begin, end in hidden)


def _holds(outer: list[_Line], inner: list[_Line]) -> bool:
    """Whether all inner lines are in one outer step; in the last one, if indented deeper."""
    if not outer or outer is inner:
        return False
    before = [line for line in outer if line.start < inner[0].start]
    if not before:
        return False
    if len(before) == len(outer):
        return min(line.columns for line in inner) > outer[-1].columns
    return inner[-1].start < outer[len(before)].start


def _steps_of(solution: str, lines: list[_Line]) -> list[_Line]:
    """Which of the numbered lines are steps; empty if fewer than two are.

    Lines that are indented by up to three blanks count where they add to the steps that
    the least indented lines are.
    """
    least = min((line.columns for line in lines), default=0)
    strict = _top_level(solution, [line for line in lines if line.columns == least])
    loose = _top_level(solution, [line for line in lines if line.columns <= least + _MOST_BLANKS])
    return loose if set(strict) <= set(loose) else strict


def _top_level(solution: str, lines: list[_Line]) -> list[_Line]:
    """The steps among lines of which some belong to enumerations inside a step.

    Lines read as ``1 [1 2 3] 2 [1 2] 3``: wherever a line could continue both the steps
    and an inner enumeration, both readings are followed. The best one explains most
    numbers, does not cut an enumeration between lines that no blank line parts, and
    then has most steps. A line as deep as an enumeration that is indented continues it.
    """
    # (steps so far, last line of the open inner enumeration) -> (score, the steps)
    readings: dict[tuple[int, _Line | None], tuple[int, tuple[_Line, ...]]] = {(0, None): (0, ())}
    for i, line in enumerate(lines):
        tight = i > 0 and not re.search(_PARAGRAPH, solution[lines[i - 1].start : line.start])
        extended: dict[tuple[int, _Line | None], tuple[int, tuple[_Line, ...]]] = {}
        for (count, inner), (score, steps) in readings.items():
            options: list[tuple[tuple[int, _Line | None], tuple[int, tuple[_Line, ...]]]] = []
            left = count > 0 and line.columns < steps[-1].columns
            continues = (
                inner is not None
                and line.number == inner.number + 1
                and not (inner.columns > steps[-1].columns >= line.columns)
            )
            inside = continues and line.columns > steps[-1].columns
            if line.number == count + 1 and not inside:
                cuts = tight and continues
                options.append(((count + 1, None), (score + (not cuts), (*steps, line))))
            if count and (continues or (line.number == 1 and not left)):
                options.append(((count, line), (score + 1, steps)))
            for state, reading in options or [((count, inner), (score, steps))]:
                if state not in extended or extended[state][0] < reading[0]:
                    extended[state] = reading
        readings = extended
    score, best = max(
        readings.values(),
        key=lambda reading: (len(reading[1]) >= _FEWEST, reading[0], len(reading[1])),
    )
    return list(best) if len(best) >= _FEWEST else []


def _end_of_last_step(solution: str, start: _Line, lines: list[_Line], hidden: _Spans) -> int:
    """Where the tail begins."""
    ends = [len(solution)]
    for match in _RULE_PARAGRAPH.finditer(solution, start.rest):
        above = solution[start.rest : match.start() + 1]
        if _is_rule(match["rule"]) and not _within(match.end(), hidden) and _says(above, start):
            ends.append(match.end())
            break
    level = start.mark.count("#") or 6
    numbered = {line.start for line in lines}
    for match in _SECTION.finditer(solution, start.rest):
        lower = len(match["level"] or "#") > level
        if not (lower or match.end() in numbered or _within(match.end(), hidden)):
            ends.append(match.end())
            break
    if final := _FINAL_ANSWER.search(solution, start.rest):
        ends.append(final.end())
    end = min(ends)
    closings = list(_CLOSING.finditer(solution, start.rest, end))
    if closings:
        _, *more = re.split(_PARAGRAPH, solution[closings[-1].end() : end].strip())
        if all(
            paragraph.startswith(("\\[", "$$", "\\boxed")) or _is_rule(paragraph)
            for paragraph in more
        ):  # a formula may follow, but no further reasoning
            return closings[-1].end()
    return end


def _says(rest: str, line: _Line) -> bool:
    """Whether a step has text besides its title."""
    return bool(rest[title_of(rest, line.mark.strip(), line.by_word)[0] :].strip())


def _is_rule(line: str) -> bool:
    return _RULE.fullmatch("".join(line.split())) is not None


def _step(block: str, line: _Line) -> ExpertStep:
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
