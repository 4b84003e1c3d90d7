"""A small OpenAI-compatible server on the loopback interface that answers as a script says: well,
badly, late, twice, in other formats, or not at all.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with a request.

    Attributes:
        text: The content of the message.
        thought: Given apart from it, as a reasoning parser does.
        status: Of HTTP; an error if it is not 200.
        delay: Seconds before the answer.
        finish: The finish reason.
        hang_up: Close the connection without an answer.
        body: The whole body instead.
    """

    text: str = ""
    thought: str | None = None
    status: int = 200
    delay: float = 0.0
    finish: str = "stop"
    hang_up: bool = False
    body: bytes | None = None


Script = Callable[[str, int], Reply]
"""The last user message, and how often it was asked before -> the reply."""


class TeacherServer(ThreadingHTTPServer):
    """Answers by a script.

    Attributes:
        asked: How often each last user message was asked.
        open: Requests under way; ``most_open`` is the most that ever were.
    """

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        self.script, self.asked = script, Counter[str]()
        self.open = self.most_open = 0
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def reply(self, asked: dict[str, Any]) -> Reply:
        last = asked["messages"][-1]["content"]
        with self.lock:
            before = self.asked[last]
            self.asked[last] += 1
            self.requests.append(asked)
            self.open += 1
            self.most_open = max(self.open, self.most_open)
        try:
            reply = self.script(last, before)
            time.sleep(reply.delay)
            return reply
        finally:
            with self.lock:
                self.open -= 1


class Handler(BaseHTTPRequestHandler):
    server: TeacherServer

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.server.reply(asked)
        if reply.hang_up:
            self.close_connection = True
            return
        message = {"role": "assistant", "content": reply.text}
        if reply.thought is not None:
            message["reasoning_content"] = reply.thought
        answer: dict[str, Any] = {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }
        if reply.status != 200:
            answer = {"error": {"message": "scripted", "type": "server_error"}}
        body = json.dumps(answer).encode() if reply.body is None else reply.body
        try:
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):  # nobody waits for the answer any more
            self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def teacher_server(script: Script) -> Iterator[TeacherServer]:
    with TeacherServer(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
