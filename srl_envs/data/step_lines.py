"""Which lines of a written solution begin its steps."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

BLANK = r"[^\S\r\n]"  # a blank: any white space within a line, such as a no-break space
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
_CHINESE = "一二三四五六七八九十"
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
_NUMBERS = {
    name.lower(): i
    for names in ("abcdefgh", _WORDS, _ROMAN, _CHINESE, _CIRCLED)
    for i, name in enumerate(names, 1)
}
_STEP = (
    "step|schritt|étape|etape|paso|passo|шаг|крок|krok|stap|adım|bước|langkah"
    "|步骤|步驟|ステップ|手順|단계|(?:ال)?خطوة|चरण"
)
MARK = (  # a heading, an emoji, the start of bold or italics
    rf"(?P<mark>(?P<hash>\#{{1,6}}{BLANK}*)?(?:[^\w\s!-/:-@\[-`{{-~]{{1,3}}{BLANK}*)?"
    r"(?:\\(?:(?:sub)*section|paragraph|text(?:bf|it)|underline|emph)\*?\{)?(?:\*{1,3}|__)?)"
)
_WORD = re.compile(
    rf"^(?P<indent>{BLANK}*)(?:[-*+\u2022]{BLANK}+)?{MARK}\[?(?i:{_STEP})(?:-|{BLANK}*[(\#]?)"
    rf"(?P<number>\d{{1,4}}(?![\d]|[.,]\d)|(?i:{'|'.join(reversed(_WORDS))})\b"
    rf"|(?:{'|'.join(reversed(_ROMAN))})\b)"
    rf"(?P<behind>(?:\)|{BLANK}*(?:/|of\b){BLANK}*\d+)?"
    rf"(?:{BLANK}*[:\uff1a|]|[.)]|\]:?|{BLANK}*[-\u2013\u2014](?!\d)|(?=\*|__|\}})"
    rf"|(?={BLANK}*\r?$)|(?={BLANK}+(?:[A-Z]|\*\*))"
    rf"|(?={BLANK}+\([^()\n]*\){BLANK}*(?:[:*}}]|\r?$))))",
    re.MULTILINE,
)
_ORDINAL = re.compile(  # Chinese and Korean
    rf"^(?P<indent>{BLANK}*)(?:[-*+\u2022]{BLANK}+)?{MARK}(?P<first>第{BLANK}*)?"
    rf"(?P<number>\d{{1,4}}|(?(first)[{_CHINESE}]|(?!)))"
    rf"(?P<behind>{BLANK}*(?(first)步[骤驟]?|단계)"
    rf"(?:{BLANK}*[:：|、，,]|[.)）]|{BLANK}*[-–—](?!\d)|(?=\*|__|\}}|{BLANK}|\r?$)))",
    re.MULTILINE,
)
_CASE = re.compile(
    rf"^(?P<indent>{BLANK}*)(?:[-*+\u2022]{BLANK}+)?{MARK}\(?(?i:case|part|phase|stage)s?{BLANK}*[(\#]?"
    rf"(?P<number>\d{{1,2}}(?![\d.])|(?i:{'|'.join(reversed(_WORDS))}|{'|'.join(reversed(_ROMAN))}"
    rf"|[a-h])\b)"
    rf"(?P<behind>\)?(?:{BLANK}*[:\uff1a]|[.)]|{BLANK}*[-\u2013\u2014](?!\d)|(?=\*|__|\}})"
    rf"|(?={BLANK}*\r?$)|(?={BLANK}+[($\\])))",
    re.MULTILINE,
)
_NUMBER = re.compile(
    rf"^(?P<indent>{BLANK}*){MARK}(?P<number>\d{{1,4}}|[{_CHINESE}](?=、))"
    rf"(?P<behind>(?:\\?[.)\uff0e\u3001]|\.-|\ufe0f?\u20e3)(?={BLANK}|\*\*|__|\}})"
    rf"|[\uff0e\u3001](?=[^\W\d_])|\.(?=[^\W\d_]{{2}})|(?=(?:\*\*|__)[.):])"
    rf"|(?(hash)(?={BLANK}+[^\W\d_]{{2}})|(?!)))[^\n]*$",
    re.MULTILINE,
)
_PARENTHESES = re.compile(
    rf"^(?P<indent>{BLANK}*){MARK}(?P<open>[(（])?"
    rf"(?P<number>(?(open)\d{{1,4}}|[{_CIRCLED}]))"
    rf"(?P<behind>(?(open)(?:\)(?={BLANK}|\*\*|__|\}}|[\u3040-\u9fff])|）)|))[^\n]*$",
    re.MULTILINE,
)
_HAS_WORDS = re.compile(r"[^\n]*?(?<![\\A-Za-z])[^\W\d_]{3}")
FEWEST = 2
Spans = list[tuple[int, int]]

PARAGRAPH = r"\n[^\S\n]*\n"
_NO_STEPS = re.compile(  # thoughts, code, and displayed math, which no empty line may interrupt
    r"\A(?:(?!</think>).)*</think>"
    r"|^[^\S\n]*(?P<fence>```|~~~).*?^[^\S\n]*(?P=fence)"
    r"|\\begin\{(?P<code>verbatim|lstlisting|minted)\}.*?\\end\{(?P=code)\}"
    rf"|\\\[(?:(?!{PARAGRAPH}|\\[\[\]]).)*\\\]|\$\$(?:(?!{PARAGRAPH}|\$\$).)*\$\$"
    r"|\\begin\{(?P<math>(?!enumerate|itemize|document)[a-z]+\*?)\}"
    rf"(?:(?!{PARAGRAPH}).){{0,2000}}?\\end\{{(?P=math)\}}",
    re.DOTALL | re.MULTILINE,
)
_MOST_BLANKS = 3  # as in Markdown: a fourth makes a line part of what is above it


@dataclass(frozen=True, slots=True)
class Line:
    """A line that may begin a step.

    Attributes:
        start: Where it begins.
        rest: Where the text behind its number begins.
        number: Its number.
        columns: How far it is indented.
        mark: What comes before its number, such as ``"### **"``.
        marked: Whether a heading or bold marks it.
        by_word: Whether it says "Step" or "Case".
    """

    start: int
    rest: int
    number: int
    columns: int
    mark: str
    marked: bool
    by_word: bool


def code_and_math(solution: str) -> Spans:
    """Where a solution holds a thought, code or displayed math, in which no step begins."""
    return [match.span() for match in _NO_STEPS.finditer(solution)]


def outermost(solution: str, hidden: Spans) -> tuple[list[Line], list[Line]]:
    """The lines that begin the steps, in the spelling whose steps hold the others, and all of it.

    Where each of several cases ("Case 1", "Part b") counts from 1, these are the steps.
    Both lists are empty without steps.
    """
    words, ordinals, numbers, parentheses = (
        list(_lines(style, solution, hidden)) for style in (_WORD, _ORDINAL, _NUMBER, _PARENTHESES)
    )
    words = words or ordinals
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
            cases = list(_lines(_CASE, solution, hidden))
            outer = _steps_of(solution, cases)
            if not _each_from_one(outer, lines):
                return steps, lines
            return (outer, cases) if outer[0].start < steps[0].start else ([], [])
    return [], []


def buries_a_step(lines: list[Line], starts: list[Line]) -> bool:
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


def _lines(style: re.Pattern[str], solution: str, hidden: Spans) -> Iterator[Line]:
    for match in style.finditer(solution):
        if is_within(match.start(), hidden):
            continue
        number, rest = match["number"], match.end("number") + len(match["behind"])
        yield Line(
            match.start(),
            rest,
            int(number) if number.isdecimal() else _NUMBERS[number.lower()],
            len(match["indent"].expandtabs(4)),
            match["mark"],
            bool(match["mark"].strip()) or solution[rest : match.end()].lstrip()[:2] == "**",
            style in (_WORD, _ORDINAL, _CASE),
        )


def is_within(place: int, hidden: Spans) -> bool:
    """Whether a place is in code or math, or in a thought."""
    return any(begin < place < end or begin == place == 0 for begin, end in hidden)


def _each_from_one(outer: list[Line], inner: list[Line]) -> bool:
    """Whether the inner lines count from the same first number in two or more outer ones."""
    stops = [line.start for line in outer[1:]] + [sys.maxsize]
    firsts = [
        next((line.number for line in inner if begin.start < line.start < stop), None)
        for begin, stop in zip(outer, stops, strict=False)
    ]
    counted = [number for number in firsts if number is not None]
    return len(counted) >= FEWEST and set(counted) <= {0, 1}


def _holds(outer: list[Line], inner: list[Line]) -> bool:
    """Whether all inner lines are in one outer step; in the last one, if indented deeper."""
    if not outer or outer is inner:
        return False
    before = [line for line in outer if line.start < inner[0].start]
    if not before:
        return False
    if len(before) == len(outer):
        return min(line.columns for line in inner) > outer[-1].columns
    return inner[-1].start < outer[len(before)].start


def _steps_of(solution: str, lines: list[Line]) -> list[Line]:
    """Which of the numbered lines are steps; empty if fewer than two are.

    Lines that are indented by up to three blanks count where they add to the steps that
    the least indented lines are.
    """
    least = min((line.columns for line in lines), default=0)
    strict = _top_level(solution, [line for line in lines if line.columns == least])
    loose = _top_level(solution, [line for line in lines if line.columns <= least + _MOST_BLANKS])
    return loose if set(strict) <= set(loose) else strict


def _top_level(solution: str, lines: list[Line]) -> list[Line]:
    """The steps among lines of which some belong to enumerations inside a step.

    Lines read as ``1 [1 2 3] 2 [1 2] 3``: wherever a line could continue both the steps
    and an inner enumeration, both readings are followed. The best one explains most
    numbers, does not cut an enumeration between lines that no blank line parts, and
    then has most steps. A line as deep as an enumeration that is indented continues it.
    The first step may be ``0``.
    """
    first = min(1, lines[0].number) if lines else 1
    # (steps so far, last line of the open inner enumeration) -> (score, the steps)
    readings: dict[tuple[int, Line | None], tuple[int, tuple[Line, ...]]] = {(0, None): (0, ())}
    for i, line in enumerate(lines):
        tight = i > 0 and not re.search(PARAGRAPH, solution[lines[i - 1].start : line.start])
        extended: dict[tuple[int, Line | None], tuple[int, tuple[Line, ...]]] = {}
        for (count, inner), (score, steps) in readings.items():
            options: list[tuple[tuple[int, Line | None], tuple[int, tuple[Line, ...]]]] = []
            left = count > 0 and line.columns < steps[-1].columns
            continues = (
                inner is not None
                and line.number == inner.number + 1
                and not (inner.columns > steps[-1].columns >= line.columns)
            )
            inside = continues and line.columns > steps[-1].columns
            if line.number == count + first and not inside:
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
        key=lambda reading: (len(reading[1]) >= FEWEST, reading[0], len(reading[1])),
    )
    return list(best) if len(best) >= FEWEST else []
