"""Final answers: finds one in a text, and verifies it against the reference in bounded time.

math-verify's own time limits work by signals, hence in a main thread only, and an
expression like ``9**9**9`` cannot be interrupted by one. So it runs in a process of its
own, without those limits, that the system ends when an answer has used up its processor
time. That is counted, not the time on the wall, so that a verdict does not depend on
what else the machine does.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import signal
import subprocess
import sys
from typing import IO, NamedTuple

from srl_envs.answers.equality import same_answer
from srl_envs.errors import InfrastructureError, MissingDependencyError

MAX_ANSWER_CHARACTERS = 1_000
"""A longer final answer is wrong without being verified."""

_BRACES = re.compile(
    r"(?P<box>\\(?:boxed|fbox|framebox)\s*\{)"
    r"|\\boxed(?:\s+|(?=\d))(?P<bare>-?(?:\d[\d.,/]*\d|\w)(?!\w))"  # \boxed 7
    r"|\\(?:\\(?!boxed|fbox|framebox)|[^\\])|(?P<brace>[{}])",
    re.DOTALL,
)  # an escaped brace is neither
_EMPTY = re.compile(r"(?:[\s.]|\\[lc]?dots)*")
_MATH_END = re.compile(r"(?<!\\)\$|\\[)\]]")
_HASHES = re.compile(r"(?<!#)####[ \t]*(?P<answer>[^#\s].*)$", re.MULTILINE)
_HEADING = re.compile(r"[\W_]*(?:\d+[.):]\s+)?[A-Za-z]{3,}[^=]*")
_SILENT_SECONDS = 600.0
"""Wall time after which a child that neither answers nor ends is given up."""
_MEMORY_BYTES = 4 * 2**30
"""Address space of the child: ``2^{10^{11}}`` fails there and spares the machine's memory."""


def final_answer(text: str) -> str | None:
    r"""The last ``\boxed{...}`` of a text, else its last ``#### N``; None without either.

    ``####`` may follow a sentence in its line. In words and with text after it, it is a
    heading of Markdown.
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    for match in reversed(list(_HASHES.finditer(text))):
        answer = match["answer"].rstrip(" \t")
        heading = _HEADING.fullmatch(answer)
        if not (heading and (text[match.end() :].strip() or "answer" in answer.lower())):
            return answer
    return None


class Box(NamedTuple):
    r"""One ``\boxed{...}`` of a text: where it starts and ends, and what it holds."""

    start: int
    end: int
    content: str


def boxes(text: str) -> list[Box]:
    r"""Every ``\boxed{...}`` that holds something, in the order in which they start.

    ``\fbox`` and ``\framebox`` are boxes too. ``\{`` and ``\}`` do not count as braces. The
    last box may lack a brace if the formula around it ends; one that the end of the text
    cuts off is none.
    """
    found: list[Box] = []
    open_braces: list[re.Match[str]] = []
    for match in _BRACES.finditer(text):
        if match["bare"]:
            found.append(Box(match.start(), match.end(), match["bare"]))
        elif match["box"] or match["brace"] == "{":
            open_braces.append(match)
        elif match["brace"] and open_braces:
            opening = open_braces.pop()
            if opening["box"]:
                found.append(
                    Box(opening.start(), match.end(), text[opening.end() : match.start()].strip())
                )
    unclosed = next((match for match in reversed(open_braces) if match["box"]), None)
    if unclosed and (end := _MATH_END.search(text, unclosed.end())):
        content = text[unclosed.end() : end.start()].strip()
        if r"\boxed" not in content:
            found.append(Box(unclosed.start(), end.start(), content))
    return sorted(box for box in found if not _EMPTY.fullmatch(box.content))


def last_boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` with balanced braces holds; None if there is none."""
    found = boxes(text)
    return found[-1].content if found else None


def same_text(answer: str, reference: str) -> bool:
    """Whether two answers are the same but for white space."""
    return answer.split() == reference.split()


class AnswerVerifier:
    """Verifies math answers with math-verify in a child process.

    The process starts with the first answer that needs it.

    Args:
        timeout: Seconds of processor time that one answer may take, above 0; one that
            takes longer is wrong.
    """

    def __init__(self, timeout: float = 10.0) -> None:
        self.timeout = timeout
        self.timed_out = False
        """Whether the last answer took longer than it may."""
        self._child: subprocess.Popen[str] | None = None

    def verify(self, answer: str, reference: str) -> bool:
        """Whether the answer equals the reference, however the two are written.

        Which of the two is the reference makes no difference
        (:mod:`srl_envs.answers.equality`).

        Raises:
            InfrastructureError: The child process could not be started or ended by
                itself: no verdict on the answer.
        """
        self.timed_out = False
        if same_text(answer, reference):
            return True
        if max(len(answer), len(reference)) > MAX_ANSWER_CHARACTERS:
            return False
        if "\\" not in answer + reference:  # LaTeX is read where time is limited
            try:
                return same_answer(answer, reference, _unknown)
            except _HoldsExpressions:
                pass
        return self._ask(answer, reference)

    def _ask(self, answer: str, reference: str) -> bool:
        """math-verify's verdict."""
        child = self._started()
        question = json.dumps([self.timeout, answer, reference])
        try:
            _stream(child.stdin).write(question + "\n")
            _stream(child.stdin).flush()
        except OSError as error:
            self.close()
            raise InfrastructureError(
                f"The process that verifies answers has ended: {error}."
            ) from error
        verdict = self._line()
        self.timed_out = verdict is None
        return verdict == "true"

    def close(self) -> None:
        """End the child process; the next answer starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        _stream(child.stdin).close()
        _stream(child.stdout).close()

    def _started(self) -> subprocess.Popen[str]:
        if self._child is None:
            # The parent's path, so that no module of the same name in the working directory stands
            # before the installed one.
            command = [
                sys.executable,
                "-c",
                f"import sys; sys.path[:] = {sys.path!r}; "
                "from srl_envs.answers.verifier import _serve; _serve()",
            ]
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            if self._line() == "missing":
                self.close()
                raise MissingDependencyError(
                    "Verifying math answers needs math-verify: "
                    'pip install "math-verify>=0.9,<0.10".'
                )
        return self._child

    def _line(self) -> str | None:
        """The child's next line; None if it was ended because its time was used up."""
        assert self._child is not None
        stdout = _stream(self._child.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(_SILENT_SECONDS):
                self.close()
                raise InfrastructureError(
                    f"The process that verifies answers said nothing for "
                    f"{_SILENT_SECONDS:g} s. Is the machine overloaded?"
                )
        line = stdout.readline()
        if not line:
            code = self._child.wait()
            self.close()
            if code == -signal.SIGPROF:
                return None
            raise InfrastructureError(f"The process that verifies answers ended with code {code}.")
        return line.strip()


class _HoldsExpressions(Exception):
    """Answers whose parts only the child can compare."""


def _unknown(one: str, other: str) -> bool:
    raise _HoldsExpressions


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both are pipes
    return stream


def _serve() -> None:
    """The child's loop, until the input ends.

    A line in is a JSON list (seconds, answer, reference), a line out ``true`` or ``false``.
    """
    try:
        from srl_envs.answers.expressions import same_expression
    except ImportError:
        print("missing", flush=True)
        return
    _limit_memory()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the parent, which ends its children
    signal.signal(
        signal.SIGPROF, signal.SIG_DFL
    )  # ends the process, whatever it is in the midst of
    same_expression(
        r"\frac{x}{2}", "2 x"
    )  # the first time takes a second longer, which is not an answer's fault
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, answer, reference = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        same = same_answer(answer, reference, same_expression)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print("true" if same else "false", flush=True)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    with contextlib.suppress(
        ValueError, OSError
    ):  # the system knows no such limit, or has set a lower one
        resource.setrlimit(
            resource.RLIMIT_AS, (_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1])
        )
