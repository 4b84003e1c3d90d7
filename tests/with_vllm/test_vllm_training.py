"""Training with the real vLLM as the sampler, on CPUs: as a server that takes weights, and inside
the process.

``.ci/vllm`` runs this in an environment of its own. What is compared is the probability of each
token that was answered, by vLLM and by the policy at that moment. Their ratio is 1 where vLLM has
the policy's weights, and the answer belongs to its prompt.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM: .ci/vllm"),
    pytest.mark.slow,
]

HERE = Path(__file__).parent
SAME = 1e-3
"""How far ratios may be from 1: float32 on both sides, computed in another order."""


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that every prompt has probabilities of its own."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("vllm") / "model"
    torch.manual_seed(3)
    config = LlamaConfig.from_pretrained(
        tiny_model_dir,
        head_dim=32,  # vLLM computes no smaller heads on a CPU
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    written = LlamaForCausalLM(config)
    written.generation_config.eos_token_id = [0, *range(20, 60)]
    written.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def environment(*paths: Path) -> dict[str, str]:
    here = os.pathsep.join([str(HERE), str(HERE.parents[1]), *map(str, paths)])
    return {
        **os.environ,
        "PYTHONPATH": here,
        "HF_HUB_OFFLINE": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``vllm serve``, with the transfer engine of ``store_transfer.py`` as a plugin."""
    folder = tmp_path_factory.mktemp("server")
    plugin = folder / "store_transfer-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: store-transfer\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text(
        "[vllm.general_plugins]\nstore_transfer = store_transfer:register\n"
    )
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "1024", "--enforce-eager"]
    command += ["--weight-transfer-config", '{"backend": "store"}']
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    settings = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_PLUGINS": "store_transfer"}
    with log.open("w") as written:
        process = subprocess.Popen(
            command,
            env=environment(folder) | settings,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(1)
    pytest.fail(f"vllm serve does not start:\n{log.read_text()[-4000:]}")


class Run:
    """A finished training run.

    Attributes:
        calls: What ``traced_training.py`` noted of each call for answers, by process.
    """

    def __init__(
        self, folder: Path, model: Path, *arguments: str, mode: str = "sync", processes: int = 1
    ) -> None:
        launch = [sys.executable]
        if processes > 1:
            launch += ["-m", "torch.distributed.run", "--standalone"]
            launch += ["--nproc_per_node", str(processes)]
        command = [*launch, str(HERE / "traced_training.py"), str(folder / "trace"), mode]
        command += ["--model_name_or_path", str(model), "--output_dir", str(folder / "run")]
        command += [*COMMON, *arguments]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=900, cwd=folder
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        traces = [folder / f"trace.{rank}.jsonl" for rank in range(processes)]
        self.calls: list[list[dict[str, Any]]] = [
            [json.loads(line) for line in trace.read_text().splitlines()] for trace in traces
        ]
        self.folder = folder / "run"
        print(self.table())

    def table(self) -> str:
        """The figures, for the log."""
        lines = []
        for rank, calls in enumerate(self.calls):
            for call in calls:
                what = "rollout" if call["training"] else "answers"
                lines.append(
                    f"process {rank} step {call['step']} {what}: {call['prompts']} prompts,"
                    f" {call['tokens']} tokens, ratio {call['lowest']:.6f} to"
                    f" {call['highest']:.6f}"
                )
        return "\n".join(lines)

    def distance(self, training: bool, after: int = 0) -> float:
        """How far the ratio of any token was from 1."""
        ends = [
            end
            for calls in self.calls
            for call in calls
            if call["training"] == training and call["step"] >= after
            for end in (call["lowest"], call["highest"])
        ]
        assert ends
        return max(abs(end - 1) for end in ends)


COMMON = [
    *("--require_think", "false", "--bf16", "false", "--use_cpu", "true"),
    *("--count", "170", "--held_out", "20", "--eval_instances", "3", "--test_instances", "3"),
    *("--format_warmup_steps", "0", "--max_completion_length", "24", "--num_generations", "4"),
    *("--prompts_per_step", "2", "--per_device_train_batch_size", "2", "--max_steps", "3"),
    *("--dynamic_sampling", "false", "--learning_rate", "1e-2", "--disable_tqdm", "true"),
    *("--save_steps", "1", "--eval_steps", "1", "--use_vllm", "true"),
]


def through(server: str) -> list[str]:
    return [
        *("--vllm_mode", "server", "--vllm_server_base_url", server),
        *("--vllm_group_port", str(free_port())),
    ]


INSIDE = ["--vllm_mode", "colocate", "--vllm_max_model_length", "1024"]


def check_synchronized(run: Run) -> None:
    """The ratio is 1 in rollouts and answers, also in those of the best checkpoint."""
    assert run.distance(training=True, after=1) < SAME
    assert run.distance(training=False, after=1) < SAME
    last = [calls[-1] for calls in run.calls]
    assert all(call["loaded"] == 1 and not call["training"] for call in last)


def test_a_server_gets_the_weights_of_every_step(server: str, model: Path, tmp_path: Path) -> None:
    check_synchronized(Run(tmp_path, model, *through(server)))


def test_a_server_that_gets_no_weights_shows(server: str, model: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, model, *through(server), mode="stale")
    assert run.distance(training=True, after=1) > 100 * SAME


def test_a_server_gets_the_merged_weights_of_an_adapter(
    server: str, model: Path, tmp_path: Path
) -> None:
    check_synchronized(Run(tmp_path, model, *through(server), "--use_peft", "true"))


def test_two_processes_with_unequal_shares_at_a_server(
    server: str, model: Path, tmp_path: Path
) -> None:
    """Three instances are shares of two and one, one instance of one and none."""
    run = Run(tmp_path, model, *through(server), "--test_instances", "1", processes=2)
    check_synchronized(run)
    shares = [{call["prompts"] for call in calls if not call["training"]} for calls in run.calls]
    assert shares == [{2, 1}, {1, 0}]


def test_vllm_inside_the_process_gets_the_weights_of_every_step(
    model: Path, tmp_path: Path
) -> None:
    check_synchronized(Run(tmp_path, model, *INSIDE))


def test_vllm_inside_the_process_that_gets_no_weights_shows(model: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, model, *INSIDE, mode="stale")
    assert run.distance(training=True, after=1) > 100 * SAME
