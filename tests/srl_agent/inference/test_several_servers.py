"""Several servers of one model: each gets its share, and a dead one's requests go to the others."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_inference_openai import (
    SETTINGS,
    Handler,
    Server,
    answer,
    echo,
    hangs_up,
    request,
    says,
)

from srl_agent.inference.backends import GeneratorConfig
from srl_agent.inference.openai_generator import OpenAIGenerator
from srl_envs.errors import ConfigError, InfrastructureError

WARNINGS = "srl_agent.inference.servers"


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    with Server() as one, Server() as two:
        threads = [
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02})
            for each in (one, two)
        ]
        for thread in threads:
            thread.start()
        yield [one, two]
        for each, thread in zip((one, two), threads, strict=True):
            each.released.set()
            each.shutdown()
            thread.join()


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def generator(*urls: str, concurrency: int = 4, retries: int = 1) -> OpenAIGenerator:
    return OpenAIGenerator(
        "served",
        ", ".join(urls),
        concurrency=concurrency,
        retries=retries,
        first_pause=0.01,
        timeout=20.0,
    )


def answered(generator: OpenAIGenerator, count: int) -> None:
    """Ask, and check that each answer belongs to its question."""
    requests = [request(f"question {number}") for number in range(count)]
    given = list(generator.generate(requests, SETTINGS))
    assert sorted((index, completion.text) for index, completion in given) == [
        (number, f"question {number}") for number in range(count)
    ]


def slow_echo(handler: Handler, asked: dict[str, object]) -> None:
    time.sleep(0.05)
    echo(handler, asked)


def test_each_server_gets_its_share(servers: list[Server]) -> None:
    for server in servers:
        server.behaviours = [slow_echo] * 40
    answered(generator(*(server.url for server in servers)), 40)
    counts = [len(server.asked) for server in servers]
    assert sum(counts) == 40 and min(counts) >= 12
    assert all(2 <= server.most_under_way <= 4 for server in servers)


def test_a_slow_server_gets_less(servers: list[Server]) -> None:
    def slower(handler: Handler, asked: dict[str, object]) -> None:
        while len(servers[1].asked) < 30:
            time.sleep(0.005)
        echo(handler, asked)

    servers[0].behaviours = [slower] * 40
    answered(generator(*(server.url for server in servers)), 40)
    assert len(servers[0].asked) < 12


def test_threads_with_one_request_each_use_all_servers(servers: list[Server]) -> None:
    """So does the evaluation of SWE-bench, an instance a thread."""
    for server in servers:
        server.behaviours = [slow_echo] * 24
    asked = generator(*(server.url for server in servers))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: answered(asked, 1), range(24)))
    assert min(len(server.asked) for server in servers) >= 6


def test_the_requests_of_a_dead_server_go_to_the_others_and_one_line_says_so(
    servers: list[Server], nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, WARNINGS):
        answered(generator(nobody, *(server.url for server in servers)), 40)
    (line,) = caplog.messages
    assert line.startswith(f"{nobody}/chat/completions: no usable response after ")
    assert line.endswith(
        "Its requests go to the other servers (2 of 3 answer). It is tried again every 60 s."
    )


def test_a_server_that_dies_in_the_middle(servers: list[Server]) -> None:
    one, two = servers
    one.behaviours = [slow_echo] * 4 + [hangs_up] * 40
    answered(generator(one.url, two.url), 40)
    assert 4 < len(one.asked) <= 4 + 8, "after that it is left alone"


def test_a_server_that_is_well_again_is_asked_again(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("srl_agent.inference.servers.REST_SECONDS", 0.2)
    one, two = servers
    one.behaviours = [says(503, b"")] * 5
    two.behaviours = [slow_echo] * 200
    with caplog.at_level(logging.WARNING, WARNINGS):
        answered(generator(one.url, two.url, concurrency=2, retries=0), 80)
    assert len(one.asked) > 20
    assert caplog.messages[-1] == f"{one.url}/chat/completions answers again."


def test_no_server_answers(servers: list[Server], nobody: str) -> None:
    one, two = servers
    for server in servers:
        server.behaviours = [says(500, b"broken")] * 99
    asked = generator(one.url, two.url, nobody)
    for _ in range(2):  # the second time all of them rest, and are asked all the same
        with pytest.raises(InfrastructureError, match="None of the 3 servers answers") as caught:
            answered(asked, 20)
        assert all(url in str(caught.value) for url in (one.url, two.url, nobody))
    one.behaviours = []
    answered(asked, 20)


def test_a_refusal_ends_the_run_whoever_else_would_answer(servers: list[Server]) -> None:
    servers[0].behaviours = [says(404, {"message": "no such model"})] * 9
    with pytest.raises(ConfigError, match=f"{servers[0].url}.*no such model"):
        answered(generator(*(server.url for server in servers)), 20)


def test_every_server_gets_the_key(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    for server in servers:
        server.behaviours = [slow_echo] * 9
    answered(generator(*(server.url for server in servers)), 8)
    for server in servers:
        assert {headers["authorization"] for headers in server.headers} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("http://a/v1,", "an address between its commas is empty"),
        ("http://a/v1, ,http://b/v1", "an address between its commas is empty"),
        ("http://a/v1,http://a/v1/", "names http://a/v1 twice"),
        ("http://a/v1,http://a/v1/chat/completions", "names http://a/v1 twice"),
        ("http://a/v1 http://b/v1", "not the address of a server"),
        ("http://a/v1;http://b/v1", "not the address of a server"),
        ("http://a/v1,b:8000/v1", "'b:8000/v1' is not the address of a server"),
    ],
)
def test_addresses_that_are_wrong(base_url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIGenerator("served", base_url)
    with pytest.raises(ConfigError, match=message):
        GeneratorConfig(model="served", base_url=base_url)


def test_an_answer_that_one_server_breaks_off_is_asked_for_again(servers: list[Server]) -> None:
    servers[0].behaviours = [says(200, answer("half of", "abort"))]
    answered(generator(*(server.url for server in servers)), 10)
