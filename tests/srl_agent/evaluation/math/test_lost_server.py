"""Evaluation asks two real servers of one model, and one of them is killed in the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_evaluate_math import command, data  # noqa: F401  a fixture

from srl_agent.evaluate import main
from srl_agent.evaluation.math.samples import Sample, read_samples

sys.path.append(str(Path(__file__).parents[3] / "conformance"))
import chat_completions_server

MORTAL = """
import os, signal, sys
from pathlib import Path

sys.path.append(str(Path(sys.argv[1]).parent))
from chat_completions_server import ModelServer


class Mortal(ModelServer):
    def answer(self, asked):
        if self.answered == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(asked)


server = Mortal(Path(sys.argv[2]))
print(server.base_url, flush=True)
server.serve_forever()
"""


def answers(model: Path, data: Path, folder: Path, *urls: str) -> list[Sample]:  # noqa: F811
    servers = ["--base_url", ",".join(urls), "--concurrency", "4", "--retries", "1"]
    assert main([*command(model, data, folder), *servers]) == 0
    return sorted(read_samples(folder / "samples.jsonl"), key=str)


@pytest.mark.slow
def test_no_answer_of_a_killed_server_is_lost_and_none_is_there_twice(
    tiny_model_dir: Path,
    data: Path,  # noqa: F811
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    started = [sys.executable, "-c", MORTAL, chat_completions_server.__file__, str(tiny_model_dir)]
    with (
        chat_completions_server.serving(tiny_model_dir) as well,
        subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as mortal,
    ):
        assert mortal.stdout is not None
        dying = mortal.stdout.readline().strip()
        expected = answers(tiny_model_dir, data, tmp_path / "one", well.base_url)
        capfd.readouterr()
        found = answers(tiny_model_dir, data, tmp_path / "two", dying, well.base_url)
        assert mortal.wait() == -9
    assert found == expected and len(found) == 3 * (1 + 4) + 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert line.startswith(f"warning: {dying}/chat/completions: no usable response after 2 ")
    assert line.endswith(
        "Its requests go to the other servers (1 of 2 answer). It is tried again every 60 s."
    )
