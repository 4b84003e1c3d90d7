"""The last step of both modes.

Issue and files -> prompt; answer -> edits -> patch; several samples -> one patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from srl_agent.evaluation.swebench.apply_edits import EditReport, apply_edits, shown_text
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.make_patch import (
    FileChange,
    PatchProblem,
    make_patch,
    normalized_patch,
    python_problems,
)
from srl_agent.evaluation.swebench.parse_edits import parse_edits
from srl_agent.evaluation.swebench.prompt_budget import LeftOut, PromptBudget
from srl_agent.evaluation.swebench.prompts import repair_messages
from srl_agent.evaluation.swebench.repositories import CommitFiles, why_not_text
from srl_envs.prompts.step import Message


@dataclass(frozen=True, slots=True)
class RepairPrompt:
    """A question for edits.

    Attributes:
        messages: The conversation.
        given: The files in it, whole.
        left_out: The files that were to be in it, and why they are not.
    """

    messages: tuple[Message, ...]
    given: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class RepairOutcome:
    """What became of one answer.

    Attributes:
        patch: Takes ``git apply`` on a clean checkout; empty if no edit could be
            applied, or if the patch is kept out.
        edits: A report for each block of the answer, in order.
        given: The files that the prompt showed.
        left_out: The files that it did not show, and why.
        answer: What the model wrote.
        problems: Why the patch is kept out: files that no longer parse. Empty if it is
            not.
    """

    patch: str
    edits: tuple[EditReport, ...]
    given: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    answer: str
    problems: tuple[PatchProblem, ...] = ()


def repair_prompt(
    instance: SweBenchInstance,
    paths: Iterable[str],
    files: CommitFiles,
    budget: PromptBudget = PromptBudget(),
    left_out: Iterable[LeftOut] = (),
) -> RepairPrompt:
    """The prompt that shows the issue and files, whole.

    Files are taken in the given order as long as the whole prompt fits into the budget;
    one that does not is left out, and the next one is tried.

    Args:
        instance: Whose issue it is.
        paths: The files to give, the most important first.
        files: The repository at the instance's commit.
        budget: Of the whole prompt.
        left_out: What was left out before, for the record.

    Raises:
        ConfigError: The budget is too small for a prompt without content.
        RepositoryError: A file cannot be read.
    """
    issue = budget.fitted_issue(instance.problem_statement, lambda text: repair_messages(text, []))
    given: dict[str, str] = {}
    missing = list(left_out)
    for path in paths:
        content = files.get(path)
        if content is None:
            missing.append(LeftOut(path, files.special.get(path, "no such file")))
        elif reason := why_not_text(content):
            missing.append(LeftOut(path, reason))
        else:
            messages = repair_messages(issue, [*given.items(), (path, shown_text(content))])
            if budget.fits(messages):
                given[path] = shown_text(content)
            else:
                missing.append(
                    LeftOut(
                        path,
                        f"does not fit: the prompt would have {budget.count(messages)} of"
                        f" {budget.max_prompt_tokens} tokens",
                    )
                )
    return RepairPrompt(
        tuple(repair_messages(issue, list(given.items()))), tuple(given), tuple(missing)
    )


def repair_outcome(prompt: RepairPrompt, answer: str, files: CommitFiles) -> RepairOutcome:
    """The patch of an answer.

    Edits may go to any file of the repository, including files that the prompt did not
    show.

    Raises:
        RepositoryError: A file cannot be read.
    """
    applied = apply_edits(parse_edits(answer, files), files, files.special)
    changes = [
        FileChange(path, files.get(path), new, files.mode(path) if path in files else "100644")
        for path, new in applied.contents.items()
    ]
    problems = python_problems(changes)
    return RepairOutcome(
        "" if problems else make_patch(changes),
        applied.reports,
        prompt.given,
        prompt.left_out,
        answer,
        problems,
    )


def select_by_majority(patches: Sequence[str]) -> int:
    """The index of the patch that most samples agree on.

    It is the first of the largest group of patches that make the same changes.

    Empty patches have no vote; of groups of one size the one that came first counts. If
    all are empty, or there are none, 0.
    """
    groups: dict[str, list[int]] = {}
    for index, patch in enumerate(patches):
        if form := normalized_patch(patch):
            groups.setdefault(form, []).append(index)
    return max(groups.values(), key=len)[0] if groups else 0
