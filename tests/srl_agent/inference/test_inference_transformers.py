"""What is particular to the transformers backend; its promises as a generator are in
tests/conformance.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

from srl_agent.inference import sampling, transformers_generator
from srl_agent.inference.chat import ChatEncoder
from srl_agent.inference.generator import Completion, GenerationSettings, Request
from srl_agent.inference.transformers_generator import TransformersGenerator
from srl_envs.errors import ConfigError, DataError, InfrastructureError

pytestmark = pytest.mark.usefixtures("one_core")

GREEDY = GenerationSettings(max_new_tokens=8)
HOT = GenerationSettings(max_new_tokens=8, temperature=1.0)


@pytest.fixture(scope="module")
def opened(tiny_model_dir: Path) -> TransformersGenerator:
    return TransformersGenerator(str(tiny_model_dir), device="cpu")


def user(text: str, number: int = 0) -> Request:
    return Request(({"role": "user", "content": text},), number)


def answers(
    generator: TransformersGenerator, requests: list[Request], settings: GenerationSettings
) -> list[Completion]:
    return [
        completion
        for _, completion in sorted(
            generator.generate(requests, settings), key=lambda pair: pair[0]
        )
    ]


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """The lengths of the prompts of every batch that is written, and the owners of its rows; the
    batches themselves are written as ever.
    """
    seen: list[tuple[list[int], list[int]]] = []

    def watched(model: Any, prompts: Any, owners: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(([len(prompt) for prompt in prompts], list(owners)))
        return sampling.write_rows(model, prompts, owners, *arguments, **options)

    monkeypatch.setattr(transformers_generator, "write_rows", watched)
    return seen


def test_batches_hold_prompts_of_like_length_the_longest_first(
    tiny_model_dir: Path, batches: list[tuple[list[int], list[int]]]
) -> None:
    generator = TransformersGenerator(str(tiny_model_dir), device="cpu", batch_rows=4)
    answers(
        generator,
        [user("word " * words) for words in (3, 40, 1, 20, 2, 41, 22, 39, 21, 42)],
        GREEDY,
    )
    assert [len(lengths) for lengths, _ in batches] == [4, 4, 2]
    written = [length for lengths, _ in batches for length in lengths]
    assert written == sorted(written, reverse=True)


def test_samples_of_one_conversation_share_its_prompt(
    opened: TransformersGenerator, batches: list[tuple[list[int], list[int]]]
) -> None:
    requests = [user(text, number) for number in range(6) for text in ("one", "another one")]
    answers(opened, requests, HOT)
    assert [(len(lengths), Counter(owners)) for lengths, owners in batches] == [
        (2, Counter({0: 6, 1: 6}))
    ]


def test_more_samples_than_a_batch_takes_are_parted(
    tiny_model_dir: Path, batches: list[tuple[list[int], list[int]]]
) -> None:
    generator = TransformersGenerator(str(tiny_model_dir), device="cpu", batch_rows=5)
    answers(generator, [user("one", number) for number in range(12)] + [user("another one")], HOT)
    assert [len(owners) for _, owners in batches] == [5, 5, 3]


def test_batch_tokens_bound_a_batch(
    tiny_model_dir: Path, batches: list[tuple[list[int], list[int]]]
) -> None:
    generator = TransformersGenerator(str(tiny_model_dir), device="cpu", batch_tokens=300)
    answers(
        generator,
        [user("word " * 20, number) for number in range(9)] + [user("word " * 500)],
        GREEDY,
    )
    assert len(batches[0][1]) == 1, "a row that is too long by itself is written alone"
    for lengths, owners in batches[1:]:
        assert len(owners) * (max(lengths) + 8) <= 300
    assert len(batches[1][1]) == 300 // (batches[1][0][0] + 8) > 1


def test_answers_do_not_depend_on_the_batches(
    tiny_model_dir: Path, opened: TransformersGenerator
) -> None:
    requests = [user("word " * words, number) for words in (1, 9, 30) for number in range(5)]
    for bounds in ({"batch_rows": 1}, {"batch_rows": 4}, {"batch_tokens": 150}):
        other = TransformersGenerator(str(tiny_model_dir), device="cpu", **bounds)
        assert answers(other, requests, HOT) == answers(opened, requests, HOT)


def test_completions_come_while_others_are_still_written(opened: TransformersGenerator) -> None:
    """In one batch, the short answers are given first."""
    given = [
        completion.tokens
        for _, completion in opened.generate([user("word", number) for number in range(40)], HOT)
    ]
    assert given == sorted(given)
    assert len(set(given)) > 3


def test_a_prompt_that_fills_the_context_is_in_no_batch(
    opened: TransformersGenerator, batches: list[tuple[list[int], list[int]]]
) -> None:
    given = list(
        opened.generate([user("short"), user("long " * 3000), user("long " * 3000, 1)], GREEDY)
    )
    assert given[:2] == [(1, Completion("", 0, "context")), (2, Completion("", 0, "context"))]
    assert [index for index, _ in given[2:]] == [0] and len(batches) == 1


def test_a_stop_string_that_is_a_special_token(opened: TransformersGenerator) -> None:
    """Special tokens are not in the text; a row ends at one all the same."""
    requests = [user("word", number) for number in range(64)]
    special = ("<|system|>", "<|user|>", "<|assistant|>")
    free, stopped = (
        answers(opened, requests, GenerationSettings(max_new_tokens=60, temperature=4.0, stop=stop))
        for stop in ((), special)
    )
    sooner = [
        (before, after) for before, after in zip(free, stopped, strict=True) if before != after
    ]
    assert sooner
    for before, after in sooner:
        assert after.finish == "stop"
        assert after.tokens < before.tokens
        assert before.text.startswith(after.text.rstrip("\ufffd"))


@given(st.text(min_size=1, max_size=60), st.data())
def test_a_stop_string_is_found_at_the_token_that_completes_it(
    tokenizer: Any, text: str, data: st.DataObject
) -> None:
    """Written byte by byte, the longest way; only the last tokens are decoded, but the whole text
    would say the same.
    """
    start = data.draw(st.integers(0, len(text) - 1))
    stop = text[start : data.draw(st.integers(start + 1, len(text)))]
    of_byte = {
        character: token
        for character, token in tokenizer.get_vocab().items()
        if len(character) == 1
    }
    pieces = "".join(
        piece
        for piece, _ in ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    )
    tokens = [of_byte[character] for character in pieces]
    chat = ChatEncoder(tokenizer)
    ends_at = transformers_generator._StopTest(chat, tokenizer, [stop])
    assert chat.decoded(tokens) == text
    for length in range(1, len(tokens) + 1):
        expected = stop in tokenizer.decode(tokens[:length])
        assert ends_at(0, tokens[:length]) == expected
        if expected:
            break
    else:
        pytest.fail("the stop string was not found")


def test_bfloat16(tiny_model_dir: Path) -> None:
    generator = TransformersGenerator(str(tiny_model_dir), device="cpu", dtype="bfloat16")
    first, again = (answers(generator, [user("one"), user("two")], HOT) for _ in range(2))
    assert first == again
    assert {parameter.dtype for parameter in generator._model.parameters()} == {torch.bfloat16}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_write_the_same_greedy_text(
    tiny_model_dir: Path, opened: TransformersGenerator
) -> None:
    on_gpu = TransformersGenerator(str(tiny_model_dir), device="cuda", dtype="float32")
    requests = [user("word " * words, number) for words in (1, 9, 30) for number in range(3)]
    assert answers(on_gpu, requests, GREEDY) == answers(opened, requests, GREEDY)
    assert len(answers(on_gpu, requests, HOT)) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"batch_rows": 0}, "batch_rows"),
    ],
)
def test_settings_that_do_not_fit(
    tiny_model_dir: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        TransformersGenerator(str(tiny_model_dir), **options)


def test_no_such_model() -> None:
    with pytest.raises(DataError, match="There is no folder"):
        TransformersGenerator("./nowhere", device="cpu")


def test_a_closed_generator_says_so(tiny_model_dir: Path) -> None:
    generator = TransformersGenerator(str(tiny_model_dir), device="cpu")
    generator.close()
    generator.close()
    with pytest.raises(ConfigError, match="closed"):
        list(generator.generate([user("one")], GREEDY))


def test_memory_that_does_not_suffice_names_the_cure(opened: TransformersGenerator) -> None:
    """torch's own error, raised where a GPU would raise it: from inside the model."""

    def full(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = opened._model.register_forward_pre_hook(full)
    try:
        with pytest.raises(
            InfrastructureError,
            match=r"2 completions side by side: lower batch_tokens \(now 262144\)",
        ):
            list(opened.generate([user("one"), user("two")], GREEDY))
    finally:
        hook.remove()
    assert len(answers(opened, [user("one")], GREEDY)) == 1


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2**-24, 1.0])
def test_no_draw_falls_on_a_token_without_probability(uniform: float) -> None:
    """A 64-bit number just below 1 becomes 1 in 32 bits, and products round up too: both lie
    beyond the last token that can be drawn.
    """
    logits = torch.tensor([[-torch.inf, 2.0, 1.0, 3.0, -torch.inf, -torch.inf]]).repeat(5, 1)
    logits[:, 1:4] += torch.linspace(0, 1, 5)[:, None] * torch.tensor([1.0, 2.0, 3.0])
    settings = sampling.SamplingSettings(max_new_tokens=1)
    drawn = sampling._draw(
        logits, settings, range(5), lambda rows: torch.full((len(rows), 1), uniform)
    )
    assert drawn[:, 0].tolist() == [1 if uniform == 0 else 3] * 5
