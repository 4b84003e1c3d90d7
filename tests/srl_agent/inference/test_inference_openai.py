"""What can go wrong between us and a server really goes wrong here, on the loopback interface."""

from __future__ import annotations

import email.utils
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from srl_agent.inference.generator import Completion, GenerationSettings, Request, request_seed
from srl_agent.inference.openai_generator import OpenAIGenerator
from srl_envs.errors import ConfigError, InfrastructureError
from srl_envs.prompts.step import Message
from srl_envs.response import ResponseFormat

SETTINGS = GenerationSettings(max_new_tokens=9, temperature=0.5, top_p=0.9, stop=("END",), seed=3)
Behaviour = Callable[["Handler", dict[str, Any]], None]


class Server(ThreadingHTTPServer):
    """Echoes the last message; ``behaviours`` are used up first, one a request.

    Attributes:
        asked: The JSON of every request, in the order of their arrival.
        headers: Of every request, by their names in lower case.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.behaviours: list[Behaviour] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        self.under_way = self.most_under_way = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is expected here."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    under_way = False

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(asked)
            self.server.headers.append(
                {name.lower(): value for name, value in self.headers.items()}
            )
            self.under_way = True
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
            behaviour = self.server.behaviours.pop(0) if self.server.behaviours else echo
        try:
            behaviour(self, asked)
        finally:
            self.finished()

    def finished(self) -> None:
        """Count the request no longer: called before the client can know of its end."""
        with self.server.lock:
            self.server.under_way -= self.under_way
            self.under_way = False

    def send(self, status: int, body: Any, **headers: str) -> None:
        self.finished()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


def answer(text: str | None, finish: str | None = "stop", tokens: int = 4) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"completion_tokens": tokens},
    }


def echo(handler: Handler, asked: dict[str, Any]) -> None:
    handler.send(200, answer(asked["messages"][-1]["content"]))


def says(status: int, body: Any, **headers: str) -> Behaviour:
    return lambda handler, asked: handler.send(status, body, **headers)


def hangs_up(handler: Handler, asked: dict[str, Any]) -> None:
    handler.finished()
    handler.connection.shutdown(socket.SHUT_RDWR)


def breaks_off(handler: Handler, asked: dict[str, Any]) -> None:
    """Half of the promised body."""
    handler.finished()
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def waits(handler: Handler, asked: dict[str, Any]) -> None:
    handler.server.released.wait(30)


def trickles(handler: Handler, asked: dict[str, Any]) -> None:
    """The head at once, then nothing of the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.flush()
    handler.server.released.wait(30)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def generator(server: Server, **options: Any) -> OpenAIGenerator:
    return OpenAIGenerator(
        "served", server.url, **{"first_pause": 0.01, "timeout": 20.0, **options}
    )


def request(text: str, number: int = 0) -> Request:
    return Request(({"role": "system", "content": "S"}, {"role": "user", "content": text}), number)


def one(generator: OpenAIGenerator, text: str = "hello") -> Completion:
    ((_, completion),) = generator.generate([request(text)], SETTINGS)
    return completion


def test_every_setting_reaches_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " secret ")
    for elsewhere in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(elsewhere, "for another server")
    assert one(generator(server, api_key_variable="MY_KEY")) == Completion("hello", 4, "stop")
    assert server.asked == [
        {
            "model": "served",
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "hello"}],
            "max_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "seed": request_seed(request("hello"), 3),
            "stream": False,
        }
    ]
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert "for another server" not in str(server.headers)


def test_no_key_none_sent_and_no_empty_list_of_stop_strings(server: Server) -> None:
    list(generator(server).generate([request("hello")], GenerationSettings()))
    assert "authorization" not in server.headers[0]
    assert "stop" not in server.asked[0]


def test_system_message_in_front_of_the_first_user_message(server: Server) -> None:
    assert one(generator(server, system_role="user")).text == "S\n\nhello"
    assert [message["role"] for message in server.asked[0]["messages"]] == ["user"]


@pytest.mark.parametrize("address", ["/v1/", "/v1/chat/completions", "/v1/chat/completions/"])
def test_spellings_of_the_address(server: Server, address: str) -> None:
    asked = OpenAIGenerator("served", server.url.removesuffix("/v1") + address, retries=0)
    assert one(asked).text == "hello"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer("all", "stop"), Completion("all", 4, "stop")),
        (answer("cut", "length"), Completion("cut", 4, "length")),
        (answer("cut END here", "length"), Completion("cut ", 4, "stop")),
        (answer(None, "length", 0), Completion("", 0, "length")),
        (answer("refused", "content_filter"), Completion("refused", 4, "stop")),
        (answer("größer 火 🚂\u2028\x00", "stop"), Completion("größer 火 🚂\u2028\x00", 4, "stop")),
    ],
)
def test_answers(server: Server, given: dict[str, Any], expected: Completion) -> None:
    server.behaviours = [says(200, given)]
    assert one(generator(server, retries=0)) == expected


def message(finish: str = "stop", **fields: Any) -> dict[str, Any]:
    given = answer(None, finish)
    given["choices"][0]["message"] = {"role": "assistant", **fields}
    return given


WHOLE = "<think>So\n</think>\n\nx = 2"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (message(content=WHOLE), WHOLE),
        (message(content=WHOLE, reasoning=None, reasoning_content=None), WHOLE),
        (message(content=WHOLE, reasoning=""), WHOLE),
        (message(content="So\n</think>\n\nx = 2"), WHOLE),  # the server's template opened it
        (message(content="\n\nx = 2", reasoning="So\n"), WHOLE),
        (message(content="\n\nx = 2", reasoning_content="So\n"), WHOLE),
        (message(content="\n\nx = 2", reasoning="So\n", reasoning_content="So\n"), WHOLE),
        (message(content="x = 2", reasoning=""), "<think></think>x = 2"),
        (message(content="x = 2", reasoning=None), "x = 2"),
        (message("length", content=None, reasoning="So"), "<think>So"),
        (message("length", reasoning_content="So"), "<think>So"),
        (message(content="", reasoning="So"), "<think>So"),
        (message(content=None, reasoning=""), ""),
        (message(content="x </think> y", reasoning="So"), "<think>So</think>x </think> y"),
        (message(content="x END y", reasoning="So"), "<think>So</think>x "),
        (message(content="", reasoning="So END y"), "<think>So "),
    ],
)
def test_a_thought_that_the_server_took_apart_is_put_back(
    server: Server, given: dict[str, Any], text: str
) -> None:
    server.behaviours = [says(200, given)]
    assert one(generator(server, retries=0)).text == text


@pytest.mark.parametrize(
    "says_so", ["System role not supported", "Conversation roles must alternate user/assistant/"]
)
def test_a_server_without_a_system_role_is_named_with_the_cure(
    server: Server, says_so: str
) -> None:
    asked: list[Message] = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q"},
    ]
    server.behaviours = [says(400, {"error": {"message": says_so}})] * 2
    with pytest.raises(ConfigError, match=rf"{says_so}.*give --system_role user"):
        list(generator(server).generate([Request(tuple(asked))], SETTINGS))
    with pytest.raises(ConfigError) as error:
        list(generator(server).generate([Request(tuple(asked[1:]))], SETTINGS))
    assert "--system_role" not in str(error.value)


def test_a_server_cannot_be_asked_to_open_the_block(server: Server) -> None:
    prefilled = Request(request("hello").messages, format=ResponseFormat(think_prefilled=True))
    with pytest.raises(ConfigError, match="a server writes its own prompts: leave it out"):
        list(generator(server).generate([prefilled], SETTINGS))
    assert server.asked == []


FAULTS = {
    "429": says(429, {"error": {"message": "slow down"}}),
    "500": says(500, b"oops"),
    "503 without a body": says(503, b""),
    "408": says(408, {"detail": "late"}),
    "hangs up": hangs_up,
    "breaks off": breaks_off,
    "no JSON": says(200, b"<html>starting up</html>"),
    "not UTF-8": says(200, b"\xff\xfe\x00"),
    "JSON of another kind": says(200, ["choices"]),
    "no choices": says(200, {"choices": []}),
    "an error with 200": says(200, {"error": {"message": "upstream"}}),
    "content of another type": says(200, answer(["text"])),  # type: ignore[arg-type]
    "no content": says(200, message()),
    "a thought of another type": says(200, message(content="x", reasoning=["text"])),
    "aborted": says(200, answer("half of", "abort")),
    "no reason": says(200, answer("half of", None)),
    "no count": says(200, {"choices": answer("x")["choices"]}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_passing_fault_is_mended_by_asking_again(server: Server, fault: Behaviour) -> None:
    server.behaviours = [fault, fault]
    assert one(generator(server, retries=2)) == Completion("hello", 4, "stop")
    assert len(server.asked) == 3
    assert server.asked[0] == server.asked[2]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_lasting_fault_becomes_one_clear_error(server: Server, fault: Behaviour) -> None:
    server.behaviours = [fault] * 3
    with pytest.raises(
        InfrastructureError,
        match=r"v1/chat/completions: no usable response after 2 attempts; the last one: .{5,}",
    ):
        one(generator(server, retries=1))
    assert len(server.asked) == 2


def test_the_error_repeats_what_the_server_says(server: Server) -> None:
    server.behaviours = [FAULTS["429"]]
    with pytest.raises(
        InfrastructureError,
        match=r"after 1 attempt; the last one: HTTP 429 Too Many Requests: slow down",
    ):
        one(generator(server, retries=0))


def test_a_silent_server_is_given_up_and_asked_again(server: Server) -> None:
    for fault in (waits, trickles):
        server.behaviours = [fault]
        assert one(generator(server, timeout=0.3, retries=1)).text == "hello"
        server.behaviours = [fault]
        with pytest.raises(InfrastructureError, match=r"no answer within 0\.3 s"):
            one(generator(server, timeout=0.3, retries=0))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InfrastructureError, match="ConnectionRefusedError"):
        one(OpenAIGenerator("served", f"http://127.0.0.1:{port}/v1", retries=1, first_pause=0.01))


def test_pauses_grow(server: Server) -> None:
    server.behaviours = [FAULTS["500"]] * 4
    start = time.monotonic()
    one(generator(server, first_pause=0.1, retries=4))
    assert time.monotonic() - start >= (0.1 + 0.2 + 0.4 + 0.8) / 2


@pytest.mark.parametrize("header", ["1.2", "date"])
def test_the_server_says_when_to_come_again(server: Server, header: str) -> None:
    after = email.utils.formatdate(time.time() + 3, usegmt=True) if header == "date" else header
    server.behaviours = [says(429, b"", Retry_After=after)]
    start = time.monotonic()
    one(generator(server, retries=1))
    assert time.monotonic() - start >= 1.2


def test_a_server_that_asks_to_come_again_tomorrow(server: Server) -> None:
    server.behaviours = [says(429, {"message": "quota"}, Retry_After="86400")]
    with pytest.raises(
        InfrastructureError, match=r"HTTP 429 Too Many Requests: quota\. It asks to wait \d+ s\."
    ):
        one(generator(server))


@pytest.mark.parametrize("header", ["soon", "-5", "nan", ""])
def test_a_useless_retry_after_is_ignored(server: Server, header: str) -> None:
    server.behaviours = [says(503, b"", Retry_After=header)]
    assert one(generator(server)).text == "hello"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            {"error": {"message": "top_p is 3"}},
            "refuses the request (HTTP 400 Bad Request: top_p is 3)",
        ),
        (422, {"detail": [{"msg": "top_p"}]}, "top_p"),
        (
            401,
            {"error": "bad key"},
            "refuses the API key in $OPENAI_API_KEY, "
            "which is not set (HTTP 401 Unauthorized: bad key)",
        ),
        (403, b"", "refuses the API key"),
        (404, {"object": "error", "message": "no model served"}, "no model served"),
        (404, b"<h1>not here</h1>", "Does base_url end in /v1"),
    ],
)
def test_a_refused_request_is_not_sent_again(
    server: Server, status: int, body: Any, message: str
) -> None:
    server.behaviours = [says(status, body)]
    with pytest.raises(ConfigError, match=re.escape(message)):
        one(generator(server))
    assert len(server.asked) == 1


CONTEXT_FULL = [
    {
        "error": {
            "message": (
                "This model's maximum context length is 10 tokens. However, you requested 14 tokens"
            ),
            "code": "context_length_exceeded",
        }
    },
    {
        "object": "error",
        "message": "The input (14 tokens) is longer than the model's context length (10 tokens).",
    },
    {
        "error": {
            "code": 400,
            "message": "the request exceeds the available context size, try increasing it",
            "type": "exceed_context_size_error",
        }
    },
]
"""How servers refuse what does not fit."""


@pytest.mark.parametrize("body", CONTEXT_FULL)
def test_what_does_not_fit_the_context_is_asked_for_without_a_limit_once(
    server: Server, body: Any
) -> None:
    """Many servers refuse a prompt that fits when the answer's limit does not fit behind it; the
    context is then the limit.
    """
    server.behaviours = [says(400, body)]
    assert one(generator(server)).text == "hello"
    server.behaviours = [says(400, body), says(400, body)]
    assert one(generator(server)) == Completion("", 0, "context")
    assert ["max_tokens" in asked for asked in server.asked] == [True, False, True, False]


def test_a_redirect_is_told_not_followed(server: Server) -> None:
    server.behaviours = [says(302, b"", Location="https://elsewhere.example/v1/chat/completions")]
    with pytest.raises(ConfigError, match=r"set base_url to 'https://elsewhere\.example/v1'"):
        one(generator(server))
    assert len(server.asked) == 1


def test_the_key_is_in_no_message(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.behaviours = [says(401, b""), says(500, b"")]
    for kind in (ConfigError, InfrastructureError):
        with pytest.raises(kind) as caught:
            one(generator(server, retries=0))
        assert "sk-secret" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\u20ac")
    with pytest.raises(ConfigError, match="characters") as caught:
        generator(server)
    assert "sk-secret" not in str(caught.value)


def test_many_at_once_keep_their_indices_under_faults(server: Server) -> None:
    def with_another(handler: Handler, asked: dict[str, Any]) -> None:
        while len(handler.server.asked) < 2:
            time.sleep(0.005)
        echo(handler, asked)

    server.behaviours = [with_another] + [
        FAULTS[name] for name in ("429", "hangs up", "no JSON", "500", "breaks off", "aborted")
    ] * 5
    requests = [request(f"question {number}") for number in range(60)]
    given = dict(generator(server, concurrency=8, retries=30).generate(requests, SETTINGS))
    assert {index: completion.text for index, completion in given.items()} == {
        number: f"question {number}" for number in range(60)
    }
    assert 2 <= server.most_under_way <= 8
    assert Counter(asked["messages"][-1]["content"] for asked in server.asked).total() == 90


def test_each_is_given_when_it_is_finished(server: Server) -> None:
    """The first request is held back until all others were received."""
    server.behaviours = [lambda handler, asked: (waits(handler, asked), echo(handler, asked))[0]]
    running = generator(server, concurrency=2).generate(
        [request(f"{number}") for number in range(6)], SETTINGS
    )
    indices = [next(running)[0] for _ in range(5)]
    server.released.set()
    indices += [index for index, _ in running]
    assert sorted(indices) == list(range(6))
    assert int(server.asked[0]["messages"][-1]["content"]) == indices[-1]


def test_what_is_under_way_is_given_before_the_error(server: Server) -> None:
    """One request is refused while another is being written: that one still arrives, later ones
    are not sent.
    """

    def refuses(handler: Handler, asked: dict[str, Any]) -> None:
        while len(handler.server.asked) < 2:
            time.sleep(0.005)
        handler.send(400, {"error": "too long"})

    def is_slow(handler: Handler, asked: dict[str, Any]) -> None:
        time.sleep(0.4)
        echo(handler, asked)

    server.behaviours = [refuses, is_slow]
    running = generator(server, concurrency=2).generate(
        [request(f"{number}") for number in range(20)], SETTINGS
    )
    given = []
    with pytest.raises(ConfigError, match="too long"):
        for _, completion in running:
            given.append(completion.text)
    slow = server.asked[1]["messages"][-1]["content"]
    assert slow in given
    assert len(server.asked) == len(given) + 1 < 20


def test_an_abandoned_iterator_breaks_off_what_is_under_way(server: Server) -> None:
    before = set(threading.enumerate())
    server.behaviours = [echo, waits, trickles, waits, waits]
    running = generator(server, concurrency=4).generate(
        [request(f"{number}") for number in range(50)], SETTINGS
    )
    next(running)
    while len(server.asked) < 5:
        time.sleep(0.005)
    start = time.monotonic()
    running.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5, "the server would have kept silent for 30 s"
    ours = [
        thread
        for thread in set(threading.enumerate()) - before
        if "process_request" not in thread.name  # the server's own
    ]
    assert not ours
    assert len(server.asked) == 5


def test_an_abandoned_iterator_does_not_wait_for_a_pause(server: Server) -> None:
    server.behaviours = [echo] + [FAULTS["500"]] * 50
    running = generator(server, concurrency=2, first_pause=60.0).generate(
        [request(f"{number}") for number in range(9)], SETTINGS
    )
    next(running)
    while len(server.asked) < 3:
        time.sleep(0.005)
    start = time.monotonic()
    del running
    assert time.monotonic() - start < 5


@pytest.fixture
def secure_url(server: Server, tmp_path: Path) -> str:
    """The server with TLS, under a certificate that it signed itself: ``tmp_path / "cert.pem"``."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return f"https://localhost:{server.server_address[1]}/v1"


def test_tls_and_breaking_it_off(
    server: Server, secure_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    asked = OpenAIGenerator("served", secure_url, concurrency=3, retries=0)
    assert one(asked).text == "hello"
    server.behaviours = [echo, waits, trickles, waits]
    running = asked.generate([request(f"{number}") for number in range(9)], SETTINGS)
    next(running)
    while len(server.asked) < 5:
        time.sleep(0.005)
    start = time.monotonic()
    running.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5


def test_a_certificate_that_nobody_signed(secure_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ConfigError, match=r"not trusted here .*SSL_CERT_FILE"):
        one(OpenAIGenerator("served", secure_url))


def test_proxies_of_the_environment_are_for_other_machines(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert one(generator(server, retries=0)).text == "hello"
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    remote = OpenAIGenerator("served", "http://model.example/v1", retries=0)
    assert one(remote).text == "hello"
    assert server.headers[-1]["host"] == "model.example"
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"model\.example/v1/chat/completions .* the proxy"):
        one(remote)


def test_half_a_character_is_refused(server: Server) -> None:
    with pytest.raises(ConfigError, match="not valid Unicode"):
        one(generator(server), "\ud83d")


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http:///v1", "", "http://user:key@host/v1"]
)
def test_what_is_not_an_address(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address of a server"):
        OpenAIGenerator("served", url)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"timeout": 0.0}, {"retries": -1}])
def test_numbers_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        OpenAIGenerator("served", "http://localhost/v1", **options)
