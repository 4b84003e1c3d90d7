"""Which training questions are also in the math benchmarks that this project evaluates.

A question overlaps if its normalized text is a benchmark's, or shares 13 words in a row
with one (the usual measure since GPT-3, arXiv 2005.14165, appendix C). Shorter questions
of a benchmark are found inside a longer text too, such as before an instruction. It says
nothing of paraphrases, translations, or other benchmarks.

Curation (:func:`overlapping_benchmark`) also leaves out tasks of the 12 repositories of
SWE-bench Verified: other issues of these show the same code.

Training needs no benchmark's file for it: the package holds fingerprints, which are
hashes of these texts and words and not the problems, of AMC23, AIME24, AIME25, Minerva
Math, MATH-500 and GSM8K's test set. :func:`write_fingerprints` makes them.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from srl_envs.trajectory import Trajectory

WORDS = 13
"""How many words in a row count as an overlap."""

SWE_BENCH = "swe_bench_verified"
"""What an overlap with SWE-bench Verified is called."""

_SWE_BENCH_ID = re.compile(
    r"(?:astropy__astropy|django__django|matplotlib__matplotlib|mwaskom__seaborn|pallets__flask"
    r"|psf__requests|pydata__xarray|pylint-dev__pylint|pytest-dev__pytest"
    r"|scikit-learn__scikit-learn|sphinx-doc__sphinx|sympy__sympy)[-.]"
)
_BYTES = 5  # of a hash: 80,000 of them, so one in 14 million other texts is taken for one of these
_FILE = Path(__file__).with_name("benchmark_fingerprints.bin")
_LAYOUT = re.compile(  # of LaTeX: what the same problem has in one copy and not in another
    r"\\(?:left|right|text(?:bf|it|rm)?|math(?:rm|bf)|displaystyle|q?quad|big[lr]?|[,;:! ])"
    r"(?![a-z])"
)
_FRACTION = re.compile(r"\\[dt]frac(?![a-z])")
_TAG = re.compile(r"</?\w+>")
_BLANK = re.compile(r"(?<!\\)(\s+)")
_SENTENCE_END = re.compile(r"[.!?:;\u3002\uff1f\uff01\uff1a][\"')\]*_$]*$")
_SENTENCE_START = re.compile(r"[\W_]*[A-Z]|\(")
_FEWEST_TOKENS = 6  # of a question that ends or begins within a sentence
_TOKEN = re.compile(r"[^\W_]+|[-+*/=<>^!]")


@lru_cache(maxsize=100_000)
def benchmark_of(question: str) -> str:
    """The benchmark that holds a question: ``"math500"``, or empty if none does.

    If only 13 words in a row or a shorter question inside it are the same, it says so:
    ``"math500, in part"``.
    """
    known = _fingerprints()
    whole, *parts = _marks(question)
    if whole in known:
        return known[whole]
    parts += [_hash(f"= {tokens}") for tokens in _short_runs(question)]
    return next((f"{known[mark]}, in part" for mark in parts if mark in known), "")


def benchmark_overlap(trajectories: Iterable[Trajectory]) -> Counter[str]:
    """How many trajectories share their question with a benchmark, by benchmark.

    Issues of software engineering are not compared.
    """
    return Counter(name for one in trajectories if (name := _of(one)))


def without_overlap(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """The trajectories whose questions are in no benchmark."""
    return [trajectory for trajectory in trajectories if not _of(trajectory)]


def _of(trajectory: Trajectory) -> str:
    return "" if trajectory.domain == "swe" else benchmark_of(trajectory.prompt)


def overlapping_benchmark(trajectory: Trajectory) -> str:
    """The benchmark that holds a trajectory's question, or its repository; empty if none does.

    Curation asks this; loading compares questions only.
    """
    if trajectory.domain != "swe":
        return benchmark_of(trajectory.prompt)
    names = (str(trajectory.metadata.get("instance_id", "")), trajectory.id)
    return SWE_BENCH if any(map(_SWE_BENCH_ID.match, names)) else ""


def write_fingerprints(benchmarks: Mapping[str, Iterable[str]], path: Path = _FILE) -> None:
    """Write the fingerprints of benchmarks, by name, from their questions."""
    parts = {
        name: sorted({mark for question in questions for mark in _marks(question)})
        for name, questions in benchmarks.items()
    }
    header = json.dumps({name: len(marks) for name, marks in parts.items()})
    path.write_bytes(header.encode() + b"\n" + b"".join(b"".join(part) for part in parts.values()))


@lru_cache(maxsize=1)
def _fingerprints() -> Mapping[bytes, str]:
    """Hash -> the benchmark that has it."""
    header, _, hashes = _FILE.read_bytes().partition(b"\n")
    names = [name for name, count in json.loads(header).items() for _ in range(count)]
    return {hashes[i * _BYTES : (i + 1) * _BYTES]: name for i, name in enumerate(names)}


def _marks(question: str) -> Iterator[bytes]:
    """A hash of the whole normalized question, and one of each 13 words in a row."""
    tokens = _tokens(unicodedata.normalize("NFKC", question))
    yield _hash("= " + " ".join(tokens))
    words = [token for token in tokens if token[0].isalnum()]
    for i in range(len(words) - WORDS + 1):
        yield _hash(" ".join(words[i : i + WORDS]))


def _short_runs(question: str) -> Iterator[str]:
    """The tokens of each part of a text that may be a whole question of under 13 words.

    It begins or ends where a sentence may; one that does only one of both is longer than a
    few tokens.
    """
    text = _TAG.sub("\n", unicodedata.normalize("NFKC", question))
    chunks, begins = [], []  # of a text between blanks; whether a sentence may begin with it
    before, blank = ".", ""
    for i, piece in enumerate(_BLANK.split(text)):
        if i % 2:
            blank = piece
        elif piece and (tokens := _tokens(piece)):
            begins.append(
                "\n" in blank
                or _SENTENCE_END.search(before) is not None
                or _SENTENCE_START.match(piece) is not None
            )
            chunks.append(tokens)
            before = piece
    begins.append(True)
    words = [sum(token[0].isalnum() for token in tokens) for tokens in chunks]
    for first in range(len(chunks)):
        run: list[str] = []
        left = WORDS
        for last in range(first, min(len(chunks), first + 4 * WORDS)):
            run += chunks[last]
            left -= words[last]
            if left <= 0:
                break
            whole = begins[first] + begins[last + 1]  # of its two ends, those of a sentence
            if whole == 2 or (whole == 1 and len(run) >= _FEWEST_TOKENS):
                yield " ".join(run)


def _tokens(text: str) -> list[str]:
    text = text.casefold().replace("\u2212", "-")
    return _TOKEN.findall(_FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", text)))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
