"""A small OpenAI-compatible server on the loopback interface that answers with the experts' own
steps, turn by turn.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from srl_envs.trajectory import Trajectory


def turns(trajectory: Trajectory) -> list[str]:
    """What an expert says; of a math problem, the answer in a box at the end."""
    boxed = [f"The answer is \\boxed{{{trajectory.answer}}}."] if trajectory.answer else []
    return [step.action for step in trajectory.steps] + boxed


class ExpertServer(ThreadingHTTPServer):
    """Answers each turn with the expert's step of that turn, after a thought.

    Attributes:
        asked: How many answers were given.
        fails: Tasks that it gets wrong, by a part of their text.
    """

    daemon_threads = True

    def __init__(self, trajectories: Sequence[Trajectory], fails: Sequence[str] = ()) -> None:
        self.trajectories, self.fails, self.asked = trajectories, fails, 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, messages: list[dict[str, str]]) -> str:
        asked = "\n".join(one["content"] for one in messages if one["role"] == "user")
        (mine,) = [one for one in self.trajectories if one.prompt in asked]
        index = sum(one["role"] == "assistant" for one in messages)
        with self.lock:
            self.asked += 1
        if any(part in mine.prompt for part in self.fails):
            return "<think>no idea</think>I do not know: \\boxed{-77}"
        return f"<think>turn {index}</think>{turns(mine)[index]}"


class Handler(BaseHTTPRequestHandler):
    server: ExpertServer

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": self.server.answer(asked["messages"])}
        answer = {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def expert_server(
    trajectories: Sequence[Trajectory], fails: Sequence[str] = ()
) -> Iterator[ExpertServer]:
    with ExpertServer(trajectories, fails) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
