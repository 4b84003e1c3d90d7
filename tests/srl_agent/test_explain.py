"""``python -m srl_agent.explain``: the numbers are the reward's, in text and as a page."""

from __future__ import annotations

import difflib
import io
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.explain import main
from srl_agent.reports.explanation import Target, explain, in_group
from srl_envs import load_trajectories
from srl_envs.errors import ConfigError
from srl_envs.reward import RewardSettings

pytest.importorskip("rich", reason="the viewer's extra (view) is not installed")

EXPERT = "They meet after 660 / 110 = 6 hours."


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "expert.txt").write_text(EXPERT + "\n")
    (tmp_path / "good.txt").write_text("<think>so</think>\nThey meet after 6 hours.\n")
    (tmp_path / "bad.txt").write_text("no block")
    return tmp_path


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_arithmetic_is_that_of_the_reward(action: str, expert: str) -> None:
    one = explain("a", f"<think></think>{action}", Target(expert))
    if one.match is None:
        assert one.reward == -1 and one.response.error is not None
        return
    ratio = difflib.SequenceMatcher(None, one.action, one.expert, autojunk=False).ratio()
    assert one.reward == pytest.approx(ratio, abs=1e-12) == one.match.ratio
    for block in one.match.blocks:
        ours = one.action[block.a : block.a + block.size]
        assert ours == one.expert[block.b : block.b + block.size]
    if one.match.total:
        matched, total = re.findall(r"× ([\d,]+) / ([\d,]+) =", one.arithmetic)[0]
        assert (int(matched), int(total)) == (one.match.matched, one.match.total)


def test_it_says_what_autojunk_would_change() -> None:
    expert = "so the next step is to add the two halves of it " * 6
    one = explain("a", f"<think></think>{expert[20:]}", Target(expert))
    change = {each.setting: each for each in one.changes}["autojunk true"]
    assert change.reward < 0.1 and change.difference == pytest.approx(change.reward - one.reward)
    assert "at least 200" in change.words
    short = explain("a", f"<think></think>{EXPERT}", Target(EXPERT)).changes[0]
    assert short.difference == 0 and "does nothing" in short.words


def test_it_says_what_the_bound_on_length_takes() -> None:
    settings = RewardSettings(max_characters=10)
    one = explain("a", f"<think></think>{EXPERT}", Target(EXPERT), settings)
    assert one.match is not None and one.match.matched == 10 and one.reward < 1
    change = {each.setting: each for each in one.changes}[f"max_reward_characters {len(EXPERT)}"]
    assert change.reward == 1.0


def test_the_group_has_the_advantages_of_training() -> None:
    answers = [
        explain(name, f"<think></think>{text}", Target(EXPERT))
        for name, text in (("a", EXPERT), ("b", EXPERT[:20]))
    ]
    group, words = in_group(answers, [-1.0])
    rewards = [answers[0].reward, answers[1].reward, -1.0]
    mean = sum(rewards) / 3
    spread = (sum((one - mean) ** 2 for one in rewards) / 3) ** 0.5
    assert group[0].advantage == pytest.approx((rewards[0] - mean) / spread)
    assert "3 answers" in words
    same, words = in_group([answers[0], answers[0]])
    assert same[0].advantage == 0 and "the group is replaced" in words
    assert in_group([answers[0]])[0][0].advantage is None
    with pytest.raises(ConfigError, match="from -1 to 1"):
        in_group(answers, [float("nan")])


def test_two_answers_are_explained_in_text(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good.txt", "bad.txt", "--expert", "expert.txt"]) == 0
    said = capsys.readouterr().out
    assert "2M / T = 2 × 24 / 60 = 0.8000" in said and "'They meet after 6'" in said
    assert "Malformed (no_think): It has no think block." in said
    assert "bad.txt: reward -1.0000, advantage -1.0000" in said


def test_an_answer_comes_from_the_standard_input(
    texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(f"<think></think>{EXPERT}".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["-", "--expert", "expert.txt"]) == 0
    assert "standard input: reward 1.0000" in capsys.readouterr().out


def test_an_instance_gives_the_expert_and_its_command(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = load_trajectories("builtin_swe").instances("all")[0]
    (texts / "answer.txt").write_text(f"<think></think>I look.\n{instance.step.action}")
    flags = ["answer.txt", "--source", "builtin_swe", "--instance", instance.id]
    assert main(flags) == 0
    said = capsys.readouterr().out
    assert "reward 1.0000" in said and "characters are compared" in said
    assert "scored arguments" in said and "without the grammar's scaffold" in said
    assert main([*flags, "--scored", "arguments"]) == 0


def test_nothing_in_an_answer_reaches_the_terminal(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = "<think></think>\x1b[2J\x9b31m[bold]x[/bold] \u202e\x07" + EXPERT
    (texts / "answer.txt").write_text(answer, encoding="utf-8")
    assert main(["answer.txt", "--expert", "expert.txt"]) == 0
    said = capsys.readouterr().out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", said)
    assert "[bold]x[/bold]" in said and "␛[2J" in said


def test_a_page_shows_text_as_text(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack = "</pre><script>alert(1)</script>"
    (texts / "answer.txt").write_text(f"<think>{attack}</think>{attack}{EXPERT}")
    assert main(["answer.txt", "bad.txt", "--expert", "expert.txt", "--html", "why.html"]) == 0
    assert capsys.readouterr().out == "why.html\n"
    page = (texts / "why.html").read_text()
    assert page.count("<script>") == 1 and "alert(1)</script>" not in page
    assert "matching blocks" in page and "autojunk true" in page and "no think" in page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["good.txt"], "either --expert FILE or --instance ID"),
        (["good.txt", "--expert", "expert.txt", "--instance", "x"], "either --expert FILE"),
        (["missing.txt", "--expert", "expert.txt"], "No such file"),
        (["latin.txt", "--expert", "expert.txt"], "latin.txt is not UTF-8 text (byte 3)"),
        (["-", "--expert", "-"], "can be read once"),
        (["good.txt", "--instance", "builtin-x/1"], "has no instance 'builtin-x/1'"),
        (["good.txt", "--expert", "expert.txt", "--scored", "arguments"], "give --grammar"),
        (["good.txt", "--expert", "expert.txt", "--grammar", "cobol"], "cobol"),
        (["good.txt", "--expert", "expert.txt", "--reward", "luck"], "luck"),
        (["good.txt", "--expert", "expert.txt", "--max_reward_characters", "0"], "at least 1"),
        (["good.txt", "--expert", "expert.txt", "--rewards", "7"], "rewards is 7.0"),
    ],
)
def test_bad_input_is_one_line(
    flags: list[str], message: str, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (texts / "latin.txt").write_bytes(b"caf\xe9")
    assert main(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1


def test_a_wrong_bound_is_named_as_the_flag(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["good.txt", "--expert", "expert.txt", "--max_reward_characters", "0"]
    assert main(flags) == 2
    assert "error: max_reward_characters is 0: it must be at least 1" in capsys.readouterr().err
