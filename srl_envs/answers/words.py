r"""Final answers in words: names, choices, dates and times of day."""

from __future__ import annotations

import re

_CHOICE = re.compile(
    r"(?:\\text\{)?\s*(?:\((?P<round>[A-Za-z])\)|(?P<plain>[A-Z])(?:[.:)]|(?=\}|$)))\s*\}?"
    r"\s*[.:)]?\s*(?P<rest>.*)"
)
_ONE_TEXT = re.compile(r"\\text\{[^{}]*\}")
_OPERATOR = re.compile(
    r"[-+*/^=<>_'!,;]|(?:and|or)\b|\\(?:times|cdot|cup|cap|le|ge|neq|in|pm)(?![A-Za-z])"
)
_WORD = re.compile(r"[^\W\d_]+(?:['.-][^\W\d_]+)*|\d+")
_SENTENCE = re.compile(r"[^\W_][^\\^_={}()\[\]<>+*/|]*")
_SEPARATOR = re.compile(r"[,;]|\b(?:and|or)\b")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SAME_WORDS = {
    "empty set": r"\emptyset", "no solution": r"\emptyset", "no solutions": r"\emptyset",
    "no real solution": r"\emptyset", "no real solutions": r"\emptyset", "none": r"\emptyset",
    "true": "yes", "false": "no", "yes": "yes", "no": "no", "dne": "does not exist",
}  # fmt: skip
_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?:\s*:\s*(?P<minute>\d\d))?\s*(?:\\text\{)?\s*"
    r"(?:(?P<half>[ap])\.?\s?m\.*)?\s*\}?",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?P<year>[12]\d{3})([-/])(?P<month>0[1-9]|1[0-2])\2(?P<day>[0-3]\d)")
_NOON = re.compile(
    r"(?:12(?::00)?\s*)?(?:\\text\{\s*)?(?:12\s*)?(noon|midnight)\s*\}?", re.IGNORECASE
)
_OCLOCK = re.compile(r"\s*(?:\\text\{\s*)?o'? ?clock\b\s*\}?", re.IGNORECASE)
_LETTERS = re.compile(r"\(?[A-H]\)?(?:\s*(?:,|;|\band\b)*\s*\(?[A-H]\)?)+")


def choice_of(text: str) -> tuple[str, str] | None:
    """The letter of a multiple choice and what follows it; None if a text is not one."""
    if re.fullmatch("[a-d]", text):
        return text.upper(), ""
    match = _CHOICE.fullmatch(text)
    if match is None or _OPERATOR.match(match["rest"]):
        return None
    return (match["round"] or match["plain"]).upper(), match["rest"]


def chosen_letters(text: str) -> str | None:
    """The letters of several choices, sorted: of ``ABD``, ``A, B, D`` and ``(A) and (B)``."""
    if _ONE_TEXT.fullmatch(text):
        text = text[6:-1]
    if _LETTERS.fullmatch(text) is None:
        return None
    letters = re.findall("[A-H]", text)
    return "".join(sorted(letters)) if len(set(letters)) == len(letters) else None


def same_words(one: str, other: str) -> bool | None:
    """Whether two answers in words are the same; None if either is not in words.

    Other words in both may still be the same list.
    """
    words, other_words = _in_words(one), _in_words(other)
    if words is None or other_words is None:
        return None
    listed = all(_SEPARATOR.search(text) for text in (one, other))
    return words == other_words or (None if listed else False)


def _in_words(text: str) -> str | None:
    r"""The words of an answer in small letters, the parts of a date sorted.

    An answer is in words if it holds a word of three letters, and is marked as text, or
    has several words, or is one word and nothing else.
    """
    if text == r"\emptyset":
        return text
    flat = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).replace('"', " ").strip()
    if flat.lower() in _SAME_WORDS:
        return _SAME_WORDS[flat.lower()]
    flat = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", flat)
    words = [word.lower() for word in _WORD.findall(flat)]
    long = [word for word in words if len(word) > 2 and not word.isdigit()]
    marked = r"\text{" in text
    if not _SENTENCE.fullmatch(flat) or not (
        (long and (marked or len(words) > 1 or flat.isalpha())) or (marked and flat.isalpha())
    ):
        return None
    if any(word[:3] in _MONTHS for word in long):
        return " ".join(sorted(word[:3] if word[:3] in _MONTHS else word for word in words))
    if flat[0].isdigit():  # a number with its unit
        return None
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    joined = " ".join(words)
    return _SAME_WORDS.get(joined, joined)


def same_date(one: str, other: str) -> bool | None:
    """Whether two dates are the same, of which one at least is written ``2020-03-05``.

    None if either is not a date.
    """
    if not (_DATE.fullmatch(one) or _DATE.fullmatch(other)):
        return None
    dates = [_in_words(_DATE.sub(_spelled_date, text)) or "" for text in (one, other)]
    return dates[0] == dates[1] if all(any(c.isalpha() for c in date) for date in dates) else None


def _spelled_date(match: re.Match[str]) -> str:
    return f"{_MONTHS[int(match['month']) - 1]} {int(match['day'])}, {match['year']}"


def same_time(one: str, other: str) -> bool | None:
    """Whether two times of day are the same; a.m. and p.m. may be absent on one side.

    None if either is not a time.
    """
    times = [_TIME.fullmatch(_in_digits(text)) for text in (one, other)]
    if not all(time and (time["minute"] or time["half"]) for time in times):
        return None
    (hours, minute), (other_hours, other_minute) = (_clock(time) for time in times if time)
    return minute == other_minute and bool(hours & other_hours)


def _in_digits(text: str) -> str:
    if (match := _NOON.fullmatch(text)) is not None:
        return "12:00 pm" if match[1].lower() == "noon" else "12:00 am"
    return _OCLOCK.sub(":00 ", text)


def _clock(time: re.Match[str]) -> tuple[set[int], int]:
    """The hours of the day that a time may mean, and its minute."""
    hour, half = int(time["hour"]), (time["half"] or "").lower()
    if half:
        return {hour % 12 + (12 if half == "p" else 0)}, int(time["minute"] or 0)
    return {hour, (hour + 12) % 24} if 0 < hour <= 12 else {hour}, int(time["minute"] or 0)
