r"""From a model's text to a verdict: which final answer it gives, and whether that is the reference.

**Extraction** (:func:`extract_answer`): the last ``\boxed{...}`` with balanced braces, wherever it stands, inside a think block too. Boxes that follow
each other with nothing but a comma, "and" or "or" between them are one answer of several parts. Without a box the last ``#### N`` line; without that,
what follows the last "answer is" in its sentence. The last number of a text is never taken for an answer: that would reward unfinished ones.

**Notation** (:func:`plain_notation`), the same for answer and reference, none of it particular to a benchmark: marks that carry no meaning are left out
(``$``, bold stars, a final full stop); ``4.5e33`` is written ``4.5 \times 10^{33}``, ``1./3`` is ``1/3`` and ``np.arcsin`` is ``\arcsin``, because
references are written so and models do not; where the reference is a number, a unit behind the answer's number is left out.

**Verdict** (:class:`Grader`): math-verify in child processes, with a time limit for each answer. Besides, two numbers of which the reference is written
as a decimal (``0.5613``, ``4.5e33``) are the same if they differ by at most 1e-4 of the reference, the tolerance of the Qwen2.5-Math protocol that the
paper follows; integers must be exact.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

from srl_envs.answers import MAX_ANSWER_CHARACTERS, AnswerVerifier, boxes, final_answer, same_text
from srl_envs.errors import InfrastructureError

RELATIVE_TOLERANCE = 1e-4

_ANSWER_IS = re.compile(r"\banswer(?:\s+is\b|\s*[:=])[ *:]*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_JOINT = re.compile(r"(?:[^\S\n]|[$,;]|\\[()\[\],;]|\band\b|\bor\b|\\(?:text|mathrm)\s*\{\s*(?:and|or)\s*\})+")

_MANTISSA = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_LOOSE_SPACE = re.compile(r"\s+(?=\W|$)|(?<=\W)\s+")
_EXPONENT = re.compile(rf"(?<![\w.}}])(?P<mantissa>{_MANTISSA})[eE]\+?(?P<power>-?\d+)(?![\w.])")
_BARE_POINT = re.compile(r"(?<![\w.])(\d+)\.(?=/)")
_TIMES_TEN = re.compile(r"\s*\\(?:times|cdot)\s*10\s*\^\s*")
_NUMBER = re.compile(rf"(?P<mantissa>{_MANTISSA})(?:e(?:\{{(?P<braced>[-+]?\d+)\}}|(?P<power>\d)))?")
_UNIT = re.compile(r"(?P<number>.*[\d.}])(?:(?:\\[ ,;:!]|~|\s)*\\(?:text|mathrm|mbox)\s*\{[^{}]*\}(?:\^\{?-?\d\}?)?|\s+(?P<words>[A-Za-z]{3,}[A-Za-z/ ]*))")
_EASY = (r"\frac{2}{2}", "1")
_NO_UNITS = frozenset(("hundred", "thousand", "million", "billion", "trillion", "dozen", "percent", "squared", "cubed", "factorial"))


def extract_answer(text: str) -> str | None:
    """The final answer that a text gives; None if it gives none. The rules stand at the top of the module."""
    if (boxed := _joined_boxes(text)) is not None:
        return boxed
    if (answer := final_answer(text)) is not None:
        return answer
    said = list(_ANSWER_IS.finditer(text))
    if not said:
        return None
    rest = text[said[-1].end() :].partition("\n")[0]
    return _SENTENCE_END.split(rest, maxsplit=1)[0].strip(" *$") or None


def _joined_boxes(text: str) -> str | None:
    """The last box and those directly before it, each content once, joined by commas."""
    found = boxes(text)
    if not found:
        return None
    parts = [found[-1]]
    for box in reversed(found[:-1]):
        if box.end > parts[0].start or not _JOINT.fullmatch(text[box.end : parts[0].start]):
            break
        parts.insert(0, box)
    return ", ".join(dict.fromkeys(part.content for part in parts))


def plain_notation(text: str) -> str:
    """An answer without marks that carry no meaning, its numbers as math-verify reads them."""
    text = re.sub(r"(?<!\\)\$|\*\*|\\[()]", "", text).strip()
    text = re.sub(r"(?<=[\w})\]])\s*\.$", "", text)
    text = re.sub(r"(?<=[_^])\{(\w)\}", r"\1", text)
    text = re.sub(r"\b(?:np|numpy|math)\.(?=[a-z])", r"\\", text)
    text = _BARE_POINT.sub(r"\1", text)
    return _EXPONENT.sub(r"\g<mantissa> \\times 10^{\g<power>}", text)


def number(text: str) -> tuple[float, bool] | None:
    """The value of a number in plain notation, and whether it is written as a decimal (with a point or a power of ten); None if it is no number."""
    compact = _TIMES_TEN.sub("e", re.sub(r"\\[,;:!]", "", text.replace("{,}", ",")).strip())
    match = _NUMBER.fullmatch(compact)
    if match is None:
        return None
    power = match["braced"] or match["power"]
    value = float(f"{match['mantissa'].replace(',', '')}e{power or 0}")
    return (value, power is not None or "." in compact) if math.isfinite(value) else None


def without_unit(text: str) -> str:
    """A number without the unit behind it: text in LaTeX, or words of three letters and more, unless they are part of the number (million)."""
    match = _UNIT.fullmatch(text)
    if match is None or (match["words"] and _NO_UNITS & set(match["words"].lower().split())):
        return text
    return match["number"]


class Grader:
    """Compares answers with references, several at a time, each in a child process that is ended when it takes too long.

    Use it as a context manager, or call :meth:`close`. Answers are compared once: the same pair gets the same verdict from memory.

    Args:
        timeout: Seconds that one answer may take; one that takes longer is wrong.
        processes: Children that verify side by side; they start when they are needed.
    """

    def __init__(self, timeout: float = 10.0, processes: int = min(4, os.cpu_count() or 1)) -> None:
        self._verifiers = [AnswerVerifier(timeout) for _ in range(processes)]
        self._free: SimpleQueue[AnswerVerifier] = SimpleQueue()
        for verifier in self._verifiers:
            self._free.put(verifier)
        self._known: dict[tuple[str, str], bool] = {}

    def grade(self, pairs: Sequence[tuple[str | None, str]]) -> list[bool]:
        """Whether each answer is its reference; no answer is wrong.

        Raises:
            InfrastructureError: A child process could not be started, or ended by itself.
        """
        new = {(answer, reference) for answer, reference in pairs if answer is not None} - self._known.keys()
        with ThreadPoolExecutor(max_workers=len(self._verifiers)) as pool:
            self._known.update(zip(new, pool.map(lambda pair: self._compare(*pair), new), strict=True))
        return [answer is not None and self._known[answer, reference] for answer, reference in pairs]

    def same(self, answer: str, reference: str) -> bool:
        """Whether an answer is the reference."""
        if (answer, reference) not in self._known:
            self._known[answer, reference] = self._compare(answer, reference)
        return self._known[answer, reference]

    def close(self) -> None:
        """End the child processes. A second call does nothing."""
        for verifier in self._verifiers:
            verifier.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _compare(self, answer: str, reference: str) -> bool:
        if same_text(answer, reference):
            return True
        if len(answer) > MAX_ANSWER_CHARACTERS:
            return False
        given, wanted = plain_notation(answer), plain_notation(reference)
        if _LOOSE_SPACE.sub("", given) == _LOOSE_SPACE.sub("", wanted):
            return True
        if (target := number(wanted)) is not None:
            given = without_unit(given)
            if (value := number(given)) is not None and (target[1] or value[0] == target[0]):
                return math.isclose(value[0], target[0], rel_tol=RELATIVE_TOLERANCE)
        verifier = self._free.get()
        try:
            return _verify(verifier, given, wanted)
        finally:
            self._free.put(verifier)


def _verify(verifier: AnswerVerifier, answer: str, reference: str) -> bool:
    """The verifier's verdict; an answer on which its process ends twice is wrong, if a new process then verifies another one."""
    for _ in range(2):
        try:
            return verifier.verify(answer, reference)
        except InfrastructureError:
            verifier.close()
    verifier.verify(*_EASY)  # raises again where the machine is at fault, not the answer
    return False
