"""Merged adapters that vLLM reads from a temporary folder: none outlives its process for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from srl_agent.inference.vllm_generator import _whole_model
from srl_agent.models.loading import load_model_and_tokenizer

PROGRAM = """
import sys, time
from srl_agent.inference.vllm_generator import _whole_model
with _whole_model(sys.argv[1], "float32", False) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_the_merged_model_of_a_killed_process_is_removed_and_a_living_ones_stays(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tokenizer = load_model_and_tokenizer(str(tiny_model_dir), dtype="float32")
    adapter = tmp_path / "adapter"
    get_peft_model(base, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(adapter)
    tokenizer.save_pretrained(adapter)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(adapter)],
            env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        folders = [Path(process.stdout.readline().strip()) for process in started if process.stdout]
        started[0].send_signal(signal.SIGKILL)
        started[0].wait()
        assert all((folder / "model.safetensors").is_file() for folder in folders)
        with _whole_model(str(adapter), "float32", False) as own:
            assert [folder.is_dir() for folder in folders] == [False, True]
            assert (Path(own) / "config.json").is_file()
        assert list((tmp_path / "tmp").glob("srl-merged-*")) == [folders[1]]
    finally:
        for process in started:
            process.kill()
            process.wait()
