"""Records -> the figures of a run, and ``results.json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from srl_agent.evaluation.math.metrics import pass_at_k
from srl_agent.evaluation.swebench.instances import SweBenchInstance, connects_to
from srl_agent.evaluation.swebench.records import Records
from srl_agent.evaluation.swebench.samples import patch_problems, sample_patches, why_empty
from srl_agent.intervals import Interval, bootstrap
from srl_agent.runs.files import replace_file

VERDICTS = {
    "resolved": "resolved",
    "unresolved": "unresolved",
    "timed_out": "unresolved: tests timed out",
    "empty_patch": "empty patch",
    "does_not_parse": "kept out: Python does not parse",
    "patch_does_not_apply": "patch does not apply",
    "infrastructure_failure": "infrastructure failure",
    "error": "no patch: repository or model failed",
    "not_judged": "not judged",
}
"""The possible outcomes of an instance -> their names in tables.

Each instance has one of them; the last three are not verdicts on a patch.
"""

_UNJUDGED = ("infrastructure_failure", "error", "not_judged")


@dataclass(frozen=True, slots=True)
class InstanceResult:
    """What became of one instance.

    Attributes:
        instance_id: Of the instance.
        repo: Its repository.
        difficulty: As the data set gives it; may be empty.
        verdict: A key of :data:`VERDICTS`.
        reason: Why, where the verdict alone does not say.
        seconds: How long judging took.
        failing: Tests that should pass and do not.
        connects_to: What its tests connect to, see
            :func:`~srl_agent.evaluation.swebench.instances.connects_to`.
        samples: Whether each sample's patch resolves it; empty unless all were judged.
    """

    instance_id: str
    repo: str
    difficulty: str
    verdict: str
    reason: str = ""
    seconds: float = 0.0
    failing: tuple[str, ...] = ()
    connects_to: str = ""
    samples: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class SweBenchResults:
    """All figures of a run.

    Attributes:
        model: Who wrote the patches.
        mode: oracle or end-to-end; ``"gold"`` or ``"predictions"`` where no model was
            asked.
        dataset: Where the instances are from.
        instances: All that were asked for.
        network: Of the containers that judged them; empty if nothing was judged.
    """

    model: str
    mode: str
    dataset: str
    instances: tuple[InstanceResult, ...]
    network: str = ""

    @property
    def resolved(self) -> int:
        """How many are resolved."""
        return sum(one.verdict == "resolved" for one in self.instances)

    @property
    def rate(self) -> float:
        """Share of resolved ones among all that were asked for, judged or not."""
        return self.resolved / len(self.instances)

    @property
    def is_judged(self) -> bool:
        """Whether there is a verdict on any patch."""
        return bool(self.network) and any(one.verdict not in _UNJUDGED for one in self.instances)

    @property
    def interval(self) -> Interval:
        """The rate with its 95 % confidence interval over instances."""
        return bootstrap([float(one.verdict == "resolved") for one in self.instances])

    @property
    def pass_at(self) -> dict[int, float]:
        """K -> pass@k over instances, for 1 and all samples; empty unless all were judged."""
        counts = {len(one.samples) for one in self.instances}
        if len(counts) != 1 or not (n := counts.pop()) > 1:
            return {}
        return {
            k: fmean(pass_at_k(n, sum(one.samples), k) for one in self.instances) for k in (1, n)
        }

    @property
    def unresolved_without_network(self) -> int:
        """Unresolved instances whose tests connect out, judged without a network."""
        return sum(
            bool(one.connects_to) and one.verdict in ("unresolved", "timed_out")
            for one in self.instances
            if self.network == "none"
        )

    @property
    def unjudged(self) -> dict[str, str]:
        """Instance id -> why there is no verdict on its patch."""
        return {
            one.instance_id: one.reason or VERDICTS[one.verdict]
            for one in self.instances
            if one.verdict in _UNJUDGED
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many instances have each verdict."""
        found = Counter(one.verdict for one in self.instances)
        return {verdict: found[verdict] for verdict in VERDICTS}


def summarize(
    model: str,
    mode: str,
    dataset: str,
    instances: Sequence[SweBenchInstance],
    records: Records,
    errors: Mapping[str, str],
    network: str = "",
) -> SweBenchResults:
    """What became of each instance.

    Args:
        model: Who wrote the patches.
        mode: How they were asked for.
        dataset: Where the instances are from.
        instances: All that were asked for.
        records: Patches and verdicts.
        errors: Why instances have no patch.
        network: Of the containers that judged; empty if nothing was judged.
    """
    found = tuple(_result(instance, records, errors) for instance in instances)
    return SweBenchResults(model, mode, dataset, found, network)


def write_results(
    path: Path,
    results: SweBenchResults,
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> None:
    """Write ``results.json``.

    Args:
        path: The file.
        results: The figures.
        settings: The run's resolved config.
        environment: Versions and hardware.
        seconds: How long this call took, by part.
    """
    content = {
        "task": "swebench",
        "model": results.model,
        "mode": results.mode,
        "dataset": results.dataset,
        "instances": len(results.instances),
        "resolved": results.resolved if results.is_judged else None,
        "resolved_rate": results.rate if results.is_judged else None,
        "resolved_interval": [results.interval.low, results.interval.high]
        if results.is_judged
        else None,
        "pass_at": {str(k): value for k, value in results.pass_at.items()},
        "network": results.network,
        "unresolved_without_network": results.unresolved_without_network,
        "counts": results.counts,
        "by_repository": {
            name: {"instances": of, "resolved": resolved}
            for name, of, resolved in groups(results, lambda one: one.repo)
        },
        "by_difficulty": {
            name: {"instances": of, "resolved": resolved}
            for name, of, resolved in groups(results, lambda one: one.difficulty)
        },
        "verdicts": [asdict(one) for one in results.instances],
        "config": dict(settings),
        "environment": dict(environment),
        "seconds": dict(seconds),
    }
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _result(
    instance: SweBenchInstance, records: Records, errors: Mapping[str, str]
) -> InstanceResult:
    name = instance.instance_id
    verdict, reason, seconds = "not_judged", "", 0.0
    failing: tuple[str, ...] = ()
    judgement = records.judgements.get(name)
    if name not in records.predictions:
        verdict, reason = "error", errors.get(name, "no patch was written")
    elif not records.predictions[name].strip():
        problems = patch_problems(records.answer(name))
        verdict, reason = (
            ("does_not_parse", "; ".join(problems))
            if problems
            else ("empty_patch", why_empty(records.answer(name)))
        )
    elif judgement is not None:
        verdict, reason, seconds, failing = (
            judgement.outcome,
            judgement.reason,
            judgement.seconds,
            judgement.failing,
        )
        if verdict == "unresolved" and "ran past their time" in reason:
            verdict = "timed_out"
    return InstanceResult(
        name,
        instance.repo,
        instance.difficulty,
        verdict,
        reason,
        seconds,
        failing,
        connects_to(instance),
        _resolved_samples(name, records),
    )


def _resolved_samples(name: str, records: Records) -> tuple[bool, ...]:
    patches = sample_patches(records.answer(name))
    verdicts = [records.verdict(name, patch) for patch in patches]
    if any(one is None or one.outcome == "infrastructure_failure" for one in verdicts):
        return ()
    return tuple(one is not None and one.outcome == "resolved" for one in verdicts)


def groups(
    results: SweBenchResults, key: Callable[[InstanceResult], str]
) -> list[tuple[str, int, int]]:
    """Name, instances and resolved ones of each group."""
    found = Counter(key(one) for one in results.instances)
    right = Counter(key(one) for one in results.instances if one.verdict == "resolved")
    return [(name, found[name], right[name]) for name in sorted(found)]
