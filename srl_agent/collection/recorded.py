"""A generator that remembers: what was answered before is not asked again, even in an episode."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from srl_agent.collection.budget import BudgetConfig, Spent, prompt_tokens
from srl_agent.collection.drafts import Draft, DraftStore, mark_of
from srl_agent.inference.generator import (
    Batching,
    Completion,
    GenerationSettings,
    Generator,
    Request,
)
from srl_envs.errors import InfrastructureError


class BudgetSpentError(InfrastructureError):
    """The next answers may not fit the budget."""


class RecordedGenerator:
    """A :class:`~srl_agent.inference.generator.Generator` before another one.

    An answer is known by its conversation and number: an episode that was broken off
    finds its turns again, for as long as it sees the same.

    Args:
        generator: Who answers; it stays its caller's to close.
        store: Of all answers.
        budget: Bounds over all that the store holds.
    """

    def __init__(self, generator: Generator, store: DraftStore, budget: BudgetConfig) -> None:
        self._generator, self._store, self._budget = generator, store, budget
        self.name = generator.name
        self.batching: Batching = getattr(generator, "batching", "one")
        self._lock = threading.Lock()
        self._spent = Spent.of(store.drafts.values())
        self._reserved = Spent()

    def generate(
        self, requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        """See :class:`~srl_agent.inference.generator.Generator`.

        Raises:
            BudgetSpentError: These requests may not fit the budget; none was sent.
        """
        marks = [mark_of(request) for request in requests]
        left = []
        for index, request in enumerate(requests):
            draft = self._store.drafts.get((marks[index], request.number))
            if draft is None:
                left.append(index)
            else:
                yield index, Completion(draft.text, draft.tokens, draft.finish, draft.prompt_tokens)
        prompts = [prompt_tokens(self._generator, requests[index].messages) for index in left]
        most = Spent(len(left), sum(prompts), len(left) * settings.max_new_tokens)
        self._reserve(most)
        try:
            asked = [requests[index] for index in left]
            for place, completion in self._generator.generate(asked, settings) if asked else ():
                index = left[place]
                draft = Draft.of(marks[index], requests[index], completion, prompts[place])
                with self._lock:
                    self._store.append(draft)
                    self._spent = self._spent.plus(draft.prompt_tokens, draft.tokens)
                yield index, completion
        finally:
            with self._lock:
                self._reserved = self._reserved.plus(-most.prompt, -most.answer, -most.requests)

    def _reserve(self, most: Spent) -> None:
        with self._lock:
            total = self._reserved.plus(most.prompt, most.answer, most.requests)
            after = self._spent.plus(total.prompt, total.answer, total.requests)
            if most.requests and not after.fits(self._budget):
                raise BudgetSpentError(
                    f"The budget may not cover the next answers: {self._spent.tokens} tokens are"
                    " spent. Raise it, and the same command resumes."
                )
            self._reserved = total

    def close(self) -> None:
        """Nothing: what answers is its caller's to close."""
