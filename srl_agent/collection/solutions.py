"""From a teacher's text to a trajectory, or to the reason why it is not one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from srl_agent.collection.drafts import Draft
from srl_agent.evaluation.math.benchmarks import Problem
from srl_envs.answers.grading import Grader, extract_answer
from srl_envs.data.lone_surrogates import lone_surrogate
from srl_envs.data.s1k import TRACE
from srl_envs.data.step_text import split_steps
from srl_envs.response import CLOSE, OPEN
from srl_envs.trajectory import Trajectory

_FENCE = re.compile(r"\A```[\w-]*\n(?P<inside>.*)\n```\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one answer of the teacher.

    Attributes:
        draft: The answer.
        trajectory: If it passed every check.
        reason: Why it did not, in a few words that are counted; empty if it did.
        detail: What exactly, to be read.
    """

    draft: Draft
    trajectory: Trajectory | None
    reason: str = ""
    detail: str = ""

    def row(self, problem: Problem) -> dict[str, Any]:
        """A line of the file of rejects."""
        return {
            "id": self.draft.id,
            "try": self.draft.number,
            "reason": self.reason,
            "detail": self.detail,
            "problem": problem.text,
            "answer": problem.answer,
            "text": self.draft.text,
        }


def judged(problem: Problem, drafts: Sequence[Draft], grader: Grader) -> list[Verdict]:
    """Each answer to a problem as a trajectory, if its steps parse and its answer is right."""
    read = [read_solution(problem, draft) for draft in drafts]
    verdicts = []
    for one in read:
        if one.trajectory is not None:
            answer = extract_answer(one.trajectory.solution)
            if answer is None:
                one = Verdict(one.draft, None, "no final answer")
            elif not grader.grade([(answer, problem.answer)])[0]:
                one = Verdict(
                    one.draft, None, "wrong answer", f"{answer} instead of {problem.answer}"
                )
        verdicts.append(one)
    return verdicts


def read_solution(problem: Problem, draft: Draft) -> Verdict:
    """A trajectory, if the answer is a whole solution in titled steps; not yet verified."""
    if draft.finish == "context":
        return Verdict(draft, None, "the prompt filled the context")
    if draft.finish == "length":
        return Verdict(draft, None, "cut off", f"after {draft.tokens} tokens")
    thought, solution = parts_of(draft.text)
    if not solution:
        return Verdict(draft, None, "no text" if not thought else "nothing after the thought")
    parts = split_steps(solution)
    if parts is None:
        return Verdict(draft, None, "no numbered steps")
    preamble, steps, tail = parts
    untitled = [number for number, step in enumerate(steps, start=1) if not step.title]
    if untitled:
        which = ", ".join(map(str, untitled))
        return Verdict(draft, None, "a step without a title", f"step {which} of {len(steps)}")
    if number := _written_again(solution):
        return Verdict(draft, None, "the solution is written twice", f"in step {number}")
    metadata: dict[str, Any] = {TRACE: thought} if thought else {}
    trajectory = Trajectory(
        problem.id, problem.text, steps, problem.answer, preamble, tail, metadata=metadata
    )
    if place := lone_surrogate(trajectory):
        return Verdict(draft, None, "a lone surrogate", place)
    return Verdict(draft, trajectory)


def parts_of(text: str) -> tuple[str, str]:
    """Thought and solution; the fence around a solution that is all in one is taken away."""
    before, closed, after = text.rpartition(CLOSE)
    if not closed and text.lstrip().startswith(OPEN):
        return text.strip().removeprefix(OPEN).strip(), ""
    solution = after.strip()
    if (fence := _FENCE.match(solution)) and "\n```" not in fence["inside"]:
        solution = fence["inside"].strip()
    return before.strip().removeprefix(OPEN).strip(), solution


def _written_again(solution: str) -> int:
    """The number of the step in which the whole solution begins again; 0 if there is none."""
    parts = split_steps(solution)
    assert parts is not None
    first = parts[1][0].heading.strip()
    again = re.compile(rf"^\s*{re.escape(first)}", re.MULTILINE)
    places = [*(step.action for step in parts[1]), parts[2]]
    return next((number for number, text in enumerate(places, 1) if again.search(text)), 0)


def best_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The answer that is kept: of those that passed, the one of median length.

    Neither short nor long solutions are preferred, so that a model that learns from its
    own does not drift to either. Of two in the middle the shorter one is taken, of two
    equally long ones the earlier.
    """
    passed = [one for one in verdicts if one.trajectory is not None]
    passed.sort(key=lambda one: (len(one.draft.text), one.draft.number))
    return passed[(len(passed) - 1) // 2] if passed else None
