"""A tokenizer that loses text is refused when it is loaded."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from srl_agent.models.loading import load_model_and_tokenizer, load_tokenizer
from srl_envs.errors import DataError


def characters(folder: Path, known: str, model: Path) -> Path:
    """A real model's folder with a tokenizer of single characters, as small models have it."""
    shutil.copytree(model, folder)
    names = ["<pad>", "<unk>", "<eos>", *known]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(names[:3])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>"},
        chat_template="{% for m in messages %}{{ m.content }}{% endfor %}",
    ).save_pretrained(folder)
    return folder


ASCII = "".join(map(chr, range(32, 127))) + "\n"


def test_a_tokenizer_that_is_read_as_another_kind_is_refused(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = characters(tmp_path / "model", ASCII, tiny_model_dir)
    load_model_and_tokenizer(str(folder), dtype=torch.float32)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"tokenizer_class": "GPT2TokenizerFast"}))
    for load in (
        lambda: load_model_and_tokenizer(str(folder), dtype=torch.float32),
        lambda: load_tokenizer(str(folder), None, False),
    ):
        with pytest.raises(DataError, match=r"GPT2Tokenizer\) loses text: 'Let x = .* becomes"):
            load()


def test_characters_without_a_token_are_a_warning(
    tiny_model_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder = characters(tmp_path / "model", "0123456789+-*=.,:() \n", tiny_model_dir)
    assert load_tokenizer(str(folder), None, False).unk_token == "<unk>"
    assert "no token for 'LTacehinrstwx': where a prompt" in caplog.text
