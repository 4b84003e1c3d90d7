r"""Agreement of the verdicts with labelled answers, beside math-verify alone, and their time.

    python benchmarks/grading.py ../shared/data [FILE ...]        (two minutes on 2 CPU cores)

A folder is searched for files of labelled answers. Their rows have a text (``solution`` or
``answer``), a reference (``gold`` or ``answer``) and ``correct``; or they are OpenAI's
solutions to GSM8K, each with ``is_correct``. The same folder's references are then changed
by one number or the sign: no verdict may call such an answer right.

math-verify reads the same texts with its default settings; the reference is given to it in a
box. Every disagreement of ours is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import math_verify

from srl_envs.answers.grading import Grader, extract_answer


class Labelled(NamedTuple):
    """A model's text, the reference, and whether its authors call it right."""

    text: str
    reference: str
    correct: bool


def labelled_rows(file: Path) -> list[Labelled]:
    """The labelled answers of a JSON Lines file; none if it holds no labels."""
    found: list[Labelled] = []
    for line in file.read_text().splitlines():
        row = json.loads(line)
        if isinstance(row.get("correct"), bool):
            text = row["solution"] if "solution" in row else row["answer"]
            found.append(Labelled(text, str(row.get("gold", row["answer"])), row["correct"]))
        elif "ground_truth" in row:  # OpenAI's: one reference, one solution of each model
            reference = row["ground_truth"].rpartition("A: ")[2].strip()
            solutions = [value for value in row.values() if isinstance(value, dict)]
            found += [Labelled(s["solution"], reference, s["is_correct"]) for s in solutions]
        else:
            return []
    return found


def references(folder: Path) -> list[str]:
    """Every reference of the benchmarks, of the labelled solutions and of GSM8K's test set."""
    files = [
        *(folder / "math_bench").glob("*.jsonl"),
        folder / "math_expert" / "qwen25math_cot100x8.jsonl",
        folder / "gsm8k" / "test.jsonl",
    ]
    answers = (
        str(json.loads(line)["answer"]).rpartition("#### ")[2].strip()
        for file in files
        for line in file.read_text().splitlines()
    )
    return sorted(set(answers))


def changed(reference: str) -> set[str]:
    """A reference with another sign, or with one of its numbers changed.

    That is: plus and minus 1, times 2 and 10, another last digit, two digits swapped.
    """
    found = {reference[1:] if reference.startswith("-") else f"-{reference}"}
    for match in re.finditer(r"\d+(?:\.\d+)?|\.\d+", reference):
        before, text, after = reference[: match.start()], match[0], reference[match.end() :]
        if re.search(r"\\frac\s*\d?$", before):  # \frac34 would become \frac68
            continue
        value = float(text)
        values = [value + 1, value - 1, 2 * value, 10 * value] if value else [1.0]
        numbers = {f"{round(value, 9):.12g}" for value in values}
        numbers.add(text[:-1] + str((int(text[-1]) + 1) % 10))
        for at in range(len(text) - 1):
            if text[at : at + 2].isdigit() and text[at] != text[at + 1]:
                numbers.add(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
        found |= {before + number + after for number in numbers}
    return {text for text in found if not re.search(r",0(?!\d)|,0,|^-0$", text)} - {
        reference
    }  # 14,000 would become "14,0"


def ours(rows: Sequence[Labelled]) -> list[bool]:
    with Grader() as grader:
        return grader.grade([(extract_answer(row.text), row.reference) for row in rows])


def math_verify_alone(rows: Sequence[Labelled]) -> list[bool]:
    return [
        bool(
            math_verify.verify(
                math_verify.parse(f"\\boxed{{{row.reference}}}"), math_verify.parse(row.text)
            )
        )
        for row in rows
    ]


def report(name: str, rows: Sequence[Labelled]) -> None:
    """Print the agreement of both with the labels, and our disagreements."""
    peers: Iterable[tuple[str, Callable[[Sequence[Labelled]], list[bool]]]] = (
        ("ours", ours),
        ("math-verify", math_verify_alone),
    )
    for peer, verdicts_of in peers:
        start = processor_seconds()
        verdicts = verdicts_of(rows)
        seconds = processor_seconds() - start
        pairs = list(zip(rows, verdicts, strict=True))
        false_positive = [row for row, right in pairs if right and not row.correct]
        false_negative = [row for row, right in pairs if not right and row.correct]
        agreement = 1 - (len(false_positive) + len(false_negative)) / len(rows)
        print(
            f"{name:<34} {peer:<12} {len(rows):7,} {agreement:9.2%} {len(false_positive):7} "
            f"{len(false_negative):7} {seconds / len(rows) * 1000:9.2f}",
            flush=True,
        )
        if peer == "ours":
            for row in false_positive + false_negative:
                answer = extract_answer(row.text)
                print(f"    {answer!r} for {row.reference!r}, labelled {row.correct}")


def processor_seconds() -> float:
    """Of this process and of the children that have ended, however busy the machine is."""
    return sum(os.times()[:4])


def labelled_files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(place.rglob("*.jsonl")) if place.is_dir() else [place]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="+", type=Path, help="folders or files of labelled answers")
    parser.add_argument(
        "--changed", type=int, default=2000, help="how many changed references (default 2000)"
    )
    arguments = parser.parse_args()
    print(
        f"{'labelled answers':<34} {'by':<12} {'answers':>7} {'agreement':>9} {'false +':>7} "
        f"{'false -':>7} {'ms of CPU':>9}"
    )
    for file in labelled_files(arguments.places):
        if rows := labelled_rows(file):
            report(file.stem[:34], rows)
    for folder in (place for place in arguments.places if (place / "math_bench").is_dir()):
        pairs = [
            Labelled(f"\\boxed{{{answer}}}", reference, False)
            for reference in references(folder)
            for answer in sorted(changed(reference))
        ]
        random.Random(0).shuffle(pairs)
        report("changed references", pairs[: arguments.changed])


if __name__ == "__main__":
    main()
