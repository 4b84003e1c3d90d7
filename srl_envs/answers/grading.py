r"""From a model's text to a verdict: its final answer, and whether that is the reference.

**Extraction** (:func:`extract_answer`), the first of these that a text has:

* The last ``\boxed{...}``, inside a think block too. Boxes with nothing but spacing, a
  comma, "and" or "or" between them are one answer of several parts.
* What follows the last ``####`` in its line.
* What the last ``<answer>...</answer>`` holds.
* What follows the last "answer is", ``**Answer**:`` or heading "Final Answer", to the end
  of its sentence.
* What follows ``A:`` in the last line.

The last number of a text is never taken for an answer, nor a box that the end of the text
cuts off: that would reward unfinished ones.

**Verdict** (:class:`Grader`): :mod:`srl_envs.answers.equality` compares the two, in child
processes with a limit on the processor time of each answer: the same verdict as that of
the environment and the trainer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

from srl_envs.answers.verifier import (
    MAX_ANSWER_CHARACTERS,
    AnswerVerifier,
    boxes,
    final_answer,
    same_text,
)
from srl_envs.errors import InfrastructureError

_MARKS = r"[\s*_`\"')]{0,40}"  # bounded, as what follows each run may be tried at each length
_VERB = (
    r"(?:is|are|was|would be|should be|will be|must be|equals|becomes|comes (?:out )?to"
    r"|turns out to be)\b"
)
_ANSWER_IS = re.compile(
    rf"(?<!\bto )\b(?:answers?|ans|correct (?:option|choice))\b{_MARKS}"
    rf"(?:(?:,?\s{{0,9}}\b(?:to|of|for|in|as|we|I|from|after|when)\b[^.!?\n:=]{{0,80}}?)?\b{_VERB}"
    r"\s*:?|\s{0,9}(?:[:=\uff1a]|\u2192|->))"
    r"|\u7b54\u6848(?:\u662f|\u4e3a)?\s*[:\uff1a]?",
    re.IGNORECASE,
)
_ANSWER_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*)?[*_]*(?:final[ \t]+)?answer[*_]*[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_TAGGED = re.compile(r"<answer>((?:(?!</?answer>).){1,2000})</answer>", re.DOTALL | re.IGNORECASE)
_FILLER = re.compile(
    r"(?:\s|[*_$`:]|\\[(\[]|\b(?:therefore|thus|hence|then|simply|just|equal to|given by|exactly"
    r"|clearly|indeed|approximately|about|roughly|option|choice|the number|also|now)\b[ ,:]*)*",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"(?<!\b[ap]\.m)(?<!\b[ap])[.!?](?:[\s*$)]|$)|\u3002"
    r"|,?\s\(?(?:because|since|which|as (?:we|shown|required|desired))\b"
)
_MATH_BORDER = re.compile(r"(?<!\\)(?:\$\$?|\\[()\[\]])")
_TAIL = re.compile(r"(?<![\s*_`.,;:])(?:\s|[*_`.,;:]|(?<!\\)\$|\\[)\]])+$")
_NO_ANSWER = re.compile(
    r"(?:not|correct|right|wrong|incorrect|valid|reasonable|unique|unknown|as follows|below|above"
    r"|found|obtained|that|in|one of|what|given)(?:\b.*)?|(?:a|an|the)\s.*",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"(?:\s|[$,;&~]|\\[()\[\],;:! ]|\\\\|\\q?quad(?![A-Za-z])|\b(?:and|or|also)\b"
    r"|\\(?:lor|land|vee|wedge)(?![A-Za-z])"
    r"|\\(?:text|mathrm|textbf|mbox)\s*\{\s*(?:,\s*)?(?:(?:and|or)\s*)?(?:,\s*)?\})+"
)
_MAX_SENTENCE = 2 * MAX_ANSWER_CHARACTERS
"""How much of a sentence is read: what has no end by then is too long for an answer."""
_NEXT_PARAGRAPH = re.compile(r"\n[ \t]*\n")

_EASY = (r"\frac{2}{2}", "1")


def extract_answer(text: str) -> str | None:
    """The final answer that a text gives, by the rules at the top of the module, or None."""
    if (boxed := _joined_boxes(text)) is not None:
        return boxed
    if (answer := final_answer(text)) is not None:
        return answer
    if tagged := [match[1].strip() for match in _TAGGED.finditer(text) if match[1].strip()]:
        return tagged[-1]
    said = [*_ANSWER_IS.finditer(text), *_ANSWER_HEADING.finditer(text)]
    for match in sorted(said, key=lambda match: match.end(), reverse=True):
        if (answer := _said(text, match.end())) is not None:
            return answer
    last_line = text.rstrip().rpartition("\n")[2].lstrip(" \t")
    return _said(last_line, 2) if last_line.startswith("A:") else None


def _said(text: str, at: int) -> str | None:
    """The answer at a place in a text; None if the sentence there says something else."""
    filler = _FILLER.match(text, at, at + _MAX_SENTENCE)
    start = filler.end() if filler else at
    sentence = text[start : start + _MAX_SENTENCE].partition("\n")[0]
    in_math = len(_MATH_BORDER.findall(text[at:start])) % 2 == 1
    answer = _TAIL.sub("", sentence[: _sentence_end(sentence, in_math)].rstrip())
    if not answer or answer.count("{") != answer.count("}"):  # a box that is cut off
        return None
    return None if _NO_ANSWER.fullmatch(answer) else answer


def _sentence_end(sentence: str, in_math: bool) -> int:
    """Where the sentence ends. In a formula, ``!`` is a factorial.

    Args:
        sentence: The text from the answer on.
        in_math: Whether it begins inside a formula.
    """
    for end in _AFTER.finditer(sentence):
        borders = len(_MATH_BORDER.findall(sentence[: end.start()]))
        if not (end[0].startswith("!") and borders % 2 != in_math):
            return end.start()
    return len(sentence)


def _joined_boxes(text: str) -> str | None:
    """The last box and those directly before it, each content once, joined by commas."""
    found = boxes(text)
    if not found:
        return None
    parts = [found[-1]]
    for box in reversed(found[:-1]):
        between = text[box.end : parts[0].start]
        if (
            box.end > parts[0].start
            or not _JOINT.fullmatch(between)
            or (_NEXT_PARAGRAPH.search(between) and not between.strip(" \n$\\[]()"))
        ):
            break
        parts.insert(0, box)
    return ", ".join(dict.fromkeys(part.content for part in parts))


class Grader:
    """Compares answers with references, several at a time.

    Each comparison runs in a child process, which is ended if it takes too long.

    Use it as a context manager, or call :meth:`close`. Answers are compared once: the
    same pair gets the same verdict from memory.

    Args:
        timeout: Seconds of processor time that one answer may take; one that takes
            longer is wrong.
        processes: Children that verify side by side; they start when they are needed.
    """

    def __init__(self, timeout: float = 10.0, processes: int = min(4, os.cpu_count() or 1)) -> None:
        self._verifiers = [AnswerVerifier(timeout) for _ in range(processes)]
        self._free: SimpleQueue[AnswerVerifier] = SimpleQueue()
        for verifier in self._verifiers:
            self._free.put(verifier)
        self._known: dict[tuple[str, str], bool] = {}
        self._hanging: set[str] = set()

    def grade(self, pairs: Sequence[tuple[str | None, str]]) -> list[bool]:
        """Whether each answer is its reference; no answer is wrong.

        Raises:
            InfrastructureError: A child process could not be started, or ended by
                itself.
        """
        new: dict[tuple[str, str], None] = {  # in order, so that a reference is read once
            (answer, reference): None
            for answer, reference in pairs
            if answer is not None and (answer, reference) not in self._known
        }
        with ThreadPoolExecutor(max_workers=len(self._verifiers)) as pool:
            self._known.update(
                zip(new, pool.map(lambda pair: self._compare(*pair), new), strict=True)
            )
        return [
            answer is not None and self._known[answer, reference] for answer, reference in pairs
        ]

    def same(self, one: str, other: str) -> bool:
        """Whether two answers mean the same, for a vote: the verdict on one given the other.

        An answer that could not be graded in time counts only by its text.
        """
        if {one, other} & self._hanging:
            return same_text(one, other)
        pair = (min(one, other), max(one, other))
        return self.grade([pair])[0]

    def close(self) -> None:
        """End the child processes. A second call does nothing."""
        for verifier in self._verifiers:
            verifier.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _compare(self, answer: str, reference: str) -> bool:
        verifier = self._free.get()
        try:
            verdict = _verify(verifier, answer, reference)
            if verifier.timed_out:
                self._hanging.add(answer)
            return verdict
        finally:
            self._free.put(verifier)


def _verify(verifier: AnswerVerifier, answer: str, reference: str) -> bool:
    """The verifier's verdict.

    An answer on which its process ends twice is wrong if a new process then verifies
    another one.
    """
    for _ in range(2):
        try:
            return verifier.verify(answer, reference)
        except InfrastructureError:
            verifier.close()
    verifier.verify(*_EASY)  # raises again where the machine is at fault, not the answer
    return False
