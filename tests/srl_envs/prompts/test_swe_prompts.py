"""Prompts of software-engineering steps: what is shown, how it is cut, the budget it keeps."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs import ExpertStep, StepInstance, Trajectory
from srl_envs.commands import GRAMMARS
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import PromptSettings, cut_middle
from srl_envs.prompts.swe import swe_step_messages, utf8_bytes
from srl_envs.prompts.swe_system import swe_system_prompt

TURNS = [(f"command {i}", f"output {i}\n") for i in range(9)]
texts = st.one_of(
    st.text(max_size=30),
    st.integers(0, 900).map("line of text\n".__mul__),
    st.integers(0, 300).map("äö€ ".__mul__),
)


def user(
    issue: str, turns: list[tuple[str, str]], settings: PromptSettings = PromptSettings()
) -> str:
    return swe_step_messages(issue, turns, settings)[-1]["content"]


def test_issue_and_last_two_turns_are_shown_and_the_others_counted() -> None:
    assert user("\nIt fails.\n", TURNS).split("\n\n") == [
        "Issue:\nIt fails.",
        "[... 7 earlier turns left out ...]",
        "Command:\ncommand 7",
        "Observation:\noutput 7",
        "Command:\ncommand 8",
        "Observation:\noutput 8",
    ]
    assert user("It fails.", []) == "Issue:\nIt fails."
    assert "[... 1 earlier turn left out ...]" in user("It fails.", TURNS[:3])
    assert user("It fails.", [("true", "")]).endswith("Observation:\n(no output)")


@pytest.mark.parametrize("history", [0, 1, 5, 100])
def test_history_turns(history: int) -> None:
    text = user("It fails.", TURNS, PromptSettings(history_turns=history))
    assert text.count("Command:") == min(history, 9)
    assert ("left out" in text) == (history < 9)


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_each_grammar_has_its_system_prompt(grammar: str) -> None:
    system, _ = swe_step_messages("It fails.", [], grammar=grammar)
    assert system == {"role": "system", "content": swe_system_prompt(grammar)}
    assert "<think> </think>" in system["content"]
    assert "exactly one command" in system["content"]
    assert ("str_replace_editor" in system["content"]) == (
        "str_replace_editor" in GRAMMARS[grammar].tools
    )
    own = PromptSettings(swe_system_prompt="Own.")
    assert swe_step_messages("It fails.", [], own, grammar=grammar)[0]["content"] == "Own."
    assert [
        message["role"]
        for message in swe_step_messages(
            "It fails.", [], PromptSettings(swe_system_prompt=""), grammar=grammar
        )
    ] == ["user"]


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_the_prompt_says_how_long_a_shell_lasts(grammar: str) -> None:
    prompt = swe_system_prompt(grammar)
    fresh = GRAMMARS[grammar].fresh_shell
    assert ("runs in a new shell in the repository's folder" in prompt) == fresh
    assert ("last from one command to the next" in prompt) == (not fresh)


def test_the_middle_of_a_long_observation_is_left_out() -> None:
    seen = "X" * 6000 + "Y" * 6000
    text = user("It fails.", [("cat x", seen)], PromptSettings(observation_characters=1000))
    cut = text.partition("Observation:\n")[2]
    assert len(cut) <= 1000
    missing = int(cut.partition("[... ")[2].split()[0])
    assert cut.count("X") + cut.count("Y") == 12_000 - missing
    assert abs(cut.count("X") - cut.count("Y")) <= 1
    assert seen in user("It fails.", [("cat x", seen)], PromptSettings(observation_characters=None))


@given(text=texts, limit=st.integers(0, 3000))
def test_cut_middle(text: str, limit: int) -> None:
    cut = cut_middle(text, limit)
    note = f"\n[... {len(text)} characters left out ...]\n"
    assert len(cut) <= max(limit, len(note))
    if len(text) <= limit:
        assert cut == text
    elif cut != text:
        head, _, rest = cut.partition("\n[... ")
        missing, _, tail = rest.partition(" characters left out ...]\n")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + len(tail) + int(missing) == len(text)


def words(text: str) -> int:
    return len(text.split())


def crooked(text: str) -> int:
    """A count that is not monotone in the text's length, as with tokenizers where a text is cut."""
    return len(text) // 3 + len(text) % 7


@given(
    issue=texts,
    turns=st.lists(st.tuples(texts, texts), max_size=4),
    bound=st.integers(1, 4000),
    count=st.sampled_from([None, words, crooked]),
    history=st.integers(0, 4),
)
def test_a_budget_is_never_exceeded(
    issue: str,
    turns: list[tuple[str, str]],
    bound: int,
    count: Callable[[str], int] | None,
    history: int,
) -> None:
    settings = PromptSettings(
        history_turns=history,
        max_prompt_tokens=bound,
        count_tokens=count,
        swe_system_prompt="Short.",
    )
    counted = count or utf8_bytes
    try:
        messages = swe_step_messages(issue, turns, settings)
    except ConfigError:
        assert bound < 120
        return
    assert sum(counted(message["content"]) for message in messages) <= bound
    whole = swe_step_messages(
        issue, turns, PromptSettings(history_turns=history, swe_system_prompt="Short.")
    )
    if sum(counted(message["content"]) for message in whole) <= bound:
        assert messages == whole


def test_what_gives_way_first() -> None:
    """Pieces of 1,000 letters; every 1,000 that the budget lacks take the next piece, in order."""
    issue, turns = "I" * 1000, [("A" * 1000, "a" * 1000), ("B" * 1000, "b" * 1000)]

    def letters(bound: int) -> str:
        text = user(
            issue,
            turns,
            PromptSettings(max_prompt_tokens=bound, count_tokens=len, swe_system_prompt=""),
        )
        whole = {letter for letter in "IAaBb" if letter * 1000 in text}
        cut = {letter for letter in "IAaBb" if letter * 20 in text} - whole
        return "".join(sorted(whole)) + "|" + "".join(sorted(cut))

    assert letters(6000) == "ABIab|"
    assert letters(4700) == "ABIb|a"
    assert letters(3700) == "ABI|b"
    assert letters(2800) == "BI|A"
    assert letters(1900) == "I|B"
    assert letters(1050) == "I|"
    assert letters(600) == "|I"


def test_a_budget_below_the_frame_is_an_error_that_names_what_is_needed() -> None:
    with pytest.raises(
        ConfigError, match=r"max_prompt_tokens is 10, but .* take (\d+): allow more"
    ) as caught:
        user("It fails. " * 50, TURNS, PromptSettings(max_prompt_tokens=10))
    needed = int(str(caught.value).split("take ")[1].split(":")[0])
    user("It fails. " * 50, TURNS, PromptSettings(max_prompt_tokens=needed))


@given(text=st.text())
def test_bytes_bound_the_tokens_of_the_text_and_of_its_normal_form(text: str) -> None:
    assert utf8_bytes(text) >= len(text.encode())
    assert utf8_bytes(text) >= len(unicodedata.normalize("NFC", text).encode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"history_turns": -1},
        {"observation_characters": 0},
        {"max_prompt_tokens": 0},
        {"scored": "all"},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is "):
        PromptSettings(**wrong)  # type: ignore[arg-type]
    assert hash(PromptSettings(count_tokens=len)) != hash(PromptSettings())


def test_an_instance_of_the_domain_swe_asks_for_the_command() -> None:
    texts = [
        GRAMMARS["xml"].command("bash", command=command).text for command in ("ls", "pwd", "id")
    ]
    steps = tuple(
        ExpertStep(text, thought="Hm.", observation=f"seen {i}") for i, text in enumerate(texts)
    )
    trajectory = Trajectory("t", "It fails.", steps, domain="swe", metadata={"grammar": "xml"})
    instance = StepInstance(trajectory, 2)
    assert instance.messages == swe_step_messages(
        "It fails.", [(texts[0], "seen 0"), (texts[1], "seen 1")]
    )
    assert instance.expert_action == texts[2]
    assert (
        StepInstance(trajectory, 2, PromptSettings(scored="arguments")).expert_action == "bash\nid"
    )
