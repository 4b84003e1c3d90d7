"""The built-in tasks: real bugs of real packages, whose source comes from the package index.

A task names two releases of a package: the *base* release has the bug, the *fix*
release mends it and brings a test for it. Nothing of the packages is stored here but
names, hashes and line numbers; both source archives are fetched when a task is set up.
The repository that an agent sees is the base release as it was published; the hidden
tests are the fix release's test files; the gold patch is computed from the two.

Archives are read from the index that pip is configured for, but not with ``pip
download``: that runs the package's build code on this machine to learn its metadata,
and takes seconds an archive.
"""

from srl_envs.swe.tasks.releases import (
    Sources,
    base_tree,
    fetch_sdists,
    fixed_test_files,
    gold_patch,
)
from srl_envs.swe.tasks.tasks import SweTask, load_task, load_tasks

__all__ = [
    "Sources",
    "SweTask",
    "base_tree",
    "fetch_sdists",
    "fixed_test_files",
    "gold_patch",
    "load_task",
    "load_tasks",
]
