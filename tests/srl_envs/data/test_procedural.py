from __future__ import annotations

import hashlib
import re

import pytest

from srl_envs.data.procedural import generate, load_templates

COUNT = 680  # eight problems of every kind


@pytest.fixture(scope="module")
def problems():
    return generate(COUNT, seed=1)


def test_there_are_at_least_80_kinds(problems) -> None:
    kinds = [kind for kind, _ in load_templates()]
    assert len(kinds) == len(set(kinds)) >= 80
    assert {problem.metadata["kind"] for problem in problems} == set(kinds)


def test_every_calculation_in_a_step_is_true(problems) -> None:
    checked = 0
    for problem in problems:
        for step in problem.steps:
            text = step.action.replace("$", "")
            for match in re.finditer(r"(?<![x*] )(?<![\d.])((?:\(|\d)[\d. +*/()-]*[\d)]) = (\d+(?:\.\d+)?)", text):
                if "x" in text[: match.start()].rpartition(".")[2] and "x =" not in text[: match.start() + 4]:
                    continue  # an equation with an unknown, no calculation
                if not re.search(r"[+*/-]", match[1]):
                    continue
                assert eval(match[1]) == pytest.approx(float(match[2]), abs=1e-9), step.action
                checked += 1
    assert checked > COUNT


def test_every_step_has_title_and_thought_and_no_braces_are_left(problems) -> None:
    for problem in problems:
        assert len(problem.steps) >= 2
        for step in problem.steps:
            assert step.title and step.thought and 10 <= len(step.action) <= 140
            assert not re.search(r"[{}]", step.action + step.title + step.thought + problem.prompt)


def test_the_last_step_states_the_answer(problems) -> None:
    for problem in problems:
        assert re.search(rf"(?<![\d.]){re.escape(problem.answer)}(?![\d])", problem.steps[-1].action), problem


def test_questions_are_distinct(problems) -> None:
    assert len({problem.prompt for problem in problems}) == len({problem.id for problem in problems}) == COUNT


def test_a_larger_count_begins_with_the_same_problems(problems) -> None:
    assert generate(100, seed=1) == problems[:100]
    assert generate(100, seed=2) != problems[:100]


def test_problems_are_the_same_on_every_machine() -> None:
    text = "\n".join(f"{problem.id}|{problem.prompt}|{problem.solution}" for problem in generate(85, seed=0))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "858a5b5c87b8b6a8"
