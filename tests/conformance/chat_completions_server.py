"""A small OpenAI-compatible server on the loopback interface: answers /v1/chat/completions with a
model through ``generate`` of transformers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
    set_seed,
)


class StopStrings(StoppingCriteria):
    """Ends a single row once its whole text holds a stop string."""

    def __init__(self, tokenizer: Any, prompt_length: int, stop: list[str]) -> None:
        self.tokenizer, self.prompt_length, self.stop = tokenizer, prompt_length, stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        text = self.tokenizer.decode(input_ids[0, self.prompt_length :], skip_special_tokens=True)
        return torch.tensor([any(string in text for string in self.stop)])


class ModelServer(ThreadingHTTPServer):
    """Runs the model of a folder, one request at a time.

    Attributes:
        answered: How many requests were answered.
    """

    daemon_threads = True
    one_at_a_time = threading.Lock()  # all servers of a process share torch's random numbers

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.answered, self.folder = 0, folder
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        inputs = self.tokenizer.apply_chat_template(
            asked["messages"], add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        length, context = inputs["input_ids"].shape[1], self.model.config.max_position_embeddings
        room = context - length
        if (
            asked.get("max_tokens", 1) > room
        ):  # as vLLM: a prompt is refused too that leaves less room than the answer may take
            message = (
                f"the maximum context length is {context} tokens, the prompt takes {length} of them"
            )
            return 400, {"error": {"message": message, "type": "invalid_request_error"}}
        stop = asked.get("stop", [])
        sampling = (
            {
                "do_sample": True,
                "temperature": asked["temperature"],
                "top_p": asked["top_p"],
                "top_k": 0,
            }
            if asked["temperature"]
            else {"do_sample": False}
        )
        set_seed(asked["seed"])
        written = self.model.generate(
            **inputs,
            max_new_tokens=asked.get("max_tokens", room),
            stopping_criteria=StoppingCriteriaList(
                [StopStrings(self.tokenizer, length, stop)] if stop else []
            ),
            pad_token_id=0,
            **sampling,
        )[0, length:]
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        stopped = [text.index(string) for string in stop if string in text]
        end = self.model.generation_config.eos_token_id
        ends = [end] if isinstance(end, int) else end
        finish = "stop" if stopped or int(written[-1]) in ends else "length"
        self.answered += 1
        message = {"role": "assistant", "content": text[: min(stopped)] if stopped else text}
        usage = {
            "prompt_tokens": length,
            "completion_tokens": len(written),
            "total_tokens": length + len(written),
        }
        return 200, {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        }


class Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        context = getattr(self.server, "context", None)
        if self.path != "/v1/models" or context is None:
            self.send_error(404)
            return
        entry = {"id": str(self.server.folder), "object": "model", "max_model_len": context}
        body = json.dumps({"object": "list", "data": [entry]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.send_error(404)
            return
        with self.server.one_at_a_time:
            status, answer = self.server.answer(asked)
        body = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):  # nobody waits for the answer any more
            self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[ModelServer]:
    """The server, while the block runs."""
    with ModelServer(folder) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="model-server"
        )
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
