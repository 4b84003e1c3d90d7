"""What each grammar makes of the spellings that models and published trajectories really use, and
of the ambiguous ones.
"""

from __future__ import annotations

import json

import pytest

from srl_envs.commands import GRAMMARS, CommandError

FENCED_README = "cat > README.md <<'EOF'\nRun:\n```\nmake\n```\nor\n```python\nmain()\n```\nEOF"


def reason(grammar: str, text: str) -> str:
    with pytest.raises(CommandError) as caught:
        GRAMMARS[grammar].parse(text)
    return caught.value.reason


def shell(grammar: str, text: str) -> str:
    command = GRAMMARS[grammar].parse(text)
    assert command.tool == "bash"
    return command.arguments["command"]


XML = "<function=bash>\n<parameter=command>{}</parameter>\n</function>"


@pytest.mark.parametrize(
    ("value", "command"),
    [
        ("ls", "ls"),
        ("", ""),
        ("\nls\n", "ls"),
        ("\n\nls\n\n", "\nls\n"),
        ("\r\nls\r\n", "ls"),
        ("a\r\nb", "a\r\nb"),
        ("  ls ", "  ls "),
        ("echo '</parameter>' '</function>'", "echo '</parameter>' '</function>'"),
        ("echo '</parameter>\n<parameter>'", "echo '</parameter>\n<parameter>'"),
    ],
)
def test_xml_values(value: str, command: str) -> None:
    assert shell("xml", "Prose.\n\n" + XML.format(value)) == command


def test_xml_spellings_of_one_call_have_one_text() -> None:
    spellings = (
        "<function=bash><parameter=command>ls</parameter></function>",
        "<function=bash>\n  <parameter=command>\nls\n</parameter>\n\n</function> trailing",
        "<function=bash>\r\n<parameter=command>\r\nls\r\n</parameter>\r\n</function>\r\n",
        XML.format("ls"),
    )
    assert {GRAMMARS["xml"].parse(text).text for text in spellings} == {XML.format("ls")}


def test_the_first_complete_xml_call_counts() -> None:
    text = (
        "I call <function=bash> now.\n"
        + XML.format("first")
        + "\nand then\n"
        + XML.format("second")
    )
    thought, command = GRAMMARS["xml"].split(text)
    assert command.arguments["command"] == "first"
    assert thought == "I call <function=bash> now."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I would run ls.", "no command"),
        ("<function=bash>\n<parameter=command>ls</parameter>", "unclosed"),
        ("<function=bash>\n<parameter=command>ls\n</function>", "unclosed"),
        ("<function=bash>\nls\n</function>", "malformed"),
        (
            XML.format("ls").replace(
                "</function>", "<parameter=command>pwd</parameter>\n</function>"
            ),
            "malformed",
        ),
        (XML.format("ls").replace("=bash", "=python"), "unknown tool"),
        (XML.format("ls").replace("=command", "=cmd"), "unknown argument"),
        ("<function=submit>\n<parameter=command>ls</parameter>\n</function>", "unknown argument"),
        ("<function=bash>\n</function>", "missing argument"),
    ],
)
def test_what_is_wrong_in_xml_has_a_name(text: str, expected: str) -> None:
    assert reason("xml", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ls", "no command"),
        ('{"name": "bash", "arguments": {"command": "ls"', "unclosed"),
        ('{"name": "bash", "arguments": ["ls"]}', "malformed"),
        ('{"name": "bash", "arguments": {"command": "ls"}}' * 2, "several commands"),
        ('{"name": "python", "arguments": {}}', "unknown tool"),
        ('{"name": "bash"}', "missing argument"),
        ('{"name": ' * 4_000, "unclosed"),
        ('{"name": "bash", "arguments": "' + '{\\"a\\": ' * 20_000 + '"}', "malformed"),
        ('{"name": "bash", "arguments": {"command": ' + "9" * 5000 + "}}", "unclosed"),
    ],
)
def test_what_is_wrong_in_a_tool_call_has_a_name(text: str, expected: str) -> None:
    assert reason("tool", text) == expected


@pytest.mark.parametrize("grammar", ["bash", "ticks"])
@pytest.mark.parametrize(
    "command", ["ls", "", "\nls\n", "a\r\nb", FENCED_README, "x=$((1<<3))\ncat <<< y", "cat <<EOF"]
)
def test_fenced_values(grammar: str, command: str) -> None:
    language = GRAMMARS[grammar].language  # type: ignore[attr-defined]
    assert shell(grammar, f"Prose.\n\n```{language}\n{command}\n```") == command
    assert shell(grammar, f"Prose.\n\n```{language}\n{command}\n```\n\nEOF\n") == command


def test_a_fence_in_a_command_makes_the_canonical_fence_longer() -> None:
    command = GRAMMARS["bash"].parse(f"```bash\n{FENCED_README}\n```")
    assert command.text == f"````bash\n{FENCED_README}\n````"


def test_without_a_heredoc_a_named_fence_nests_and_a_bare_one_closes() -> None:
    assert (
        shell("bash", "```bash\npython -c '''\n```python\n```\n'''\n```")
        == "python -c '''\n```python\n```\n'''"
    )
    assert shell("bash", "```bash\necho '\n```\n'\n```") == "echo '"


def test_a_heredoc_without_its_end_hides_no_fence() -> None:
    assert shell("bash", "```bash\ncat <<EOF > x\nhello\n```") == "cat <<EOF > x\nhello"


def test_crlf_around_a_fence_is_scaffold() -> None:
    assert shell("bash", "Prose.\r\n```bash\r\na\r\nb\r\n```\r\n") == "a\r\nb"


def test_bash_takes_one_block_and_ticks_the_last() -> None:
    text = "See\n```python\nx\n```\n```{0}\nfirst\n```\nthen\n```{0}\nsecond\n```"
    assert reason("bash", text.format("bash")) == "several commands"
    assert shell("ticks", text.format("")) == "second"
    assert shell("bash", text.format("bash").replace("```bash\nsecond\n```", "")) == "first"
    assert reason("bash", "```\nls\n```") == "no command"
    assert reason("bash", "```bash\nls") == "unclosed"
    assert reason("ticks", "ls") == "no command"


def test_ticks_know_the_other_tools() -> None:
    parse = GRAMMARS["ticks"].parse
    assert parse("Done.\n\n```\nsubmit\n```").tool == "submit"
    command = parse("```\nstr_replace_editor view /testbed/a.py   --view_range 1 -1\n```")
    assert command.arguments == {
        "command": "view",
        "path": "/testbed/a.py",
        "view_range": "[1, -1]",
    }
    assert command.text == "```\nstr_replace_editor view /testbed/a.py --view_range 1 -1\n```"
    command = parse(
        "```\nstr_replace_editor insert /a --new_str '\n  it'\"'\"'s\n' --insert_line 3\n```"
    )
    assert command.arguments == {
        "command": "insert",
        "path": "/a",
        "new_str": "\n  it's\n",
        "insert_line": "3",
    }
    assert reason("ticks", "```\nstr_replace_editor view 'x\n```") == "unclosed"
    assert reason("ticks", "```\nstr_replace_editor view /x | head\n```") == "malformed"
    assert reason("ticks", "```\nstr_replace_editor view /x --view_range 1 ';'\n```") == "malformed"
    assert reason("ticks", "```\nstr_replace_editor view\n```") == "missing argument"
    assert reason("ticks", "```\nstr_replace_editor view /x\\\n```") == "malformed"


@pytest.mark.parametrize(
    "quoted", ["'a\\\n```\nb\n```\n'", '"a \\" it\'s\n```\nb\n```python\n"', "'it'\"'\"'s\n```\n'"]
)
def test_a_fence_in_a_quoted_value_of_the_editor_is_text(quoted: str) -> None:
    thought, command = GRAMMARS["ticks"].split(
        f"See:\n```\nold\n```\n\n```\nstr_replace_editor create /r.md --file_text {quoted}\n```"
    )
    assert thought == "See:\n```\nold\n```"
    assert "```" in command.arguments["file_text"]
    assert command.text.startswith("````\nstr_replace_editor create /r.md --file_text ")
    assert GRAMMARS["ticks"].parse(command.text) == command


def test_hostile_texts_are_read_in_time_that_grows_with_their_length() -> None:
    # Each would take minutes if reading were quadratic in the wrong place.
    for text in (
        "<function=bash>" * 2000,
        "</parameter>" * 5000,
        "```bash\n" * 5000,
        "cat <<A <<B\n```\n" * 4000,
        "{" * 50_000,
        '{"name":' * 5000,
    ):
        for grammar in GRAMMARS.values():
            any_block = grammar.name in ("ticks", "swe_agent_0")
            with pytest.raises(CommandError):
                grammar.parse("" if any_block and "cat" in text else text)


@pytest.mark.parametrize(
    "text",
    [
        "<function=bash>\n" * 100_000,
        "<function=bash>\n<parameter=command>ls" * 20_000,
        "<function=bash>\n<parameter=command>ls</parameter>\n" * 20_000,
        "<function=bash>\n<parameter=command>" * 20_000
        + "".join(f"</parameter><parameter=a{number}>" for number in range(5_000)),
        "<function=bash><parameter=command>" * 20_000
        + "</parameter><parameter="
        + "a" * 100_000
        + ">",
        "<function=bash><parameter=command>" * 20_000
        + "x" * 100_000
        + "</parameter><parameter=command></parameter></function>",
    ],
    ids=[
        "starts",
        "parameters",
        "closed parameters",
        "shared parameters",
        "a long name",
        "a long value",
    ],
)
def test_thousands_of_xml_calls_that_are_none_are_read_in_linear_time(text: str) -> None:
    assert reason("xml", text) in (
        "unclosed",
        "malformed",
    )  # a second or less; minutes if each start searched the rest of the text


@pytest.mark.parametrize(
    "text",
    [
        '{"name":' * 100_000,
        '{"name":[' * 100_000,
        '{"name":' * 100_000 + "1" + "}" * 99_999,
        '{"id": "' + 'x{"name": "' * 100_000,
    ],
    ids=["starts", "lists", "closed but one", "strings"],
)
def test_thousands_of_tool_calls_that_are_none_are_given_up(text: str) -> None:
    assert (
        reason("tool", text) == "unclosed"
    )  # at once; minutes if each start were read to the end of the text


def test_a_tool_call_after_a_few_that_are_none_counts() -> None:
    call = '{"name": "bash", "arguments": {"command": "ls"}}'
    assert GRAMMARS["tool"].parse('Not {"name": ... or {"id": x but ' * 20 + call).text == call


def test_an_xml_call_has_no_more_parameters_than_any_tool_could_take() -> None:
    parameters = [f"<parameter=a{number}>x</parameter>" for number in range(21)]
    assert (
        reason("xml", f"<function=bash>{''.join(parameters[:20])}</function>") == "unknown argument"
    )
    assert reason("xml", f"<function=bash>{''.join(parameters)}</function>") == "malformed"


def test_shared_xml_commands_print_back_verbatim(shared_data: object) -> None:
    path = f"{shared_data}/swe_trajectories/swe_smith_xml_6.jsonl"
    count = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            for message in json.loads(json.loads(line)["messages"]):
                if message["role"] == "assistant":
                    assert GRAMMARS["xml"].parse(message["content"]).text in message["content"]
                    count += 1
    assert count == 153
