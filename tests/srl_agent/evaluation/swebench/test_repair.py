"""From files and issue to a patch: with a real repository, and with real packages whose gold
patches are written as edits.
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from swebench_clones import instance_at, run_git

from srl_agent.evaluation.swebench.apply_edits import shown_text
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.localize import oracle_paths
from srl_agent.evaluation.swebench.make_patch import FileChange, make_patch, normalized_patch
from srl_agent.evaluation.swebench.prompt_budget import LeftOut, PromptBudget
from srl_agent.evaluation.swebench.prompts import repair_messages
from srl_agent.evaluation.swebench.repair import repair_outcome, repair_prompt, select_by_majority
from srl_agent.evaluation.swebench.repositories import CommitFiles, Repositories
from srl_envs.errors import ConfigError, InfrastructureError
from srl_envs.swe.tasks import SweTask, base_tree, gold_patch, load_tasks


@pytest.fixture
def instance(clones: Path) -> SweBenchInstance:
    return instance_at(clones / "acme" / "tool", "main")


@pytest.fixture
def files(clones: Path, instance: SweBenchInstance, tmp_path: Path) -> CommitFiles:
    return Repositories(tmp_path / "cache", clones).files(instance)


def edit(path: str, search: str, replacement: str) -> str:
    return f"`{path}`\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n"


def test_files_stand_whole_in_the_prompt(instance: SweBenchInstance, files: CommitFiles) -> None:
    wanted = [
        "src/tool.py",
        "src/deep/latin.py",
        "picture.png",
        "model.bin",
        "link.py",
        "vendor/library",
        "absent.py",
    ]
    prompt = repair_prompt(
        instance, wanted, files, left_out=[LeftOut("new.py", "made by the gold patch")]
    )
    assert prompt.given == ("src/tool.py", "src/deep/latin.py")
    assert prompt.left_out == (
        LeftOut("new.py", "made by the gold patch"),
        LeftOut("picture.png", "binary file"),
        LeftOut("model.bin", "Git LFS pointer"),
        LeftOut("link.py", "symbolic link"),
        LeftOut("vendor/library", "submodule"),
        LeftOut("absent.py", "no such file"),
    )
    assert (
        prompt.messages[1]["content"]
        == "Issue:\nVALUE should be 3.\n\n`src/tool.py`\n```\nVALUE = "
        "1\n```\n\n`src/deep/latin.py`\n```\n# -*- coding: "
        "latin-1 -*-\nNAME = 'café'\n```"
    )
    assert "hidden" not in str(
        repair_prompt(
            replace(instance, patch="hidden", test_patch="hidden", hints_text="hidden"),
            wanted,
            files,
        ).messages
    )


def test_a_fence_is_longer_than_any_in_the_file() -> None:
    content = repair_messages("x", [("a.md", "````\n```\n````"), ("b", ""), ("c.py", "'``'")])[1][
        "content"
    ]
    assert (
        content
        == "Issue:\nx\n\n`a.md`\n`````\n````\n```\n````\n`````\n\n`b`\n```\n```\n\n`c.py`\n```\n'``'\n```"
    )


def test_what_does_not_fit_is_left_out_and_the_next_is_tried(
    instance: SweBenchInstance, files: CommitFiles
) -> None:
    both = ["src/deep/latin.py", "src/tool.py"]
    small = PromptBudget().count(repair_prompt(instance, both[1:], files).messages)
    for more in range(12):
        budget = PromptBudget(small + more)
        prompt = repair_prompt(instance, both, files, budget)
        assert budget.fits(prompt.messages)
        assert prompt.given == ("src/tool.py",)
        assert [one.path for one in prompt.left_out] == [
            "src/deep/latin.py"
        ] and "does not fit" in prompt.left_out[0].reason
    with pytest.raises(ConfigError, match="allow more"):
        repair_prompt(instance, both, files, PromptBudget(100))


def test_an_answer_becomes_a_patch_that_applies(
    clones: Path, instance: SweBenchInstance, files: CommitFiles
) -> None:
    prompt = repair_prompt(instance, oracle_paths(instance)[0], files)
    answer = (
        "<think>" + edit("src/tool.py", "VALUE = 1\n", "VALUE = 2\n") + "</think>\nThe value:\n" + edit("src/tool.py", "VALUE = 1\n", "VALUE = 3\n")
        + edit("src/deep/latin.py", "NAME = 'café'\n", "NAME = 'cafés'\n") + edit("run me.sh", "#!/bin/sh\n", "#!/bin/bash\n")
        + edit("src/new.py", "", "X = 1\n") + edit("link.py", "VALUE = 1\n", "x\n") + "données.txt\n<<<<<<< DELETE\n>>>>>>> DELETE\n"
        + edit("absent.py", "x\n", "y\n") + "src/tool.py\n<<<<<<< SEARCH\nVALUE"
    )  # fmt: skip
    outcome = repair_outcome(prompt, answer, files)
    assert [report.status for report in outcome.edits] == [
        *["applied"] * 4,
        "not_a_file",
        "applied",
        "no_such_file",
        "unclosed",
    ]
    assert (outcome.given, outcome.left_out, outcome.answer, outcome.problems) == (
        ("src/tool.py",),
        (),
        answer,
        (),
    )
    json.dumps(asdict(outcome))

    folder = clones / "acme" / "tool"
    run_git(folder, "checkout", "-q", "-f", instance.base_commit)
    run_git(folder, "apply", "--verbose", "-", stdin=outcome.patch.encode())
    assert (folder / "src/tool.py").read_bytes() == b"VALUE = 3\n"
    assert (
        folder / "src/deep/latin.py"
    ).read_bytes() == b"# -*- coding: latin-1 -*-\nNAME = 'caf\xe9s'\n"
    assert (folder / "run me.sh").read_bytes() == b"#!/bin/bash\r\n" and (
        folder / "run me.sh"
    ).stat().st_mode & 0o100
    assert (folder / "src/new.py").read_bytes() == b"X = 1\n"
    assert not (folder / "données.txt").exists()
    assert (folder / "link.py").is_symlink()


def test_python_that_no_longer_parses_is_kept_out(
    instance: SweBenchInstance, files: CommitFiles
) -> None:
    prompt = repair_prompt(instance, ["src/tool.py"], files)
    outcome = repair_outcome(prompt, edit("src/tool.py", "VALUE = 1\n", "VALUE = (\n"), files)
    assert outcome.patch == "" and [problem.path for problem in outcome.problems] == ["src/tool.py"]
    assert outcome.edits[0].status == "applied"
    nothing = repair_outcome(prompt, "I cannot.", files)
    assert (nothing.patch, nothing.edits, nothing.problems) == ("", (), ())


def test_the_majority_of_patches() -> None:
    def patch(new: str) -> str:
        return make_patch([FileChange("a.py", b"x = 1\n", new.encode())])

    a, b, c = patch("x = 2\n"), patch("x=2\n\n"), patch("x = 3\n")
    assert select_by_majority([c, a, b]) == 1, "a and b make the same change"
    assert select_by_majority([c, a]) == select_by_majority([c]) == select_by_majority([]) == 0
    assert select_by_majority(["", "", c, ""]) == 2, "empty patches have no vote"
    assert select_by_majority(["", ""]) == 0
    assert select_by_majority([a, c, c, b]) == 0, "of two groups of one size the first"


# ---------------------------------------------------------------- real packages


def as_edits(path: str, old: Sequence[str], new: Sequence[str]) -> str:
    """The way from one text to the other as blocks, each with as many lines around it as make its
    place the only one.
    """
    blocks = []
    end = 0
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3):
        first, last, new_first, new_last = group[0][1], group[-1][2], group[0][3], group[-1][4]
        while (
            sum(
                list(old[at : at + last - first]) == list(old[first:last]) for at in range(len(old))
            )
            > 1
            and first > end
        ):
            first, new_first = first - 1, new_first - 1
        end = last
        blocks.append(
            edit(
                path,
                "".join(f"{line}\n" for line in old[first:last]),
                "".join(f"{line}\n" for line in new[new_first:new_last]),
            )
        )
    return "\n".join(blocks)


@pytest.mark.parametrize("task", load_tasks(), ids=lambda task: task.id)
def test_gold_patches_of_real_packages_written_as_edits(
    task: SweTask, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "packages"
    work = tmp_path_factory.mktemp("package")
    try:
        clone = base_tree(task, folder, work / "clones" / task.package)
        gold = gold_patch(task, folder)
    except InfrastructureError as error:
        pytest.skip(str(error))
    run_git(clone, "init", "-q")
    run_git(clone, "add", "-A", "-f")
    run_git(clone, "commit", "-q", "-m", "base")
    values = {
        "instance_id": task.id,
        "repo": f"acme/{task.package}",
        "base_commit": run_git(clone, "rev-parse", "HEAD"),
        "problem_statement": task.issue,
    }
    one = SweBenchInstance(
        **values,
        patch=gold,
        test_patch="",
        fail_to_pass=task.fail_to_pass,
        pass_to_pass=task.pass_to_pass,
    )
    files = Repositories(work / "cache", work / "clones").files(one)

    paths, left_out = oracle_paths(one)
    assert paths == task.source_files and not left_out
    prompt = repair_prompt(one, paths, files)
    assert prompt.given == paths and not prompt.left_out

    shutil.copytree(clone, work / "fixed")
    run_git(work / "fixed", "apply", "-", stdin=gold.encode())
    texts = {
        path: [
            shown_text(content).removesuffix("\n").split("\n")
            for content in (files[path], (work / "fixed" / path).read_bytes())
        ]
        for path in paths
    }
    outcome = repair_outcome(
        prompt, "".join(as_edits(path, old, new) for path, (old, new) in texts.items()), files
    )
    assert {report.status for report in outcome.edits} == {"applied"} and not outcome.problems
    assert normalized_patch(outcome.patch) == normalized_patch(gold)
    run_git(clone, "apply", "-", stdin=outcome.patch.encode())
    assert all(
        (clone / path).read_bytes() == (work / "fixed" / path).read_bytes() for path in paths
    )
