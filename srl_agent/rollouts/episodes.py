"""Episodes: a policy answers turn after turn, in many places at once, until each one ends.

The nouns, from the inside out:

- A :class:`~srl_agent.rollouts.episode_records.Turn` is one answer, what was read in it
  (:class:`~srl_envs.response.Response`), and what the model saw then.
- An :class:`~srl_agent.rollouts.episode_records.Episode` is the turns of one attempt at a
  :class:`~srl_agent.rollouts.places.Task`, why it ended, and its outcome.
- A :class:`~srl_agent.rollouts.places.Place` is the environment of one episode; parsing,
  similarity, prompts and verdicts are those of the environment.
- A :class:`~srl_agent.rollouts.policies.Policy` answers all prompts that wait for it in
  one batch.
- :class:`Episodes` runs them: it knows no trainer, so that an evaluation uses it as
  training does. What training makes of episodes is in :mod:`srl_agent.training.trl`.

Answers are written in the caller's thread; each one is acted upon in a thread as soon as
it is written, so commands run beside each other and beside the writing. An episode whose
command runs is in no batch; it is in the next one after its observation is there.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from srl_agent.inference.generator import Request
from srl_agent.rollouts.environments import place_of
from srl_agent.rollouts.episode_records import End, Episode, EpisodeLimits, Turn
from srl_agent.rollouts.places import Outcome, Place, Task, conversation
from srl_agent.rollouts.policies import Ask, Policy, Written
from srl_envs.errors import InfrastructureError
from srl_envs.prompts.step import Message
from srl_envs.response import ResponseFormat

_logger = logging.getLogger(__name__)

_ATTEMPTS = 2
_TURN = 1 << 16  # numbers of samples are below; so every turn of every sample draws anew


@dataclass(slots=True)
class _Live:
    """An episode under way; one thread at a time has it."""

    task: Task
    number: int
    attempt: int = 1
    place: Place | None = None
    start: tuple[Message, ...] = ()
    messages: tuple[Message, ...] = ()
    turns: list[Turn] = field(default_factory=list)
    on_expert_path: bool = True
    end: End | None = None
    outcome: Outcome | None = None
    began: float = 0.0
    acting: float = 0.0
    verifying: float = 0.0
    is_verifying: bool = False
    failure: str = ""

    def again(self) -> _Live:
        return _Live(self.task, self.number, self.attempt + 1, failure=self.failure)

    def close(self) -> None:
        if self.place is not None:
            self.place.close()

    def finished(self) -> Episode:
        assert self.end is not None
        return Episode(
            *(self.task.id, self.number, tuple(self.turns), self.end, self.outcome),
            time.monotonic() - self.began,
            *(self.acting, self.verifying, self.failure),
        )


class Episodes:
    """Rolls out episodes.

    Args:
        policy: Who answers.
        limits: Bounds of each episode, and how many are under way at once.
        format: Which shape answers have.
        whole_history: A prompt is the whole conversation, each turn's tokens after
            those of the one before. False: the prompt that the environment shows.
        history_turns: Without the whole history, of a Gymnasium environment: how many of
            the latest turns a prompt shows.
        when_finished: Called with each episode in the caller's thread.
        switch: Called with what the caller's thread does from now on: ``"generation"``,
            or waiting with nothing to answer: ``"sandbox"``, ``"verification"``.
    """

    def __init__(
        self,
        policy: Policy,
        limits: EpisodeLimits = EpisodeLimits(),
        *,
        format: ResponseFormat = ResponseFormat(),
        whole_history: bool = False,
        history_turns: int = 2,
        when_finished: Callable[[Episode], None] = lambda episode: None,
        switch: Callable[[str], None] = lambda phase: None,
    ) -> None:
        self.policy, self.limits, self._format = policy, limits, format
        self._whole_history, self._history_turns = whole_history, history_turns
        self._when_finished, self._switch = when_finished, switch

    def roll_out(self, tasks: Sequence[Task], samples: int = 1) -> list[Episode]:
        """``samples`` episodes of each task: those of the first task, then of the second.

        Raises:
            InfrastructureError: The policy failed; a failure of an environment ends its
                own episode only.
            ConfigError: An environment does not fit.
        """
        seen: Counter[str] = Counter()
        wanted = []
        for task in tasks:
            # The same task again draws other answers.
            first = samples * seen[task.id]
            seen[task.id] += 1
            wanted += [(task, first + number) for number in range(samples)]
        ended = {(episode.task, episode.number): episode for episode in self.each(wanted)}
        return [ended[task.id, number] for task, number in wanted]

    def each(self, wanted: Sequence[tuple[Task, int]]) -> Iterator[Episode]:
        """An episode of each pair of a task and the number of the attempt, as soon as it ended.

        Raises:
            InfrastructureError, ConfigError: As :meth:`roll_out`.
        """
        return _Run(self, [_Live(task, number) for task, number in wanted]).episodes()

    # ------------------------------------------------- one episode, in a thread of its own

    def _begin(self, live: _Live) -> None:
        live.began = time.monotonic()
        live.place = place_of(live.task, self._format, self._history_turns)
        live.start = live.messages = live.place.begin(live.task)
        live.acting += time.monotonic() - live.began

    def _act(self, live: _Live, written: Written) -> None:
        """Act on an answer; verify if the episode is over, or hit a bound."""
        assert live.place is not None
        if written.finish == "context":
            live.end = "context"
        else:
            began = time.monotonic()
            seen = live.place.act(written.text, written.truncated)
            took = time.monotonic() - began
            live.acting += took
            live.turns.append(
                Turn(
                    *(written, seen.response, seen.observation, seen.similarity),
                    *(live.on_expert_path, took),
                )
            )
            live.on_expert_path = live.on_expert_path and seen.similarity == 1.0
            live.messages = seen.messages
            if seen.ended:
                live.end = "turns" if seen.out_of_turns else "ended"
            else:
                live.end = self._bound(live)
        if live.end is not None:
            began, live.is_verifying = time.monotonic(), True
            live.outcome = live.place.outcome()
            live.verifying += time.monotonic() - began
            live.close()

    def _bound(self, live: _Live) -> End | None:
        if len(live.turns) >= self.limits.turns:
            return "turns"
        if sum(turn.written.tokens for turn in live.turns) >= self.limits.tokens:
            return "tokens"
        return "seconds" if time.monotonic() - live.began >= self.limits.seconds else None

    def _ask(self, live: _Live) -> Ask:
        number, messages, after = len(live.turns) * _TURN + live.number, live.messages, None
        if self._whole_history and live.turns:
            said = [(turn.written.text, turn.observation) for turn in live.turns]
            messages = conversation(live.start, said)
            last = live.turns[-1].written
            after = last if last.prompt_ids else None
        return Ask(Request(messages, number, self._format), after)


class _Run:
    """One roll-out: what waits, what is under way, what is finished."""

    def __init__(self, owner: Episodes, lives: Sequence[_Live]) -> None:
        self._owner, self._policy = owner, owner.policy
        self._waiting = deque(lives)
        self._live: dict[int, _Live] = {}
        self._ready: list[_Live] = []
        self._events: SimpleQueue[tuple[_Live, BaseException | None]] = SimpleQueue()
        self._ended: list[Episode] = []
        self._threads = ThreadPoolExecutor(owner.limits.at_once, "episode")
        self._open: list[tuple[list[_Live], Iterator[tuple[int, Written]]]] = []

    def episodes(self) -> Iterator[Episode]:
        try:
            self._fill()
            while self._live:
                self._collect()
                ended, self._ended = self._ended, []
                yield from ended
                self._answer()
        finally:
            # What is left was broken off. Ending its sandbox ends the command that runs there.
            self._open.clear()
            self._close()
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._close()  # what was just being made

    def _close(self) -> None:
        for live in self._live.values():
            with suppress(Exception):
                live.close()

    def _fill(self) -> None:
        while self._waiting and len(self._live) < self._owner.limits.at_once:
            live = self._waiting.popleft()
            self._live[id(live)] = live
            self._start(live, partial(self._owner._begin, live))

    def _start(self, live: _Live, work: Callable[[], None]) -> None:
        def working() -> None:
            try:
                work()
            except BaseException as error:
                self._events.put((live, error))
            else:
                self._events.put((live, None))

        self._threads.submit(working)

    def _collect(self) -> None:
        """Take in what threads have done; wait for it if there is nothing else to do."""
        idle = not self._ready and not self._open
        if idle:
            verifying = all(live.is_verifying for live in self._live.values())
            self._owner._switch("verification" if verifying else "sandbox")
        while idle or not self._events.empty():
            live, error = self._events.get()
            idle = False
            if error is not None:
                self._failed(live, error)
            elif live.end is not None:
                self._done(live)
            else:
                self._ready.append(live)

    def _answer(self) -> None:
        """Have what is ready answered, and start acting on each answer as it comes."""
        if not self._ready and not self._open:
            return
        if self._ready and self._policy.batching == "server":
            ready, self._ready = self._ready, []
            for live in ready:
                self._start(live, partial(self._ask_alone, live))
            return
        self._owner._switch("generation")
        if self._ready and (self._policy.batching == "engine" or not self._open):
            ready, self._ready = self._ready, []
            self._open.append((ready, self._policy.write([self._owner._ask(x) for x in ready])))
        for lives, answers in list(self._open):
            got = next(answers, None)
            if got is None:
                self._open = [pair for pair in self._open if pair[1] is not answers]
            else:
                index, written = got
                self._start(lives[index], partial(self._owner._act, lives[index], written))

    def _ask_alone(self, live: _Live) -> None:
        try:
            ((_, written),) = self._policy.write([self._owner._ask(live)])
        except InfrastructureError as error:
            raise _PolicyFailed(error) from error
        self._owner._act(live, written)

    def _failed(self, live: _Live, error: BaseException) -> None:
        """Repeat an episode whose machinery failed; any other error ends the roll-out."""
        if isinstance(error, _PolicyFailed):
            raise error.cause
        if not isinstance(error, InfrastructureError):
            raise error
        with suppress(InfrastructureError):
            live.close()
        live.failure = str(error)
        if live.attempt < _ATTEMPTS:
            _logger.warning(f"{live.task.id}: the episode is repeated: {error}")
            del self._live[id(live)]
            self._waiting.appendleft(live.again())
            self._fill()
            return
        _logger.warning(f"{live.task.id}: the episode is left out: {error}")
        live.end, live.outcome = "machinery", None
        self._done(live)

    def _done(self, live: _Live) -> None:
        del self._live[id(live)]
        episode = live.finished()
        self._ended.append(episode)
        self._owner._when_finished(episode)
        self._fill()


class _PolicyFailed(Exception):
    """The policy failed in a thread: no fault of the episode."""

    def __init__(self, cause: InfrastructureError) -> None:
        super().__init__(str(cause))
        self.cause = cause
