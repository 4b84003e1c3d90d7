"""Settings of generation and of the backends, seeds of requests, stop strings, and conversations
without a system role.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.command_line import ConfigParser
from srl_agent.inference.backends import GeneratorConfig, open_generator
from srl_agent.inference.chat import ChatEncoder, without_system_role
from srl_agent.inference.generator import (
    GenerationSettings,
    Generator,
    Request,
    before_stop,
    request_seed,
)
from srl_agent.inference.openai_generator import OpenAIGenerator
from srl_envs.errors import ConfigError, MissingDependencyError
from srl_envs.prompts.step import Message

MESSAGE = st.builds(
    lambda role, content: Message(role=role, content=content),
    st.sampled_from(["user", "assistant"]),
    st.text(max_size=9),
)
MESSAGES = st.lists(MESSAGE, max_size=5)
SYSTEM = st.one_of(st.none(), st.text(max_size=9))


def conversation(system: str | None, messages: list[Message]) -> list[Message]:
    return ([Message(role="system", content=system)] if system is not None else []) + messages


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"stop": ("a", "")},
        {"stop": "text"},
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} is "):
        GenerationSettings(**wrong)


@given(SYSTEM, MESSAGES, st.integers(0, 99), st.integers())
def test_a_seed_is_a_number_that_every_server_takes(
    system: str | None, messages: list[Message], number: int, seed: int
) -> None:
    request = Request(tuple(conversation(system, messages)), number)
    drawn = request_seed(request, seed)
    assert 0 <= drawn < 2**31
    assert drawn == request_seed(
        Request(tuple(Message(**message) for message in request.messages), number), seed
    )


def test_seeds_of_different_requests_are_different() -> None:
    texts = ["a", "b", "ab", "größer", "\ud800"]
    requests = [
        Request((Message(role="user", content=text),), number)
        for text in texts
        for number in range(20)
    ]
    requests += [
        Request((Message(role="user", content="a"), Message(role="user", content="b"))),
        Request((Message(role="system", content="a"),)),
    ]
    assert (
        len({request_seed(request, seed) for request in requests for seed in range(5)})
        == len(requests) * 5
    )


@given(
    st.text(alphabet="abc", max_size=12),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=3), max_size=3),
)
def test_the_text_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    before = before_stop(text, stop)
    if before is None:
        assert not any(string in text for string in stop)
    else:
        assert text.startswith(before)
        assert any(text.startswith(string, len(before)) for string in stop)
        assert not any(string in text[: len(before) + len(string) - 1] for string in stop)


@given(SYSTEM, MESSAGES)
def test_without_a_system_role_nothing_is_lost(system: str | None, messages: list[Message]) -> None:
    merged = without_system_role(conversation(system, messages))
    assert all(message["role"] != "system" for message in merged)
    if not system:
        assert merged == messages
    elif not any(message["role"] == "user" for message in messages):
        assert merged == [{"role": "user", "content": system}, *messages]
    else:
        changed = [place for place, message in enumerate(messages) if merged[place] != message]
        assert changed == [[message["role"] for message in messages].index("user")]
        assert merged[changed[0]]["content"] == f"{system}\n\n{messages[changed[0]]['content']}"


PLAIN = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if "
    "add_generation_prompt %}[assistant]{% endif %}"
)
TEMPLATES = {
    "with": PLAIN,
    "raises": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    )
    + PLAIN,
    "drops": PLAIN.replace(
        "%}[{{ m.role }}]{{ m.content }}",
        "%}{% if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endif %}",
    ),
}


@pytest.mark.parametrize(
    ("template", "system_role", "expected"),
    [
        ("with", "auto", "[system]S[user]Q[assistant]"),
        ("with", "user", "[user]S\n\nQ[assistant]"),
        ("raises", "auto", "[user]S\n\nQ[assistant]"),
        ("drops", "auto", "[user]S\n\nQ[assistant]"),
    ],
)
def test_system_messages_and_templates(
    tiny_tokenizer: Any, template: str, system_role: Any, expected: str
) -> None:
    tiny_tokenizer.chat_template = TEMPLATES[template]
    encode = ChatEncoder(tiny_tokenizer, system_role)
    question = [Message(role="user", content="Q")]
    assert tiny_tokenizer.decode(encode(conversation("S", question)).ids) == expected
    assert tiny_tokenizer.decode(encode(question).ids) == "[user]Q[assistant]"


def test_a_conversation_that_the_template_refuses(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.chat_template = (
        "{% if messages|length > 1 %}{{ raise_exception('one message only') }}{% endif %}" + PLAIN
    )
    encode = ChatEncoder(tiny_tokenizer)
    with pytest.raises(
        ConfigError, match="refuses a conversation of user, assistant: one message only"
    ):
        encode([Message(role="user", content="Q"), Message(role="assistant", content="A")])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backend": "onnx"}, "use one of auto, transformers, vllm, openai"),
        ({"system_role": "none"}, "use one of auto, user"),
        ({"dtype": "int8"}, "use one of auto, bfloat16, float32"),
        ({"backend": "openai"}, "say where with base_url"),
        ({"backend": "vllm", "base_url": "http://localhost/v1"}, "only openai asks a server"),
    ],
)
def test_backend_settings_that_do_not_fit(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GeneratorConfig(**wrong)


def test_flags_set_the_settings_and_all_have_a_help_text() -> None:
    parser = ConfigParser([GeneratorConfig])
    (config,) = parser.parse_args_into_dataclasses(
        [
            "--model",
            "m",
            "--base_url",
            "http://localhost:8000/v1",
            "--concurrency",
            "7",
            "--system_role",
            "user",
        ]
    )
    assert config == GeneratorConfig(
        model="m", base_url="http://localhost:8000/v1", concurrency=7, system_role="user"
    )
    assert all(action.help for action in parser._actions)


def test_a_base_url_opens_a_server() -> None:
    generator = open_generator(GeneratorConfig(model="m", base_url="http://localhost:8000/v1"))
    assert isinstance(generator, OpenAIGenerator)
    assert isinstance(generator, Generator)
    assert generator.name == "m"


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_missing_names_the_extra() -> None:
    with pytest.raises(MissingDependencyError, match=r'pip install -e "\.\[vllm\]" \(in the'):
        open_generator(GeneratorConfig(backend="vllm"))


def test_a_server_needs_no_torch() -> None:
    """The OpenAI backend runs where the train extra is not installed; in a process of its own, in
    which nothing is imported yet.
    """
    code = (
        "import sys\nsys.modules.update(dict.fromkeys(['torch', 'transformers', "
        "'jinja2', 'vllm']))\n"  # None makes an import fail
        "from srl_agent.inference.backends import GeneratorConfig, open_generator\n"
        "print(open_generator(GeneratorConfig(model='m', "
        "base_url='http://localhost:8000/v1')).name)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "m\n"
    )
