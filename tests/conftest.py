"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from srl_envs.sandbox import BASE_IMAGE, BubblewrapSandbox, SandboxError, SandboxLimits
from srl_envs.sandbox.engine import connect, engine_answers
from srl_envs.sandbox.images import image_of_tree

# Whoever started the tests in the background may have these ignored, and the processes that tests
# start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before torch is imported: threads of OpenMP that spin for each other all but stop on a machine
# that does anything else. Processes that tests start inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What a busy machine makes slow is not wrong.
hypothesis.settings.register_profile(
    "timeless", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("timeless")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout, or ``$SRL_SHARED_DATA``; tests that need it
    skip where it is absent.
    """
    folder = Path(
        os.environ.get("SRL_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data"
    )
    if not folder.is_dir():
        pytest.skip(f"real data is not there: {folder}")
    return folder


@pytest.fixture(scope="module")
def one_core() -> Iterator[None]:
    """Torch on one core: for a tiny model, sharing a product out among cores takes longer than
    the product.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


TINY_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real but tiny model for ``from_pretrained``, made in a second.

    Two Llama layers and a byte-level tokenizer with a chat template. Several tokens end an
    answer, so that random answers end.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from srl_envs.data.procedural import generate

    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        (problem.prompt + problem.solution for problem in generate(85)), trainer
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|end|>",
        chat_template=TINY_TEMPLATE,
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = [0, *range(20, 60)]
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the Docker engine at ``DOCKER_HOST``; tests that need one skip where none
    answers.
    """
    if not engine_answers():
        pytest.skip("no Docker engine answers: start one, or point DOCKER_HOST at it")
    client = connect(deadline=300)  # removing an image takes its time on a busy disk
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: Any) -> str:
    """The image that sandboxes start from; tests that need it skip where it was not built."""
    if not engine.images.list(name=BASE_IMAGE):
        pytest.skip(f"the engine has no image {BASE_IMAGE}: python -m srl_envs.sandbox build-base")
    return BASE_IMAGE


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """Tests that need bubblewrap skip where it is missing, or may not make namespaces."""
    try:
        BubblewrapSandbox(workdir="/work").close()
    except SandboxError as error:
        pytest.skip(f"no sandboxes of bubblewrap here: {error}")


@pytest.fixture(scope="session")
def small_limits() -> SandboxLimits:
    """Limits that leave the machine to the other tests."""
    return SandboxLimits(cpus=0.5, memory_mib=256)


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean git repository with one commit, on this machine: text of several encodings, a
    script, a binary file, a link, ignored names.
    """
    folder = tmp_path_factory.mktemp("repository") / "work"
    (folder / "src" / "deep").mkdir(parents=True)
    numbered = "".join(f"line {number}\n" for number in range(1, 21))
    (folder / "README.md").write_text("# A project\n")
    (folder / "src" / "numbers.txt").write_text(numbered)
    (folder / "src" / "deep" / "module.py").write_text("VALUE = 1\n")
    (folder / "src" / "name with space.txt").write_text("spaced\n")
    (folder / "crlf.txt").write_bytes(b"one\r\ntwo\r\n")
    (folder / "latin1.txt").write_bytes(b"caf\xe9\nth\xe9\n")
    (folder / "no_newline.txt").write_bytes(b"no newline at the end")
    (folder / "picture.bin").write_bytes(bytes(range(256)) * 8)
    (folder / "script.sh").write_text("#!/bin/sh\necho script\n")
    (folder / "script.sh").chmod(0o755)
    (folder / "link").symlink_to("README.md")
    (folder / ".gitignore").write_text("*.log\nbuild/\n")
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "start")
    return folder


@pytest.fixture(scope="session")
def repository_image(engine: Any, base_image: str, small_repository: Path) -> Iterator[str]:
    """An image with the files of :func:`small_repository` in ``/testbed``; removed when the tests
    end.
    """
    tag = f"srl-tests:{uuid.uuid4().hex[:12]}"
    image_of_tree(small_repository, tag, base=base_image)
    yield tag
    engine.images.remove(tag, force=True)


def _git(folder: Path, *arguments: str) -> None:
    identity = [
        "-c",
        "user.name=Tester",
        "-c",
        "user.email=tester@example.org",
        "-c",
        "core.autocrlf=false",
        "-c",
        "commit.gpgSign=false",
    ]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)
