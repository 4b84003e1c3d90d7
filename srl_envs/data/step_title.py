r"""Where a step's title ends, as in ``2. **Coprime Pairs**: We count them``.

Bold text, the line of a heading, and what ends in a colon behind ``Step 2:`` are titles.
Behind a plain number a title ends in a colon too, but a sentence that leads to a formula
does so as well (``2. Solve for x: $2x = 4$``), and times, ratios and URLs hold colons.
So there a colon ends a title only before words, and not in a sentence ("We see: ...").
Nor is a line a title that has numbers and ends in a full stop, or that nothing but the
boxed answer follows.
"""

from __future__ import annotations

import re

from srl_envs.data.step_lines import BLANK

_BEHIND = rf"{BLANK}*(?:[:\uff1a]|[-\u2013\u2014](?={BLANK})|\.(?={BLANK}))?{BLANK}*"
_BEHIND_TITLE = re.compile(rf":?{BLANK}*")
_BEHIND_NUMBER = re.compile(
    rf"{BLANK}*(?:[:\uff1a]|[.)](?=\s)|[-\u2013\u2014](?={BLANK}))?{BLANK}*"
)
_BOLD = re.compile(
    r"\s*(?!(?:\*\*|__)(?:(?i:step)\s*\d|\d+[.)]\s))(?:\*\*(?P<stars>[^*\n]{1,120}?):?\*\*(?!\*)|__(?P<lines>[^_\n]{1,120}?):?__"
    rf"|\\textbf\{{(?P<latex>[^{{}}\n]{{1,120}}?):?\}}){_BEHIND}"
    rf"|\s*\*(?!\*)(?P<italic>[^*\n]{{1,120}}?)(?::\*|\*:)(?=\s){BLANK}*"
)
_PLAIN = re.compile(rf"\s*(?P<title>[^\n:.$\\]{{1,80}})[:\uff1a](?=\s){BLANK}*")
_WHOLE_LINE = re.compile(
    # "We see that x = 3." says something already, and so do two sentences: no titles.
    r"(?![^\n]*[=$\\\d][^\n]*[.,;]\s*\n)(?![^\n]*(?:[a-z)]{3}|\d)[.!?] +[A-Z])"
    rf"{BLANK}*(?P<title>[^\n]{{1,120}}?):?(?:\*\*)?:?\s*?(?=\r?\n)"
)
_HEADING = re.compile(rf"{BLANK}*(?P<title>[^\n]{{1,200}}?):?(?:\*\*)?:?\s*?(?=\r?\n)")
_BOX = re.compile(r"(?:\s|\$|\\[\[(])*(?:[^A-Za-z\\\n]*|[^\n]*=\s*)\\f?box(?:ed)?\s*\{")
_NAME = re.compile(r"[^\W\d_]{2}")
_NAME_AND_NUMBER = re.compile(r"[^\W\d_]+ \d+")
_SENTENCE = re.compile(
    r"(?:we|i|you|he|she|they|to|it|this|that|there|these|so|then|thus|hence|therefore|since"
    r"|because|let|as|but|note|now)\b",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|gets?|equals?|as|by|of|to|that|with|follows|following)$",
    re.IGNORECASE,
)
_MOST_WORDS = 10
_WORDS_FOLLOW = re.compile(
    r"[^\w\\$]*(?:\d[\d,.]*\s+(?![^\n]*[=<>\u2248\u2264\u2265]))?"
    r"(?:[^\W\d_]{2,}|[AaI](?=\s+[^\W\d_]{2}))"
    r"(?!\w*(?:\([^()\n]*\))?\s*[=+*/^<>_\u00d7\u00f7\u2248\u2264\u2265])"
)


def title_of(rest: str, mark: str, by_word: bool) -> tuple[int, str]:
    r"""How many characters behind a step's number are its title, and the title itself.

    Args:
        rest: The step's text behind its number.
        mark: What stood before the number: ``"###"``, ``"**"``, ``r"\section*{"``.
        by_word: Whether the step begins with the word "Step".

    Returns:
        Without a title, the length of what closes the number's bold, and an empty text.
    """
    begin = 0
    if (closed := _closed_head(rest, mark)) is not None:
        head, begin = closed
        title = _clean(head)
        if title:
            return _end(_BEHIND_TITLE, rest, begin), title
        begin = _end(_BEHIND_NUMBER, rest, begin)
    heading = "#" in mark or "section" in mark
    if bold := _BOLD.match(rest, begin):
        title = _clean(next(group for group in bold.groups() if group is not None))
        if any(character.isalpha() for character in title):
            return bold.end(), title
    line = _HEADING.match(rest, begin) if heading else None
    if line and _clean(line["title"]) and not _is_closed(line["title"], rest[line.end() :]):
        return line.end(), _clean(line["title"])
    plain = _PLAIN.match(rest, begin)
    if plain and _is_title(_clean(plain["title"]), rest[plain.end() :], heading or by_word):
        return plain.end(), _clean(plain["title"])
    whole = _WHOLE_LINE.match(rest, begin) if by_word else None
    if whole and _clean(whole["title"]) and not _is_closed(whole["title"], rest[whole.end() :]):
        return whole.end(), _clean(whole["title"])
    return begin, ""


def _closed_head(rest: str, mark: str) -> tuple[str, int] | None:
    """What ends where the mark's bold or brace ends, and where that is; only on one line."""
    line = rest.partition("\n")[0]
    if "{" in mark:
        depth = 1
        for i, character in enumerate(line):
            depth += (character == "{") - (character == "}")
            if not depth:
                return line[:i], i + 1
        return None
    bold = re.search(r"(?:\*+|__)$", mark)
    if bold is None:
        return None
    head, close, _ = line.partition(bold[0])
    return (head, len(head) + len(close)) if close else None


def _is_closed(line: str, after: str) -> bool:
    """Whether a line is a sentence that only the boxed answer follows."""
    if _BOX.match(after):
        return True
    said = line.rstrip(" *_")[-1:] == "." and "boxed" in after
    return said and "\n" not in after.strip()


def _is_title(title: str, after: str, marked: bool) -> bool:
    """Whether text before a colon and a blank is a title."""
    if not any(character.isalpha() for character in title) or "=" in title:
        return False
    if title.count("(") != title.count(")"):
        return False
    follows = after.lstrip()
    if title[-1].isdigit() and follows[:1].isdigit() and not _NAME_AND_NUMBER.fullmatch(title):
        return False  # a ratio
    if marked:  # "Step 2: We see: it is odd." has none, but a line of its own is one
        return "\n" in after[: len(after) - len(follows)] or not _SENTENCE.match(title)
    if not _NAME.search(title) or len(title.split()) > _MOST_WORDS:
        return False
    if _SENTENCE.match(title) or _UNFINISHED.search(title):
        return False
    return _WORDS_FOLLOW.match(follows) is not None


def _clean(title: str) -> str:
    return title.strip().strip(":\uff1a").strip()


def _end(pattern: re.Pattern[str], text: str, begin: int) -> int:
    match = pattern.match(text, begin)
    return match.end() if match else begin
