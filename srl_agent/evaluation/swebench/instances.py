"""SWE-bench's rows -> :class:`SweBenchInstance`.

From the hub or a local file, with the old 13 columns or in the harness-5 schema.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srl_envs.data.jsonl import read_lines
from srl_envs.data.rows import read_rows
from srl_envs.errors import ConfigError, DataError, InfrastructureError

HUB_NAME = "SWE-bench/SWE-bench_Verified"
HUB_SPLIT = "test"
ALIASES = {
    "full": "SWE-bench/SWE-bench",
    "verified": HUB_NAME,
    "multilingual": "SWE-bench/SWE-bench_Multilingual",
    "multimodal": "SWE-bench/SWE-bench_Multimodal",
}
"""Short names that the harness takes too."""

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FORMS = {
    "instance_id": (
        _ID,
        "letters, digits and _ . + - only, because files and containers are named after it",
    ),
    "repo": (_REPO, "owner/name"),
    "base_commit": (_COMMIT, "a commit's full hash in hexadecimal"),
}
_TESTS_THAT_CONNECT = {
    "psf/requests": (
        (
            r"test_requests\.py::RequestsTestCase::\S*(?:HTTP_\d|DIGEST|BASICAUTH|POSTBIN)",
            "httpbin.org",
        ),
        (r"(?:connect_timeout|timeout_connect)", "an address that never answers"),
    ),
    "sphinx-doc/sphinx": ((r"tests/test_build_linkcheck\.py::", "the pages that it links to"),),
}
"""Repository -> patterns of tests that connect to the outside, and what they connect to."""

_TEXTS = ("instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch")
_OPTIONAL_TEXTS = ("hints_text", "version", "difficulty", "image")


@dataclass(frozen=True, slots=True)
class SweBenchInstance:
    """One issue of a real repository, and what decides whether a patch resolves it.

    Attributes:
        instance_id: Unique in its data set, usable as a file name.
        repo: ``owner/name`` on GitHub.
        base_commit: Full hash of the commit that a patch is made for.
        problem_statement: The issue's text.
        patch: The gold patch. Never shown to a model.
        test_patch: What adds the hidden tests. Never shown to a model.
        fail_to_pass: Tests that fail before the gold patch and pass after it; at least
            one.
        pass_to_pass: Tests that pass before and after.
        hints_text: Comments on the issue; may be empty. Not shown to a model.
        version: Of the repository; may be empty.
        difficulty: How long a person was judged to need ("15 min - 1 hour"); empty if
            the row does not say.
        image: Name of the Docker image that the harness runs the tests in; empty in
            rows of the old schema.
        row: The whole row, verbatim, for the harness.
    """

    instance_id: str
    repo: str
    base_commit: str
    problem_statement: str
    patch: str
    test_patch: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    hints_text: str = ""
    version: str = ""
    difficulty: str = ""
    image: str = ""
    row: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class InstanceSet:
    """The instances of a data set.

    Attributes:
        source: Hub name or path.
        instances: In the data set's order.
        rejected: One message for each row that was left out; empty unless that was
            asked for.
    """

    source: str
    instances: tuple[SweBenchInstance, ...]
    rejected: tuple[str, ...] = ()


def load_instances(source: str | Path = HUB_NAME, *, skip_malformed: bool = False) -> InstanceSet:
    """Load a data set of SWE-bench's schema.

    Args:
        source: A ``.jsonl``, ``.json`` or ``.parquet`` file (or a folder with one for
            the split ``test``), a name on the hub, or one of :data:`ALIASES`.
        skip_malformed: Leave malformed rows out and tell of them in the result. By
            default the first one is an error.

    Raises:
        DataError: The file cannot be read, no row is usable, or a row is malformed; the
            message names file, line and key.
        InfrastructureError: The hub cannot be reached.
    """
    instances: dict[str, SweBenchInstance] = {}
    rejected: list[str] = []
    for where, row in _rows(source):
        try:
            instance = instance_of(row, where)
            if instance.instance_id in instances:
                raise DataError(
                    f"{where}: 'instance_id' {instance.instance_id!r} was used before: every row"
                    " needs its own."
                )
        except DataError as error:
            if not skip_malformed:
                raise
            rejected.append(str(error))
        else:
            instances[instance.instance_id] = instance
    if not instances:
        reason = f" The first of {len(rejected)} malformed rows: {rejected[0]}" if rejected else ""
        raise DataError(f"{source} holds no usable instance.{reason}")
    return InstanceSet(str(source), tuple(instances.values()), tuple(rejected))


def select_instances(
    instances: Sequence[SweBenchInstance],
    *,
    ids: Sequence[str] = (),
    pattern: str = "",
    limit: int | None = None,
) -> tuple[SweBenchInstance, ...]:
    """A part of the instances, in their order; see :func:`select_ids`."""
    chosen = select_ids(
        [instance.instance_id for instance in instances], ids=ids, pattern=pattern, limit=limit
    )
    return tuple(instance for instance in instances if instance.instance_id in chosen)


def select_ids(
    known: Sequence[str], *, ids: Sequence[str] = (), pattern: str = "", limit: int | None = None
) -> list[str]:
    """A part of the instances' ids, in their order.

    Args:
        known: All of them.
        ids: Only these; empty takes all.
        pattern: Only those whose whole id matches this regular expression; empty takes
            all.
        limit: At most this many, the first ones; None takes all.

    Raises:
        ConfigError: An id is unknown, the pattern is none, the limit is below 1, or
            nothing is left.
    """
    for name in ids:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise ConfigError(
                f"There is no instance {name!r} among {len(known)}"
                + (f": did you mean {', '.join(near)}?" if near else ".")
            )
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: give at least 1, or None for all.")
    try:
        matcher = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"The pattern {pattern!r} is not a regular expression: {error}."
        ) from None
    chosen = [
        name
        for name in known
        if (not ids or name in ids) and (not pattern or matcher.fullmatch(name))
    ]
    if not chosen:
        raise ConfigError(
            f"No instance is left of {len(known)}: ids and pattern {pattern!r} together match none."
        )
    return chosen[:limit]


def instance_of(row: Mapping[str, Any], where: str) -> SweBenchInstance:
    """The instance of one row.

    Args:
        row: Columns of either schema; others are kept in :attr:`SweBenchInstance.row`.
        where: File and line, for messages.

    Raises:
        DataError: A column is missing or malformed; the message starts with ``where``
            and names it.
    """
    texts = {key: _text(row, key, where) for key in _TEXTS}
    for key, (form, wanted) in _FORMS.items():
        if not form.fullmatch(texts[key]):
            raise DataError(f"{where}: {key!r} is {texts[key][:80]!r}: it must be {wanted}.")
    for key in ("problem_statement", "patch"):
        if not texts[key].strip():
            raise DataError(f"{where}: {key!r} is empty.")
    optional = {key: _text(row, key, where) for key in _OPTIONAL_TEXTS if row.get(key) is not None}
    fail_to_pass = _tests(row, "FAIL_TO_PASS", where)
    if not fail_to_pass:
        raise DataError(
            f"{where}: 'FAIL_TO_PASS' names no test: nothing would tell a patch that resolves the"
            " issue from one that does not."
        )
    return SweBenchInstance(
        **texts,
        fail_to_pass=fail_to_pass,
        pass_to_pass=_tests(row, "PASS_TO_PASS", where),
        **optional,
        row=dict(row),
    )


def connects_to(instance: SweBenchInstance) -> str:
    """What the deciding tests of an instance connect to, as far as is known; empty if nothing.

    Without a network such tests fail whatever the patch, or end in another error than
    the one they expect.
    """
    tests = instance.fail_to_pass + instance.pass_to_pass
    return " and ".join(
        goal
        for pattern, goal in _TESTS_THAT_CONNECT.get(instance.repo, ())
        if any(re.search(pattern, test) for test in tests)
    )


def _rows(source: str | Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with its place."""
    source = ALIASES.get(str(source).lower(), source)
    path = Path(source).expanduser()
    if path.suffix == ".jsonl" and not path.is_dir():
        yield from ((f"{path}, line {number}", row) for number, row in read_lines(path))
        return
    is_local = (
        path.exists()
        or isinstance(source, Path)
        or path.suffix in (".json", ".parquet")
        or not _HUB.fullmatch(source)
    )
    try:
        rows: Iterable[Mapping[str, Any]] = read_rows(
            "swebench", "" if is_local else str(source), path if is_local else None, HUB_SPLIT
        )
    except InfrastructureError as error:
        reason = str(error).partition(" Without the hub")[
            0
        ]  # what follows names the flag of another command
        raise InfrastructureError(
            f"{reason} Without the hub, give a local copy: --dataset FILE, a .jsonl or .parquet"
            " with its rows."
        ) from None
    yield from ((f"{source}, row {number}", row) for number, row in enumerate(rows, 1))


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    if key not in row:
        raise DataError(f"{where}: {key!r} is missing. Is this a data set of SWE-bench's schema?")
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be text, not {type(value).__name__}.")
    return value


def _tests(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """Names of tests, from a list or from JSON text of one."""
    value = row.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: {key!r} is text, but no JSON list ({error.msg} at column {error.colno})."
            ) from None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise DataError(f"{where}: {key!r} must be a list of test names, or JSON text of one.")
    return tuple(value)
