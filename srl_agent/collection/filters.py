"""The filters of ``collect curate``: each says what it drops, and why.

A filter takes trajectories and gives :class:`Dropped` records: of whole trajectories, or
of single steps, which stay in their trajectory as context and are not trained on.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from srl_envs.answers.grading import extract_answer
from srl_envs.answers.verifier import AnswerVerifier
from srl_envs.data.overlap import overlapping_benchmark
from srl_envs.data.splits import question_key
from srl_envs.errors import DataError, MissingDependencyError, install_command
from srl_envs.replay import Replay
from srl_envs.trajectory import Targets, Trajectory

SHINGLE = 5
"""Words in a row that near-duplicates are compared by."""

RUN = 4
"""Words in a row that a step must share with its prompt to count as repeated."""

_WORD = re.compile(r"\w+|[^\w\s]")
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|\$\$.*?\$\$|\$[^$]*\$|\\[a-zA-Z]+|[\d_=+*/<>^{}\\]+", re.DOTALL
)
_FEWEST_WORDS = 6  # of a text whose language is asked for: in fewer, guesses are often wrong
_PERMUTATIONS, _SEED = 128, 1


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a filter leaves out.

    Attributes:
        trajectory: The trajectory.
        step: Which step, from 1; None is the whole trajectory.
        reason: Why, to be read.
    """

    trajectory: Trajectory
    step: int | None
    reason: str

    @property
    def id(self) -> str:
        """Of the trajectory, or of the instance that the step would be."""
        return self.trajectory.id if self.step is None else f"{self.trajectory.id}/{self.step}"


Filter = Callable[[Sequence[Trajectory]], Iterable[Dropped]]
"""Says what is left out of some trajectories, each thing once."""


def by_length(
    trajectories: Sequence[Trajectory],
    *,
    min_steps: int,
    max_steps: int | None,
    max_prompt_characters: int | None,
    max_step_characters: int | None,
) -> Iterator[Dropped]:
    """Trajectories of too few or too many steps or with too long a prompt, and too long steps."""
    for one in trajectories:
        steps, prompt = len(one.steps), len(one.prompt)
        if steps < min_steps:
            yield Dropped(one, None, f"{steps} steps, fewer than {min_steps}")
        elif max_steps is not None and steps > max_steps:
            yield Dropped(one, None, f"{steps} steps, more than {max_steps}")
        elif max_prompt_characters is not None and prompt > max_prompt_characters:
            yield Dropped(
                one, None, f"a prompt of {prompt} characters, more than {max_prompt_characters}"
            )
        elif max_step_characters is not None:
            for number, step in enumerate(one.steps, 1):
                if (length := len(step.text)) > max_step_characters:
                    yield Dropped(
                        one, number, f"{length} characters, more than {max_step_characters}"
                    )


def by_language(
    trajectories: Sequence[Trajectory], *, languages: Sequence[str]
) -> Iterator[Dropped]:
    """Trajectories whose prompt or solution is in another language.

    Formulas and code are not looked at, and texts of fewer than 6 other words are kept.
    Of commands only the prompt is looked at.
    """
    for one in trajectories:
        parts = [("prompt", one.prompt)]
        if not one.has_commands:
            parts.append(("solution", one.solution))
        for name, text in parts:
            prose = _NOT_PROSE.sub(" ", text)
            judged = len(prose.split()) >= _FEWEST_WORDS or not prose.isascii()
            if judged and (language := language_of(prose)) not in languages:
                yield Dropped(one, None, f"the {name} is in {language!r}")
                break


def language_of(text: str) -> str:
    """The language of a text, by its ISO 639 code.

    Raises:
        MissingDependencyError: py3langid is not installed.
    """
    try:
        from py3langid import langid
    except ImportError:
        raise MissingDependencyError(
            f"The filter language needs py3langid: {install_command('collect')}"
        ) from None
    return str(langid.classify(text)[0])


def known_languages() -> frozenset[str]:
    """The codes that :func:`language_of` may give."""
    language_of("")
    from py3langid import langid

    return frozenset(code for code, _ in langid.rank(""))


def near_duplicates(trajectories: Sequence[Trajectory], *, threshold: float) -> Iterator[Dropped]:
    """Trajectories that are nearly one before them, by the share of common runs of 5 words.

    Candidates come from MinHash (datasketch); the share that decides is counted.
    """
    datasketch = sketches()
    # Lower, so that sketches miss few of the pairs that are above the threshold.
    index = datasketch.MinHashLSH(threshold=max(0.05, threshold - 0.1), num_perm=_PERMUTATIONS)
    kept: dict[int, tuple[Trajectory, frozenset[str]]] = {}
    for number, one in enumerate(trajectories):
        shingles = _shingles(one)
        sketch = datasketch.MinHash(num_perm=_PERMUTATIONS, seed=_SEED)
        sketch.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in shingles])
        found = (
            (len(shingles & other) / len(shingles | other), known.id)
            for key in index.query(sketch)
            for known, other in (kept[int(key)],)
        )
        share, original = max(found, default=(0.0, ""))
        if share >= threshold:
            yield Dropped(one, None, f"{share:.0%} the same as {original!r}")
        else:
            kept[number] = one, shingles
            index.insert(str(number), sketch)


def sketches() -> Any:
    """The library that makes sketches of sets.

    Raises:
        MissingDependencyError: datasketch is not installed.
    """
    try:
        import datasketch
    except ImportError:
        raise MissingDependencyError(
            f"The filter near_duplicates needs datasketch: {install_command('collect')}"
        ) from None
    return datasketch


def _shingles(trajectory: Trajectory) -> frozenset[str]:
    text = "\n".join([trajectory.prompt, *(step.text for step in trajectory.steps)])
    words = _words(text)
    return frozenset(
        " ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def benchmark_overlap(trajectories: Sequence[Trajectory]) -> Iterator[Dropped]:
    """Trajectories that are in a benchmark which this project evaluates."""
    for one in trajectories:
        if name := overlapping_benchmark(one):
            yield Dropped(one, None, name)


def repeats_prompt(trajectories: Sequence[Trajectory], *, share: float) -> Iterator[Dropped]:
    """Steps whose words are the prompt's, by the share that stands in common runs of 4 words.

    A step of fewer words counts if it is in the prompt as it is. Commands are not looked at.
    """
    for one in trajectories:
        if one.has_commands:
            continue
        prompt = _words(one.prompt)
        runs = {tuple(prompt[i : i + RUN]) for i in range(len(prompt) - RUN + 1)}
        whole = f" {' '.join(prompt)} "
        for number, step in enumerate(one.steps, 1):
            words = _words(step.action)
            if len(words) < RUN:
                repeated = float(f" {' '.join(words)} " in whole)
            else:
                starts = [
                    i for i in range(len(words) - RUN + 1) if tuple(words[i : i + RUN]) in runs
                ]
                covered = {i + k for i in starts for k in range(RUN)}
                repeated = len(covered) / len(words)
            if repeated >= share:
                yield Dropped(one, number, f"{repeated:.0%} of its words repeat the prompt")


def by_replay(
    trajectories: Sequence[Trajectory], *, report: Mapping[str, Replay], max_drift: float
) -> Iterator[Dropped]:
    """Trajectories of commands that did not solve their task, or saw something else, when rerun.

    Raises:
        DataError: The report lacks some of them.
    """
    commands = [one for one in trajectories if one.domain == "swe"]
    missing = [one.id for one in commands if one.id not in report]
    if missing:
        raise DataError(
            f"The replay report has no verdict on {len(missing)} trajectories, such as"
            f" {missing[0]!r}: run python -m srl_envs.replay with the same --report on the same"
            " source, which adds them."
        )
    for one in commands:
        verdict = report[one.id]
        if verdict.resolved is False:
            yield Dropped(one, None, "its commands do not solve the task any more")
        elif verdict.drift > max_drift:
            yield Dropped(one, None, f"drift {verdict.drift:.2f}, above {max_drift:g}")


def teacher_agreement(
    trajectories: Sequence[Trajectory], *, others: Sequence[Trajectory], share: float
) -> Iterator[Dropped]:
    """Trajectories whose final answer too few of the solutions to the same question have.

    It is the answer that a solution itself ends in, whatever the reference is.

    Args:
        trajectories: What is curated.
        others: Further solutions that vote and are not curated themselves.
        share: The least share of a question's solutions with an equal answer, the
            trajectory itself among them. A question with one solution is not judged.
    """
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in (*trajectories, *others):
        if answer := extract_answer(one.solution):
            votes[question_key(one.prompt)][answer] += 1
    verifier = AnswerVerifier()
    try:
        for one in trajectories:
            answers = votes[question_key(one.prompt)]
            own, total = extract_answer(one.solution), sum(answers.values())
            if not own or total < 2:
                continue
            agreeing = sum(
                count
                for answer, count in answers.items()
                if answer == own or verifier.verify(answer, own)
            )
            if agreeing < share * total:
                yield Dropped(one, None, f"{agreeing} of {total} solutions end in {own!r}")
    finally:
        verifier.close()


def without(
    trajectories: Sequence[Trajectory], dropped: Iterable[Dropped], targets: Targets
) -> list[Trajectory]:
    """What is left; dropped steps are noted in the metadata, and stay as context.

    A trajectory of which no target is left is gone.
    """
    whole, steps = set[str](), defaultdict[str, set[int]](set)
    for one in dropped:
        if one.step is None:
            whole.add(one.trajectory.id)
        else:
            steps[one.trajectory.id].add(one.step)
    left = []
    for trajectory in trajectories:
        if trajectory.id in whole:
            continue
        if numbers := steps.get(trajectory.id):
            before = trajectory.metadata.get("left_out_steps", ())
            noted = {**trajectory.metadata, "left_out_steps": sorted({*before, *numbers})}
            trajectory = replace(trajectory, metadata=noted)
            if not trajectory.target_indices(targets):
                continue
        left.append(trajectory)
    return left
