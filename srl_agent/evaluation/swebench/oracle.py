"""Oracle mode: the files that the gold patch changes are given to the model. Of the patch nothing but their names is used, of the tests nothing."""

from __future__ import annotations

from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.prompt_budget import LeftOut, is_test_path
from srl_agent.evaluation.swebench.read_patch import patched_files


def oracle_paths(instance: SweBenchInstance) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """The files that the gold patch changes, moves or removes, in its order; and those that it names but that are not given.

    Left out are files that the patch makes, because there is nothing to show of them
    and their names would give the solution away, and tests.
    """
    paths: list[str] = []
    left_out: list[LeftOut] = []
    for file in patched_files(instance.patch):
        if file.old_path is None:
            left_out.append(LeftOut(file.new_path or "", "made by the gold patch"))
        elif is_test_path(file.old_path):
            left_out.append(LeftOut(file.old_path, "test file"))
        elif file.old_path not in paths:
            paths.append(file.old_path)
    return tuple(paths), tuple(left_out)
