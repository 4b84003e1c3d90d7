from __future__ import annotations

import hashlib
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest

from srl_envs.data.procedural import generate, load_templates
from srl_envs.errors import ConfigError

COUNT = 680  # eight problems of every kind


@pytest.fixture(scope="module")
def problems():
    return generate(COUNT, seed=1)


def test_there_are_at_least_80_kinds(problems) -> None:
    kinds = [kind for kind, _ in load_templates()]
    assert len(kinds) == len(set(kinds)) >= 80
    assert {problem.metadata["kind"] for problem in problems} == set(kinds)


def exact(expression: str) -> Fraction:
    """The value of a calculation, without rounding: evaluated apart from the generator's own
    evaluator.
    """
    return eval(
        re.sub(r"\d+(?:\.\d+)?", r'Fraction("\g<0>")', expression),
        {"__builtins__": {}, "Fraction": Fraction},
    )


def calculations(action: str) -> list[tuple[str, str]]:
    """Pairs of sides of ``a = b`` (also of chains) that are numbers only; sides with an unknown
    are left out.
    """
    sides = action.replace("$", "").split("=")
    pairs = []
    for left, right in pairwise(sides):
        left_part = re.search(r"(?:^|(?<=[\s(]))(?<!x )[\d(][\d.()+*/ -]*$", left.rstrip())
        right_part = re.match(r"\s*([\d(](?:[\d.()+*/ -]*[\d)])?)(?! *[+*/-] *x)", right)
        if left_part and right_part and not re.search(r"x *[+*/-] *$", left[: left_part.start()]):
            pairs.append((left_part[0], right_part[1]))
    return pairs


def test_every_calculation_in_a_step_is_true(problems) -> None:
    checked = Counter()
    for problem in problems:
        for step in problem.steps:
            for left, right in calculations(step.action):
                assert exact(left) == exact(right), step.action
                checked[problem.metadata["kind"]] += 1
    assert set(checked) == {kind for kind, _ in load_templates()}
    assert checked.total() > 3 * COUNT


def test_a_question_asks_for_one_thing(problems) -> None:
    for problem in problems:
        assert (
            len(
                re.findall(
                    r"(?i)\b(?:how (?:many|much|far|long|often|old|large|warm)|what|which)\b",
                    problem.prompt,
                )
            )
            <= 1
        ), problem.prompt


def test_no_step_counts_one_of_a_plural(problems) -> None:
    plurals = re.compile(
        r"(?<![\d./*+-])(?<![+*/-] )\b1 "
        r"(?:hours|days|weeks|tablets|degrees|crates|packs|cans|boxes)\b"
    )
    for problem in problems:
        for text in (problem.prompt, *(step.action for step in problem.steps)):
            assert not plurals.search(text), text


def test_more_problems_than_there_are_questions_is_an_error_that_says_how_many() -> None:
    with pytest.raises(ConfigError, match=r"count is 40000: .* ask for at most \d+"):
        generate(40_000)


def test_every_step_has_title_and_thought_and_no_braces_are_left(problems) -> None:
    for problem in problems:
        assert len(problem.steps) >= 2
        for step in problem.steps:
            assert step.title and step.thought and 10 <= len(step.action) <= 140
            assert not re.search(r"[{}]", step.action + step.title + step.thought + problem.prompt)


def test_the_last_step_states_the_answer(problems) -> None:
    for problem in problems:
        assert re.search(
            rf"(?<![\d.]){re.escape(problem.answer)}(?![\d])", problem.steps[-1].action
        ), problem


def test_questions_are_distinct(problems) -> None:
    assert (
        len({problem.prompt for problem in problems})
        == len({problem.id for problem in problems})
        == COUNT
    )


def test_a_larger_count_begins_with_the_same_problems(problems) -> None:
    assert generate(100, seed=1) == problems[:100]
    assert generate(100, seed=2) != problems[:100]


def test_problems_are_the_same_on_every_machine() -> None:
    text = "\n".join(
        f"{problem.id}|{problem.prompt}|{problem.solution}" for problem in generate(85, seed=0)
    )
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "8cc8a7d1cbd34c64"
