"""The action grammars: reading, writing, and that both agree."""

from __future__ import annotations

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import srl_envs.commands
from srl_envs.commands import GRAMMARS, TOOL_CALLS, TOOLS, Command, CommandError, scored_text
from srl_envs.errors import ConfigError

# Pieces that grammars could trip over, mixed with any text.
PIECES = [
    "</parameter>",
    "</function>",
    "<parameter=path>",
    "<function=bash>\n",
    "</parameter>\n</function>",
    "```",
    "````",
    "```bash",
    "\n",
    "\r\n",
    "\r",
    " ",
    "'",
    '"',
    "\\",
    "cat <<'EOF'",
    "EOF",
    "<<-END",
    "submit",
    "str_replace_editor ",
    "{",
    '{"name": "bash"}',
    "[1, 2]",
    "--path",
    "\u2028",
    "\x00",
    "é",
    "\ud800",
]
values = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=8).map("".join)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    tool = draw(st.sampled_from(sorted(TOOLS)))
    optional = (
        draw(st.lists(st.sampled_from(TOOLS[tool].optional), unique=True))
        if TOOLS[tool].optional
        else []
    )
    arguments = {name: draw(values) for name in (*TOOLS[tool].required, *optional)}
    if "view_range" in arguments:
        arguments["view_range"] = json.dumps(
            draw(st.lists(st.integers(-1, 10**6), min_size=2, max_size=2))
        )
    return tool, arguments


def expressible(name: str, tool: str, arguments: dict[str, str]) -> Command | None:
    try:
        return GRAMMARS[name].command(tool, **arguments)
    except CommandError as error:
        assert error.reason == (
            "unknown tool" if tool not in GRAMMARS[name].tools else "not expressible"
        )
        return None


@pytest.mark.parametrize("name", GRAMMARS)
@given(
    call=calls(),
    before=st.sampled_from(["", "I look.\n", "Why? Because `x`.\r\n\r\n"]),
    after=st.sampled_from(["", "\n", "\nThen more.", "\r\n"]),
)
def test_a_command_comes_back_from_its_text_and_the_text_from_the_command(
    name: str, call: tuple[str, dict[str, str]], before: str, after: str
) -> None:
    command = expressible(name, *call)
    if command is None:
        return
    assert (command.tool, dict(command.arguments)) == call
    grammar = GRAMMARS[name]
    assert grammar.parse(command.text) == command
    assert list(grammar.parse(command.text).arguments.items()) == list(call[1].items())
    assert grammar.render(grammar.parse(command.text)) == command.text
    thought, again = grammar.split(before + command.text + after)
    assert again == command
    assert thought == before.strip()


@given(call=calls())
def test_json_can_write_every_command(call: tuple[str, dict[str, str]]) -> None:
    assert expressible("tool", *call) is not None


@given(command=values)
def test_a_fence_can_hold_every_shell_command(command: str) -> None:
    assert expressible("bash", "bash", {"command": command}) is not None


@given(value=values)
def test_xml_refuses_only_a_value_that_holds_the_end_of_a_value(value: str) -> None:
    ends = srl_envs.commands.xml._VALUE_END.search(value) is not None
    assert (expressible("xml", "bash", {"command": value}) is None) == ends


@pytest.mark.parametrize("name", GRAMMARS)
@given(text=values)
def test_any_text_gives_a_command_that_can_be_read_again_or_a_named_error(
    name: str, text: str
) -> None:
    try:
        command = GRAMMARS[name].parse(text)
    except CommandError as error:
        assert error.reason
        assert str(error)
    else:
        assert GRAMMARS[name].parse(command.text) == command


def test_a_command_goes_from_one_grammar_to_another() -> None:
    command = GRAMMARS["ticks"].parse(
        "```\nstr_replace_editor str_replace /a/b.py --old_str 'x = 1' --new_str ''\n```"
    )
    texts = {name: GRAMMARS[name].render(command) for name in ("xml", "tool", "ticks")}
    assert texts["xml"] == (
        "<function=str_replace_editor>\n<parameter=command>str_replace</parameter>\n<parameter=path>/a/b.py</parameter>\n"
        "<parameter=old_str>\nx = 1\n</parameter>\n<parameter=new_str>\n\n</parameter>\n</function>"
    )
    assert json.loads(texts["tool"]) == {
        "name": "str_replace_editor",
        "arguments": dict(command.arguments),
    }
    assert {
        (c := GRAMMARS[name].parse(text)).tool: dict(c.arguments) for name, text in texts.items()
    } == {command.tool: dict(command.arguments)}
    for name in ("bash", "bash_tool"):
        with pytest.raises(CommandError, match="no tool 'str_replace_editor'"):
            GRAMMARS[name].render(command)


@pytest.mark.parametrize(
    ("text", "submits"),
    [
        ("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git add -A && git diff --cached", True),
        ("echo MINI_SWE_AGENT_FINAL_OUTPUT", True),
        ("cd /testbed && echo 'COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT'; git diff", True),
        ("\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n", True),
        ("ls && echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", False),
        ("grep COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT x", False),
        ("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUTS", False),
        ("", False),
    ],
)
def test_the_end_of_the_work_is_told_from_the_command(text: str, submits: bool) -> None:
    for grammar in GRAMMARS.values():
        assert grammar.command("bash", command=text).submits is submits
    assert GRAMMARS["xml"].command("submit").submits


def test_scored_text() -> None:
    text = GRAMMARS["xml"].command("bash", command="ls -l").text
    assert scored_text(f"Prose.\n\n{text}\nMore.", "xml") == text
    assert scored_text(f"Prose.\n\n{text}", "xml", "arguments") == "bash\nls -l"
    assert scored_text("just prose", "xml", "arguments") == "just prose"
    with pytest.raises(
        ConfigError,
        match="grammar is 'yaml': use one of 'xml', 'tool', 'ticks', 'bash', 'mswea_bash', "
        "'bash_tool', 'r2e', 'swe_agent_0'",
    ):
        scored_text("x", "yaml")


def test_openai_tool_calls() -> None:
    call = {
        "id": "1",
        "type": "function",
        "function": {
            "name": "str_replace_editor",
            "arguments": '{"command": "view", "path": "/a", "view_range": [1, 9]}',
        },
    }
    command = TOOL_CALLS["tool"].of_call(call)
    assert command.arguments == {"command": "view", "path": "/a", "view_range": "[1, 9]"}
    assert (
        command.text
        == '{"name": "str_replace_editor", "arguments": {"command": "view", "path": "/a", '
        '"view_range": [1, 9]}}'
    )
    for text in (json.dumps(call), f"<tool_call>\n{json.dumps(call['function'])}\n</tool_call>"):
        assert TOOL_CALLS["tool"].parse(f"Now view it.\n{text}") == command
    for wrong in (
        None,
        [],
        {"function": {"name": 5}},
        {"function": {"name": "bash", "arguments": "{"}},
        {"function": {"name": "bash", "arguments": "[]"}},
    ):
        with pytest.raises(CommandError) as caught:
            TOOL_CALLS["tool"].of_call(wrong)
        assert caught.value.reason == "malformed"


def test_the_example_of_the_docstring() -> None:
    assert doctest.testmod(srl_envs.commands).attempted == 1
    assert doctest.testmod(srl_envs.commands).failed == 0
