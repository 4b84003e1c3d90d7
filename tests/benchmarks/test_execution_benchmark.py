"""The labelled commands, and what the rewards make of a few of them."""

from __future__ import annotations

import pytest

from benchmarks import execution_reward
from benchmarks.labelled_commands import Labelled, labelled, sampled
from srl_envs.commands import grammar_named

KINDS = ("first lines", "change", "view")


def test_execution_tells_equivalent_commands_from_near_misses(
    bubblewrap: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(pairs: list[Labelled], most: int) -> list[Labelled]:
        return sampled([pair for pair in pairs if pair.kind in KINDS], most)

    monkeypatch.setattr(execution_reward, "sampled", few)

    execution_reward.main(["--sandbox", "bubblewrap", "--most", "1", "--shell_tasks", "12"])
    printed = capsys.readouterr()
    assert "3 steps of 3 kinds; 7 equivalent commands, 9 others" in printed.out
    assert "| execution | 100.0% | 0.0% |" in printed.out
    assert printed.err.endswith("Where execution disagrees with the label:\n")


def test_nemo_gyms_rule_asks_for_tool_file_and_similarity() -> None:
    bash = grammar_named("bash")

    def credited(model: str, expert: str) -> bool:
        return execution_reward.nemo_gym(
            bash.command("bash", command=model), bash.command("bash", command=expert)
        )

    assert credited("grep -rn 'limit' src/utils/io.py", "grep -n 'limit' src/utils/io.py")
    assert not credited("head -5 f", "sed -n 1,5p f")  # another first word
    assert not credited("cat src/a/b.py", "cat src/a/c.py")  # another file
    edit = grammar_named("xml")
    one, other = (
        edit.command("str_replace_editor", command="view", path="/r/a.py", view_range=lines)
        for lines in ("[1, 50]", "[3, 50]")
    )
    assert execution_reward.nemo_gym(one, other)


def test_every_action_of_the_pairs_can_be_read() -> None:
    pairs = list(labelled(execution_reward.sources((), 120)))
    assert len({pair.kind for pair in pairs}) > 12
    for pair in pairs:
        grammar = grammar_named(pair.trajectory.grammar)
        expert = grammar.parse(pair.trajectory.steps[pair.index].action)
        actions = (*pair.equivalent, *pair.other)
        assert len({grammar.parse(action).text for action in actions} | {expert.text}) > len(
            set(actions)
        )
