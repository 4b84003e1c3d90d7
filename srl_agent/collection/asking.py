"""Asks a model for many answers: none twice, within a budget, whatever fails on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from tqdm import tqdm

from srl_agent.collection.budget import BudgetConfig, Spent, prompt_tokens
from srl_agent.collection.drafts import Draft, DraftStore, Key, mark_of
from srl_agent.inference.generator import GenerationSettings, Generator, Request
from srl_envs.errors import ConfigError, DataError, InfrastructureError

_logger = logging.getLogger(__name__)


def missing(wanted: Mapping[Key, Request], drafts: Mapping[Key, Draft]) -> dict[Key, Request]:
    """The requests that have no answer yet.

    Raises:
        DataError: An answer under the same id was given to another conversation.
    """
    for key, request in wanted.items():
        if key in drafts and drafts[key].asked != mark_of(request):
            raise DataError(
                f"{key[0]!r} has another text now than when it was answered: the data changed."
                " Choose another --output_dir."
            )
    return {key: one for key, one in wanted.items() if key not in drafts}


class Asking:
    """Asks a generator, and stores each answer as soon as it is there.

    A request that fails for good does not hold up the others: what is left is asked for
    again for as long as answers come, the last first when none came.

    Args:
        generator: It stays its caller's to close.
        settings: How answers are drawn.
        store: What it holds is not asked for again.
        budget: Bounds over all that the store holds.

    Attributes:
        failure: Why requests were left without an answer; None if none was.
        over_budget: How many requests were not sent because of the budget.
    """

    def __init__(
        self,
        generator: Generator,
        settings: GenerationSettings,
        store: DraftStore,
        budget: BudgetConfig,
    ) -> None:
        self._generator, self._settings = generator, settings
        self._store, self._budget = store, budget
        self._spent = Spent.of(store.drafts.values())
        self.failure: InfrastructureError | ConfigError | None = None
        self.over_budget = 0

    def ask(self, wanted: Mapping[Key, Request], unit: str = "answer") -> None:
        """Ask for what the store lacks.

        Raises:
            InfrastructureError, ConfigError: The model cannot be asked at all. If only
                some requests failed, :attr:`failure` says so.
        """
        left = missing(wanted, self._store.drafts)
        fruitless = answered = 0
        with tqdm(
            total=len(wanted), initial=len(wanted) - len(left), unit=unit, dynamic_ncols=True
        ) as bar:
            while left and fruitless < 2:
                batch = self._affordable(left)
                if not batch:
                    self.over_budget = len(left)
                    break
                failure, given = self._ask(batch, bar)
                answered += given
                left = missing(left, self._store.drafts)
                fruitless = 0 if given else fruitless + 1
                if failure is None:
                    continue
                if not answered and (fruitless == 2 or isinstance(failure, ConfigError)):
                    raise failure
                if left and fruitless < 2:
                    _logger.warning(f"{len(left)} requests are left: {failure}")
                if not given:
                    left = dict(reversed(left.items()))
                self.failure = failure if left else None

    def _affordable(self, left: Mapping[Key, Request]) -> dict[Key, Request]:
        """As many as the budget surely covers, however long their answers are."""
        if self._budget.max_tokens_total is None and self._budget.max_cost is None:
            return dict(left)
        taken, spent = {}, self._spent
        for key, request in left.items():
            tokens = prompt_tokens(self._generator, request.messages)
            spent = spent.plus(tokens, self._settings.max_new_tokens)
            if not spent.fits(self._budget):
                break
            taken[key] = request
        return taken

    def _ask(
        self, batch: Mapping[Key, Request], bar: tqdm[object]
    ) -> tuple[InfrastructureError | ConfigError | None, int]:
        """What ended it early, if anything, and how many answers came."""
        keys, given, started, tokens = list(batch), 0, time.monotonic(), 0
        answers = iter(self._generator.generate(list(batch.values()), self._settings))
        while True:
            try:
                index, completion = next(answers)
            except StopIteration:
                return None, given
            except (InfrastructureError, ConfigError) as error:
                return error, given
            key = keys[index]
            took = prompt_tokens(self._generator, batch[key].messages)
            draft = Draft.of(key[0], batch[key], completion, took)
            self._store.append(draft)
            self._spent = self._spent.plus(draft.prompt_tokens, draft.tokens)
            given, tokens = given + 1, tokens + draft.tokens
            rate = tokens / max(time.monotonic() - started, 1e-3)
            bar.set_postfix_str(self._state(rate), refresh=False)
            bar.update()

    def _state(self, rate: float) -> str:
        state = f"{rate:.0f} tokens/s, {self._spent.tokens} tokens"
        cost = self._spent.cost(self._budget)
        return f"{state}, cost {cost:.2f}" if cost else state
