r"""What the reward ``"execution"`` credits, beside difflib and NeMo Gym's rule, and its cost.

    python benchmarks/execution_reward.py --sandbox bubblewrap --output results \
        mini_swe_agent=../shared/data/swe_trajectories/mini_swe_agent_40.jsonl \
        swe_smith=../shared/data/swe_trajectories/swe_smith_xml_6.jsonl

The labelled pairs are those of :mod:`benchmarks.labelled_commands`, of the built-in
trajectories and of the given ones. An action is credited by ``execution`` if its reward is
above 0.5, by difflib if the similarity is at least 0.8, and by NeMo Gym's rule (its server
``swe_pivot``, binary mode, written here from its description) if that gives 1. The last
row is difflib at whichever bound separates these labels best, which no one knows in
advance.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.labelled_commands import Labelled, as_row, labelled, sampled  # noqa: E402
from srl_envs.commands import Command, grammar_named  # noqa: E402
from srl_envs.data import load_trajectories  # noqa: E402
from srl_envs.reward import RewardSettings, sequence_similarity  # noqa: E402
from srl_envs.swe.execution import same_outcomes  # noqa: E402
from srl_envs.trajectory import Trajectory  # noqa: E402

CREDITED = 0.8
"""The similarity from which NeMo Gym gives full credit."""


def nemo_gym(model: Command, expert: Command) -> bool:
    """The rule of NeMo Gym's ``swe_pivot``: tool, target, then similarity.

    It compares the first 2,000 characters by difflib with its heuristic (autojunk).
    """
    if model.tool != expert.tool:
        return False
    mine, theirs = model.arguments, expert.arguments
    if expert.tool == "bash":
        one, other = mine["command"].strip(), theirs["command"].strip()
        if _verb(one) != _verb(other):
            return False
        paths, wanted = _paths(one), _paths(other)
        if paths and wanted and not paths & wanted:
            return False
        return _similar(one, other) >= CREDITED
    if mine.get("command") != theirs.get("command"):
        return False
    if _ending(mine.get("path", ""), 2) != _ending(theirs.get("path", ""), 2):
        return False
    if theirs.get("command") == "view":
        return _covers(mine.get("view_range"), theirs.get("view_range"))
    texts = [(mine.get(key, ""), theirs.get(key, "")) for key in ("old_str", "new_str")]
    return min(_similar(*pair) if all(pair) else float(pair[0] == pair[1]) for pair in texts) >= (
        CREDITED
    )


def _verb(command: str) -> str:
    return command.split()[0].rpartition("/")[2] if command else ""


def _paths(command: str) -> set[str]:
    found = re.findall(r"""(?:^|[\s='"(])((?:\.{0,2}/)?[\w.-]+(?:/[\w.-]+)+)""", command)
    return {_ending(path, 3) for path in found}


def _ending(path: str, parts: int) -> str:
    return "/".join(path.strip("/").split("/")[-parts:])


def _covers(given: str | None, wanted: str | None) -> bool:
    if not given or not wanted:
        return True
    (a, b), (first, last) = json.loads(given), json.loads(wanted)
    return max(0, min(b, last) - max(a, first)) >= 0.8 * max(1, last - first)


def _similar(one: str, other: str) -> float:
    return SequenceMatcher(None, one[:2000], other[:2000]).ratio()


def by_text(pairs: Sequence[Labelled], score: Callable[[Command, Command], float]) -> list[float]:
    """A score of every action of every pair, the equivalent ones first."""
    scores = []
    for pair in pairs:
        grammar = grammar_named(pair.trajectory.grammar)
        expert = grammar.parse(pair.trajectory.steps[pair.index].action)
        for action in (*pair.equivalent, *pair.other):
            scores.append(float(score(grammar.parse(action), expert)))
    return scores


def by_execution(pairs: Sequence[Labelled], sandbox: str, workers: int) -> list[float]:
    """Whether each action of every pair does what the expert's does."""
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    settings = RewardSettings(name="execution", sandbox=sandbox)

    def found(pair: Labelled) -> list[float]:
        actions = (*pair.equivalent, *pair.other)
        same = same_outcomes(pair.trajectory, pair.index, set(actions), settings)
        return [float(same[action]) for action in actions]

    with ThreadPoolExecutor(workers) as pool:
        results = tqdm(pool.map(found, pairs), total=len(pairs), disable=not sys.stderr.isatty())
        return [value for values in results for value in values]


def rates(scores: Sequence[float], labels: Sequence[bool], bound: float) -> tuple[float, float]:
    """The shares of the equivalent and of the other actions that are credited."""
    credited = [score >= bound for score in scores]
    same = [one for one, label in zip(credited, labels, strict=True) if label]
    other = [one for one, label in zip(credited, labels, strict=True) if not label]
    return sum(same) / len(same), sum(other) / len(other)


def best_bound(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """The bound with the largest difference of the two shares."""

    def gain(bound: float) -> float:
        same, other = rates(scores, labels, bound)
        return same - other

    return max(sorted(set(scores)), key=gain)


def sources(given: Sequence[str], count: int) -> list[Trajectory]:
    """The built-in trajectories, and those of ``NAME=FILE``."""
    found = [*load_trajectories("builtin_shell", count=count), *load_trajectories("builtin_swe")]
    for one in given:
        name, _, path = one.partition("=")
        found += load_trajectories(name, path=path)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="SOURCE=FILE: further trajectories")
    parser.add_argument("--sandbox", default="docker")
    parser.add_argument("--shell_tasks", type=int, default=120, help="built-in shell tasks")
    parser.add_argument("--most", type=int, default=12, help="steps of each kind of command")
    parser.add_argument("--workers", type=int, default=2, help="states at a time")
    parser.add_argument("--output", type=Path, help="folder for README.md, the pairs and verdicts")
    chosen = parser.parse_args(arguments)
    pairs = sampled(list(labelled(sources(chosen.files, chosen.shell_tasks))), chosen.most)
    labels = [
        same
        for pair in pairs
        for same in (True,) * len(pair.equivalent) + (False,) * len(pair.other)
    ]
    start = time.monotonic()
    executed = by_execution(pairs, chosen.sandbox, chosen.workers)
    seconds = (time.monotonic() - start) * chosen.workers / len(labels)
    text = by_text(pairs, lambda one, other: sequence_similarity(one.text, other.text))
    values = by_text(
        pairs,
        lambda one, other: sequence_similarity(one.scored("arguments"), other.scored("arguments")),
    )
    best = best_bound(text, labels)
    table = [
        ("execution", *rates(executed, labels, 0.5)),
        (f"difflib of the action, at least {CREDITED}", *rates(text, labels, CREDITED)),
        (f"difflib of the arguments, at least {CREDITED}", *rates(values, labels, CREDITED)),
        ("NeMo Gym's rule", *rates(by_text(pairs, nemo_gym), labels, 1.0)),
        (f"difflib of the action, at the best bound ({best:.2f})", *rates(text, labels, best)),
    ]
    lines = [
        f"{len(pairs)} steps of {len({pair.kind for pair in pairs})} kinds; {sum(labels)} "
        f"equivalent commands, {len(labels) - sum(labels)} others; {seconds:.2f} s of a sandbox "
        f"for a reward ({chosen.sandbox}, {chosen.workers} at a time).",
        "",
        "| Reward | equivalent credited | others credited |",
        "|---|---|---|",
        *(f"| {name} | {same:.1%} | {other:.1%} |" for name, same, other in table),
    ]
    print("\n".join(lines))
    wrong = _wrong(pairs, executed, labels)
    print("\n".join(["", "Where execution disagrees with the label:", *wrong]), file=sys.stderr)
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        (chosen.output / "README.md").write_text("\n".join(lines) + "\n")
        (chosen.output / "pairs.jsonl").write_text("".join(f"{as_row(one)}\n" for one in pairs))
        (chosen.output / "wrong.txt").write_text("".join(f"{one}\n" for one in wrong))


def _wrong(
    pairs: Sequence[Labelled], executed: Sequence[float], labels: Sequence[bool]
) -> list[str]:
    found = zip(
        [(pair, action) for pair in pairs for action in (*pair.equivalent, *pair.other)],
        executed,
        labels,
        strict=True,
    )
    return [
        f"{pair.kind}, labelled {'the same' if label else 'another'}: {action!r} for "
        f"{pair.trajectory.steps[pair.index].action!r} ({pair.trajectory.id})"
        for (pair, action), same, label in found
        if bool(same) != label
    ]


if __name__ == "__main__":
    main()
