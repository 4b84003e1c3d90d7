import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.response import (
    CLOSE,
    MALFORMATIONS,
    OPEN,
    Response,
    ResponseFormat,
    SplitAnswer,
    format_response,
    has_text,
    parse_response,
)

PIECES = st.lists(
    st.one_of(st.sampled_from([OPEN, CLOSE, " ", "\n"]), st.text(max_size=4)), max_size=8
).map("".join)
FORMATS = st.builds(ResponseFormat, think_prefilled=st.booleans(), require_think=st.booleans())
PLAIN = st.text(st.characters(exclude_characters="<>"), max_size=20)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = 1", "no_think"),
        ("", "no_think"),
        ("<think>so x = 1", "unclosed_think"),
        ("</think>a<think>", "unclosed_think"),
        ("so</think>x = 1", "unopened_think"),
        ("<think>a</think>b<think>c</think>d", "several_think"),
        ("<think>a<think>b</think>c", "several_think"),
        ("<think>a</think>b</think>c", "several_think"),
        ("Sure. <think>a</think>b", "text_before_think"),
        ("<think>a</think> \n", "empty_action"),
        ("<think>a</think>\u200b", "empty_action"),
        ("<think>a</think> \ufeff\n\0\x1b", "empty_action"),
        ("\ufeffSure. <think>a</think>b", "text_before_think"),
    ],
)
def test_each_malformation_has_its_name(text, error):
    assert parse_response(text) == Response("", "", error)


def test_a_truncated_answer_is_malformed_whatever_it_holds():
    assert parse_response("<think>a</think>b", truncated=True).error == "truncated"


def test_well_formed_answers():
    assert parse_response(" \n<think> so </think>\n\nx = 1\ny = 2 ") == Response(
        "so", "x = 1\ny = 2"
    )
    assert parse_response("<think></think>x") == Response("", "x")


@pytest.mark.parametrize("before", ["\ufeff", "\u200b\n", "\0 "])
def test_what_cannot_be_seen_is_no_text_before_the_block(before):
    assert parse_response(f"{before}<think>so</think>x") == Response("so", "x")


def test_what_cannot_be_seen_beside_text_stays():
    assert parse_response("<think></think>\u200bx\u0301") == Response("", "\u200bx\u0301")


def test_think_prefilled_starts_inside_the_block():
    prefilled = ResponseFormat(think_prefilled=True)
    assert parse_response("so</think>x", prefilled) == Response("so", "x")
    assert parse_response("<think>so</think>x", prefilled).error == "several_think"


def test_a_bare_action_is_accepted_only_if_asked_for():
    lenient = ResponseFormat(require_think=False)
    assert parse_response(" x = 1 ", lenient) == Response("", "x = 1")
    assert (
        parse_response(" ", lenient).error
        == parse_response("\ufeff", lenient).error
        == "empty_action"
    )
    assert parse_response("<think>so", lenient).error == "unclosed_think"


@given(PIECES, FORMATS, st.booleans())
def test_any_text_is_well_formed_or_has_a_known_malformation(text, format, truncated):
    response = parse_response(text, format, truncated=truncated)
    if response.error is None:
        assert response.action and OPEN not in response.action and CLOSE not in response.action
    else:
        assert response.error in MALFORMATIONS and response.action == response.thought == ""


@given(PIECES, PIECES, FORMATS, st.booleans())
def test_a_thought_apart_from_its_action_is_the_same_answer(thought, action, format, truncated):
    inside = "" if format.think_prefilled else OPEN
    text = f"{inside}{thought}{CLOSE}{action}"
    expected = parse_response(text, format, truncated=truncated)
    for apart in (SplitAnswer(thought, action), (thought, action)):
        assert parse_response(apart, format, truncated=truncated) == expected


@given(PIECES, FORMATS, st.booleans())
def test_an_answer_without_a_thought_is_its_text(action, format, truncated):
    apart = parse_response(SplitAnswer(None, action), format, truncated=truncated)
    assert apart == parse_response(action, format, truncated=truncated)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (["thought", "action"], "list"),
        (("thought",), r"tuple of \(str\)"),
        (("thought", None), r"tuple of \(str, NoneType\)"),
        ({"thought": "t", "action": "a"}, "dict"),
        (None, "NoneType"),
    ],
)
def test_what_is_not_an_answer_is_refused(wrong, kind):
    with pytest.raises(TypeError, match=f"not {kind}"):
        parse_response(wrong)


@given(PLAIN, PLAIN, st.booleans())
def test_formatting_and_parsing_are_inverse(thought, action, prefilled):
    format = ResponseFormat(think_prefilled=prefilled)
    expected = (
        Response(thought.strip(), action.strip())
        if has_text(action)
        else Response("", "", "empty_action")
    )
    assert parse_response(format_response(thought, action, format), format) == expected
