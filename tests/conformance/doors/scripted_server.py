"""A small OpenAI-compatible server that answers as it is told, by what was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[list[dict[str, Any]]], dict[str, Any]]
"""Messages -> ``text``, and ``thought`` and ``truncated`` where there are any."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.script(asked["messages"])  # type: ignore[attr-defined]
        message = {"role": "assistant", "content": answer["text"]}
        if answer.get("thought") is not None:
            message["reasoning_content"] = answer["thought"]
        finish = "length" if answer.get("truncated") else "stop"
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        head = {"id": "1", "created": int(time.time()), "model": "scripted", "usage": usage}
        if not asked.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            self._send({**head, "object": "chat.completion", "choices": [choice]})
            return
        chunks = [{"index": 0, "delta": message, "finish_reason": None}]
        chunks.append({"index": 0, "delta": {}, "finish_reason": finish})
        lines = [{**head, "object": "chat.completion.chunk", "choices": [one]} for one in chunks]
        body = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        self._body(body.encode(), "text/event-stream")

    def _send(self, answer: dict[str, Any]) -> None:
        self._body(json.dumps(answer).encode(), "application/json")

    def _body(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """The server's ``/v1`` URL, while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.script = script  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
