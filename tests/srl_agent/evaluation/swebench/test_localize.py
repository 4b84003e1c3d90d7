"""Which files a prompt may show, how the repository's tree is shortened, and which paths of an
answer count.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swebench_clones import instance_at

from srl_agent.evaluation.swebench.instances import SweBenchInstance, load_instances
from srl_agent.evaluation.swebench.localize import (
    localize_prompt,
    oracle_paths,
    parse_localization,
    tree_text,
)
from srl_agent.evaluation.swebench.prompt_budget import (
    LeftOut,
    PromptBudget,
    estimated_tokens,
    is_test_path,
)
from srl_agent.evaluation.swebench.prompts import localize_messages, repair_messages
from srl_envs.errors import ConfigError

TREE = [
    "README.md",
    "setup.py",
    "src/tool/__init__.py",
    "src/tool/main.py",
    "src/tool/data/a b.json",
    "src/tool/data/x.py",
    "src/tool/deep/er/y.py",
    "tests/test_main.py",
]


@pytest.fixture
def instance(clones: Path) -> SweBenchInstance:
    return instance_at(clones / "acme" / "tool", "main")


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py",
        "src/tests/data/x.json",
        "django/test/client.py",
        "testing/a.py",
        "test_a.py",
        "src/a_test.py",
        "src/tests.py",
        "conftest.py",
        "x/conftest.py",
    ],
)
def test_files_of_the_tests(path: str) -> None:
    assert is_test_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "src/_pytest/python.py",
        "src/contest.py",
        "latest/a.py",
        "django/core/management/commands/test.py",
        "a/testutils/b.py",
        "test",
        "src/attest.py",
    ],
)
def test_files_of_the_source(path: str) -> None:
    assert not is_test_path(path)


@pytest.mark.shared_data
def test_gold_patches_and_test_patches_of_real_rows_are_told_apart(shared_data: Path) -> None:
    for one in load_instances(
        shared_data / "swe_bench_verified" / "verified_full_columns_100.jsonl"
    ).instances:
        paths, left_out = oracle_paths(one)
        assert paths and not left_out
        assert all(path in one.patch and path not in one.test_patch for path in paths)
        hidden, shown = oracle_paths(replace(one, patch=one.test_patch))
        assert not hidden and shown, "nothing of the tests is given"


def test_the_oracle_gives_what_exists_and_is_no_test(instance: SweBenchInstance) -> None:
    patch = (
        "diff --git a/src/b.py b/src/b.py\n--- a/src/b.py\n+++ b/src/b.py\n@@ -1 +1 @@\n-x\n+y\n"
        "diff --git a/new.py b/new.py\nnew file mode 100644\n--- /dev/null\n+++ "
        "b/new.py\n@@ -0,0 +1 @@\n+x\n"
        "diff --git a/gone.py b/gone.py\ndeleted file mode 100644\n--- a/gone.py\n+++ "
        "/dev/null\n@@ -1 +0,0 @@\n-x\n"
        "diff --git a/old.py b/moved.py\nsimilarity index 100%\nrename from "
        "old.py\nrename to moved.py\n"
        "diff --git a/tests/test_b.py b/tests/test_b.py\n--- a/tests/test_b.py\n+++ "
        "b/tests/test_b.py\n@@ -1 +1 @@\n-x\n+y\n"
    )
    paths, left_out = oracle_paths(replace(instance, patch=patch))
    assert paths == ("src/b.py", "gone.py", "old.py")
    assert left_out == (
        LeftOut("new.py", "made by the gold patch"),
        LeftOut("tests/test_b.py", "test file"),
    )


def test_the_tree_names_a_folder_in_each_line() -> None:
    assert tree_text(TREE[:-1]).split("\n") == [
        "./: README.md setup.py",
        "src/tool/: __init__.py main.py",
        "src/tool/data/: `a b.json` x.py",
        "src/tool/deep/er/: y.py",
    ]
    assert tree_text(TREE[:-1], 2, True).split("\n") == [
        "./: setup.py (other files: 1)",
        "src/tool/: __init__.py main.py (files in folders below: 3)",
    ]
    assert tree_text([]) == ""


def test_the_tree_is_shortened_step_by_step(instance: SweBenchInstance) -> None:
    wide = [
        *TREE,
        *(f"docs/page{number}.rst" for number in range(40)),
        *(f"src/tool/deep/er/still/z{number}.py" for number in range(60)),
    ]
    full = localize_prompt(instance, wide)
    assert full.tree == "all files" and "test_main.py" not in full.messages[1]["content"]
    least = PromptBudget().count(localize_messages("", "", 5))
    seen = {}
    for tokens in (
        *range(least, PromptBudget().count(full.messages), 3),
        PromptBudget().count(full.messages),
    ):
        budget = PromptBudget(tokens)
        prompt = localize_prompt(instance, wide, budget)
        assert budget.fits(prompt.messages)
        seen.setdefault(prompt.tree, prompt.messages[1]["content"])
    assert list(seen) == [
        "cut",
        *(f"folders down to level {level}" for level in (1, 2, 3, 4)),
        "Python files",
        "all files",
    ]
    assert (
        "docs/: (other files: 40)" in seen["Python files"]
        and "README.md" not in seen["Python files"]
    )
    assert "src/tool/deep/: (files in folders below: 61)" in seen["folders down to level 3"]
    assert "src/: (files in folders below: 65)" in seen["folders down to level 1"]
    with pytest.raises(
        ConfigError,
        match=f"max_prompt_tokens is {least - 1}, but a prompt without any content takes "
        f"{least}: allow more",
    ):
        localize_prompt(instance, wide, PromptBudget(least - 1))
    with pytest.raises(ConfigError, match="max_files is 0"):
        localize_prompt(instance, wide, max_files=0)
    with pytest.raises(ConfigError, match="max_prompt_tokens is 0"):
        PromptBudget(0)


@given(st.text(max_size=300), st.integers(0, 400))
def test_an_issue_takes_half_of_what_the_frame_leaves(issue: str, more: int) -> None:
    def prompt_with(text: str) -> list:  # type: ignore[type-arg]
        return repair_messages(text, [])

    least = PromptBudget().count(prompt_with(""))
    budget = PromptBudget(least + more)
    fitted = budget.fitted_issue(issue, prompt_with)
    assert budget.count(prompt_with(fitted)) <= least + more // 2
    if budget.count(prompt_with(issue)) <= least + more // 2:
        assert fitted == issue


def test_tokens_are_estimated_from_bytes() -> None:
    assert [estimated_tokens(text) for text in ("", "a", "abc", "abcd", "茶", "\ud800")] == [
        0,
        1,
        1,
        2,
        1,
        1,
    ]
    assert PromptBudget(10, len).fits([{"role": "user", "content": "x" * 10}])
    assert not PromptBudget(10, len).fits(
        [{"role": "user", "content": "x" * 5}, {"role": "user", "content": "x" * 6}]
    )


@pytest.mark.parametrize(
    "line",
    [
        "src/tool/main.py",
        "- src/tool/main.py",
        "1. `src/tool/main.py`",
        "**src/tool/main.py**:",
        "./src/tool/main.py",
        "/src/tool/main.py",
        "src/tool/main.py:12-30",
        "`src/tool/main.py`:12",
        "src/tool/main.py::Tool.run",
        "The cause is in src/tool/main.py, I think.",
        "The cause is in (src/tool/main.py).",
        "```\nsrc/tool/main.py\n```",
        "src/tool/main.py\r\nsrc/tool/main.py",
        "<think>setup.py</think>src/tool/main.py",
    ],
)
def test_a_path_of_an_answer(line: str) -> None:
    found = parse_localization(line, TREE)
    assert (found.paths, found.left_out, found.answer) == (("src/tool/main.py",), (), line)


@pytest.mark.parametrize(
    "line",
    [
        '["src/tool/main.py","setup.py"]',
        '{"files": ["src/tool/main.py", "setup.py"]}',
        "/testbed/src/tool/main.py and a/setup.py",
        "[src/tool/main.py](src/tool/main.py), <file>setup.py</file>",
        "`src/tool/main.py`,`setup.py`",
        "src/tool/main.py|setup.py",
        "src/tool/main.py#L10-L20 setup.py's version",
        "src/tool/: main.py\n./: setup.py",
        "`src/tool/`: `main.py`\nfile=setup.py",
    ],
)
def test_spellings_of_several_paths(line: str) -> None:
    found = parse_localization(line, TREE)
    assert (found.paths, found.left_out) == (("src/tool/main.py", "setup.py"), ())


def test_only_paths_that_exist_count_and_only_the_first() -> None:
    answer = (
        "- src/tool/main.py\n- src/tool/absent.py\n- setup.py\n- src/tool\n- "
        "tests/test_main.py\n- src/tool/data/a b.json\n- setup.py\n- README.md\n"
    )
    found = parse_localization(answer, TREE, max_files=3)
    assert found.paths == ("src/tool/main.py", "setup.py", "src/tool/data/a b.json")
    assert found.left_out == (
        LeftOut("src/tool/absent.py", "no such file"),
        LeftOut("tests/test_main.py", "test file"),
        LeftOut("README.md", "not among the first 3"),
    )
    assert parse_localization("<think>setup.py\n", TREE).paths == ()
    assert parse_localization("I do not know.", TREE) == parse_localization("I do not know.", [])


@given(st.text())
def test_any_answer_names_files_of_the_tree_or_none(text: str) -> None:
    found = parse_localization(text + "\nsetup.py\n" + text, TREE)
    assert set(found.paths) <= set(TREE) and len(set(found.paths)) == len(found.paths)
    parse_localization(text, {text, "a"})
