"""The promises of ``srl_agent/inference/generator.py``, kept by every backend on one real, tiny
model.

To put another backend through: add a factory to :data:`FACTORIES`. It gives a generator
for a model folder.
"""

from __future__ import annotations

import importlib.util
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra srl-lm[train]")
pytest.importorskip("transformers", reason="needs the extra srl-lm[train]")

from chat_completions_server import ModelServer, serving  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from srl_agent.inference.backends import GeneratorConfig, open_generator  # noqa: E402
from srl_agent.inference.generator import Completion, GenerationSettings, Generator, Request  # noqa: E402
from srl_agent.inference.vllm_generator import VLLMGenerator  # noqa: E402
from srl_agent.models.loading import load_model_and_tokenizer  # noqa: E402
from srl_envs.data.procedural import generate as word_problems  # noqa: E402
from srl_envs.errors import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_core")

CONTEXT = 256
WITH_ROLE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if "
    "add_generation_prompt %}<|assistant|>{% endif %}"
)
WITHOUT_ROLE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not "
    "supported') }}{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if "
    "add_generation_prompt %}<|assistant|>{% endif %}"
)
ENDS = [0, *range(270, 290)]


def make_model(folder: Path, template: str) -> Path:
    """Two random layers with a byte-level tokenizer; several tokens end an answer, so that random
    answers end.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The last text so often that its characters become tokens.
    tokenizer.train_from_iterator(
        [
            *(problem.prompt + problem.solution for problem in word_problems(85)),
            "é ü 火 車 ∑ 🚂 " * 5000,
        ],
        trainer,
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", chat_template=template
    )
    fast.save_pretrained(folder)
    torch.manual_seed(
        9
    )  # between the two most probable tokens of the greedy answers below there is always a gap
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # vLLM computes no smaller heads on a CPU
        max_position_embeddings=CONTEXT,
        # clear winners among the tokens, and answers that do not repeat one word
        initializer_range=0.6,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # what is no printable text by itself is hardly ever written
        for token in range(400):
            if (
                token not in ENDS and not fast.decode([token]).isprintable()
            ) or "\ufffd" in fast.decode([token]):
                model.lm_head.weight[token] = 0
        model.lm_head.weight[ENDS] *= 0.5  # ends are drawn, but are seldom the most probable
    model.generation_config.eos_token_id = ENDS
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("conformance") / "with-role", WITH_ROLE)


@pytest.fixture(scope="module")
def folder_without_system_role(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("conformance") / "without-role", WITHOUT_ROLE)


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[ModelServer]:
    with serving(model_folder) as running:
        yield running


@pytest.fixture(scope="module")
def second_server(model_folder: Path) -> Iterator[ModelServer]:
    with serving(model_folder) as running:
        yield running


def _transformers(request: pytest.FixtureRequest) -> Generator:
    folder = request.getfixturevalue("model_folder")
    return open_generator(
        GeneratorConfig(model=str(folder), backend="transformers", device="cpu", batch_rows=5)
    )


def _openai(request: pytest.FixtureRequest) -> Generator:
    return open_generator(
        GeneratorConfig(
            model="tiny",
            base_url=request.getfixturevalue("server").base_url,
            concurrency=4,
            retries=0,
        )
    )


def _several_servers(request: pytest.FixtureRequest) -> Generator:
    """Two servers of the same model, and one that is not there."""
    first = request.getfixturevalue("server")
    second = request.getfixturevalue("second_server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    urls = (first.base_url, nobody, second.base_url)
    return open_generator(
        GeneratorConfig(model="tiny", base_url=",".join(urls), concurrency=4, retries=0)
    )


def _vllm(request: pytest.FixtureRequest) -> Generator:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vLLM")
    return open_generator(
        GeneratorConfig(
            model=str(request.getfixturevalue("model_folder")), backend="vllm", dtype="float32"
        )
    )


FACTORIES = [
    pytest.param(_transformers, id="transformers"),
    pytest.param(_openai, id="openai"),
    pytest.param(_several_servers, id="several servers"),
    pytest.param(_vllm, id="vllm"),
]


@pytest.fixture(scope="module", params=FACTORIES)
def generator(request: pytest.FixtureRequest) -> Iterator[Generator]:
    factory: Callable[[pytest.FixtureRequest], Generator] = request.param
    opened = factory(request)
    yield opened
    opened.close()
    opened.close()


def user(text: str, number: int = 0, system: str | None = None) -> Request:
    start = ({"role": "system", "content": system},) if system is not None else ()
    return Request((*start, {"role": "user", "content": text}), number)


QUESTIONS = [
    user("Tom has 3 apples."),
    user(
        "How many pens are in 12 boxes of 7 pens, "
        "if two of the boxes are empty and one is half full?"
    ),
    user("Why?"),
    user("Ein Zug fährt um 8:15 Uhr ab. 一列火车 🚂 — combien d'heures?"),
    user("Add 1 and 2. " * 6),
    user("Say it.", system="Answer with one number."),
]
GREEDY = GenerationSettings(max_new_tokens=24)
SAMPLED = GenerationSettings(max_new_tokens=24, temperature=1.0, seed=5)


def answers(
    generator: Generator, requests: list[Request], settings: GenerationSettings
) -> list[Completion]:
    """The completions in the order of their requests; every index must come once."""
    given = list(generator.generate(requests, settings))
    assert sorted(index for index, _ in given) == list(range(len(requests)))
    return [completion for _, completion in sorted(given, key=lambda pair: pair[0])]


def test_it_is_a_generator_with_a_name(generator: Generator) -> None:
    assert isinstance(generator, Generator)
    assert generator.name


def test_nothing_asked_nothing_given(generator: Generator) -> None:
    assert list(generator.generate([], GREEDY)) == []


def test_greedy_text_is_the_same_again_and_alone(generator: Generator) -> None:
    together = answers(generator, QUESTIONS, GREEDY)
    assert together == answers(generator, QUESTIONS, GREEDY)
    assert together == [answers(generator, [question], GREEDY)[0] for question in QUESTIONS]
    assert list(reversed(together)) == answers(generator, QUESTIONS[::-1], GREEDY)
    assert len({completion.text for completion in together}) == len(QUESTIONS), (
        "the answers follow their questions"
    )


def test_greedy_text_is_that_of_generate(generator: Generator, server: ModelServer) -> None:
    """What the model of transformers writes by itself, question by question, for every backend."""
    for question, completion in zip(QUESTIONS, answers(generator, QUESTIONS, GREEDY), strict=True):
        asked = {
            "messages": list(question.messages),
            "max_tokens": 24,
            "temperature": 0,
            "top_p": 1,
            "seed": 0,
        }
        _, answer = server.answer(asked)
        choice = answer["choices"][0]
        expected = Completion(
            choice["message"]["content"],
            answer["usage"]["completion_tokens"],
            choice["finish_reason"],
        )
        assert completion == expected


def test_many_requests_keep_their_indices(generator: Generator) -> None:
    """More than a batch or the concurrency takes, with repeated conversations."""
    requests = QUESTIONS * 3
    assert answers(generator, requests, GREEDY) == answers(generator, QUESTIONS, GREEDY) * 3


def test_iterators_may_be_read_in_turn(generator: Generator) -> None:
    expected = answers(generator, QUESTIONS, GREEDY)
    first = generator.generate(QUESTIONS, GREEDY)
    given = [next(first)]
    assert answers(generator, QUESTIONS, GREEDY) == expected
    assert [
        completion for _, completion in sorted([*given, *first], key=lambda pair: pair[0])
    ] == expected


def test_seeds_decide_the_draws(generator: Generator) -> None:
    requests = [
        user(question.messages[-1]["content"], number)
        for question in QUESTIONS[:3]
        for number in range(4)
    ]
    first = answers(generator, requests, SAMPLED)
    assert first == answers(generator, requests, SAMPLED)
    assert len({completion.text for completion in first}) > 9, "samples of one conversation differ"
    other = answers(
        generator, requests, GenerationSettings(max_new_tokens=24, temperature=1.0, seed=6)
    )
    assert sum(a != b for a, b in zip(first, other, strict=True)) > 9


def test_a_draw_does_not_depend_on_its_neighbours(generator: Generator) -> None:
    requests = [user("Tom has 3 apples.", number) for number in range(7)] + [
        user("Why? " * 9, number) for number in range(4)
    ]
    together = answers(generator, requests, SAMPLED)
    for index in (0, 5, 6, 8, 10):
        assert answers(generator, [requests[index]], SAMPLED) == [together[index]]


def test_different_conversations_are_drawn_with_different_numbers(generator: Generator) -> None:
    """At a temperature where every token is about as probable, the same numbers would write the
    same text after every prompt.
    """
    hot = GenerationSettings(max_new_tokens=4, temperature=1e6)
    if isinstance(generator, VLLMGenerator):
        with pytest.raises(ConfigError, match="temperature must be in"):
            answers(generator, QUESTIONS[:5], hot)
        return
    texts = [completion.text for completion in answers(generator, QUESTIONS[:5], hot)]
    assert len(set(texts)) == 5


def test_a_tiny_nucleus_is_greedy(generator: Generator) -> None:
    greedy = answers(generator, QUESTIONS, GREEDY)
    assert (
        answers(
            generator, QUESTIONS, GenerationSettings(max_new_tokens=24, temperature=1.0, top_p=1e-6)
        )
        == greedy
    )


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_limit_is_kept_and_told(generator: Generator, limit: int) -> None:
    whole = answers(generator, QUESTIONS, GREEDY)
    cut = answers(generator, QUESTIONS, GenerationSettings(max_new_tokens=limit))
    assert {completion.finish for completion in cut} == {"length"}
    for longer, shorter in zip(whole, cut, strict=True):
        assert shorter.tokens == limit
        assert longer.text.startswith(shorter.text.rstrip("\ufffd"))


def test_an_answer_that_ends_by_itself(generator: Generator) -> None:
    """Ends are drawn now and then at this temperature; their tokens count, their text does not
    show.
    """
    settings = GenerationSettings(max_new_tokens=60, temperature=1.5)
    drawn = answers(
        generator, [user("Tom has 3 apples.", number) for number in range(12)], settings
    )
    assert {completion.finish for completion in drawn} >= {"stop"}
    for completion in drawn:
        assert "<|end|>" not in completion.text
        assert 1 <= completion.tokens <= 60
        assert (completion.tokens < 60) <= (completion.finish == "stop")


def stop_strings_of(text: str) -> list[str]:
    """Parts of a text that begin in its middle: one character, and several, which no single token
    writes.
    """
    place = next(i for i in range(len(text) // 4, len(text)) if text[i] not in text[:i])
    return [text[place], text[place : place + 12]]


def test_stop_strings_end_the_text_before_them(generator: Generator) -> None:
    for question, whole in zip(QUESTIONS, answers(generator, QUESTIONS, GREEDY), strict=True):
        for stop in stop_strings_of(whole.text):
            (completion,) = answers(
                generator, [question], GenerationSettings(max_new_tokens=24, stop=(stop,))
            )
            assert completion.text == whole.text[: whole.text.index(stop)]
            assert completion.finish == "stop"
            assert completion.tokens <= whole.tokens


def test_the_first_of_several_stop_strings_counts(generator: Generator) -> None:
    whole = answers(generator, QUESTIONS, GREEDY)
    stop = tuple(
        itertools.chain.from_iterable(stop_strings_of(completion.text) for completion in whole)
    )[:4]
    for before, after in zip(
        whole,
        answers(generator, QUESTIONS, GenerationSettings(max_new_tokens=24, stop=stop)),
        strict=True,
    ):
        places = [before.text.index(string) for string in stop if string in before.text]
        assert after.text == (before.text[: min(places)] if places else before.text)
        assert after.finish == ("stop" if places else before.finish)


def test_a_stop_string_that_is_never_written_changes_nothing(generator: Generator) -> None:
    whole = answers(generator, QUESTIONS, GREEDY)
    assert (
        answers(
            generator,
            QUESTIONS,
            GenerationSettings(max_new_tokens=24, stop=("never written by anyone",)),
        )
        == whole
    )


def test_text_beyond_ascii_comes_whole(generator: Generator) -> None:
    requests = [
        user("Ça va? 🚂", number) for number in range(40)
    ]  # so many that one of the characters is drawn
    drawn = answers(generator, requests, SAMPLED)
    text = "".join(completion.text for completion in drawn)
    stop = next(character for character in "éü火車∑🚂" if character in text)
    stopped = answers(
        generator,
        requests,
        GenerationSettings(max_new_tokens=24, temperature=1.0, seed=5, stop=(stop,)),
    )
    assert [completion.text for completion in stopped] == [
        completion.text.partition(stop)[0] for completion in drawn
    ]


def test_the_system_message_counts(generator: Generator) -> None:
    without, one, other = answers(
        generator,
        [user("Say it."), user("Say it.", system="A"), user("Say it.", system="B")],
        GREEDY,
    )
    assert len({without.text, one.text, other.text}) == 3


def test_a_prompt_that_fills_the_context_gets_nothing_and_the_others_are_answered(
    generator: Generator,
) -> None:
    requests = [QUESTIONS[0], user("word " * 400), QUESTIONS[1], user("word " * 400, 1)]
    first, full, second, again = answers(generator, requests, GREEDY)
    assert full == again == Completion("", 0, "context")
    assert [first, second] == answers(generator, QUESTIONS[:2], GREEDY)


def test_the_context_ends_an_answer_before_the_limit(
    generator: Generator, server: ModelServer
) -> None:
    """A model may be asked for more than its context holds; an answer that reaches the end of it
    is cut off.
    """
    question = user("z" * 225)
    room = CONTEXT - len(
        server.tokenizer.apply_chat_template(
            list(question.messages), add_generation_prompt=True, return_dict=True
        )["input_ids"]
    )
    assert 10 < room < 40
    completion, other = answers(
        generator, [question, QUESTIONS[5]], GenerationSettings(max_new_tokens=60)
    )
    assert (completion.tokens, completion.finish) == (room, "length")
    assert other.tokens > room, "the others are not cut"


def test_an_abandoned_iterator_frees_its_threads(generator: Generator) -> None:
    before = set(threading.enumerate())
    running = generator.generate(QUESTIONS * 5, GREEDY)
    index, completion = next(running)
    assert completion == answers(generator, [(QUESTIONS * 5)[index]], GREEDY)[0]
    running.close()  # type: ignore[attr-defined]
    left = [
        thread
        for thread in threading.enumerate()
        if thread not in before and "process_request" not in thread.name
    ]
    assert not left, "only the server's own threads are there"
    assert answers(generator, QUESTIONS, GREEDY) == answers(generator, QUESTIONS, GREEDY), (
        "it still works"
    )


@pytest.mark.parametrize("system_role", ["auto", "user"])
def test_a_template_without_a_system_role(
    folder_without_system_role: Path, system_role: str
) -> None:
    """The system text goes before the first user message: alone on this machine, by the setting
    at a server, which cannot be asked.
    """
    asked = [user("Say it.", system="Answer with one number.")]
    merged = [user("Answer with one number.\n\nSay it.")]
    local = open_generator(
        GeneratorConfig(
            model=str(folder_without_system_role),
            backend="transformers",
            device="cpu",
            system_role=system_role,
        )
    )  # type: ignore[arg-type]
    expected = answers(local, merged, GREEDY)
    assert answers(local, asked, GREEDY) == expected
    local.close()
    if system_role == "user":
        with serving(folder_without_system_role) as server:
            remote = open_generator(
                GeneratorConfig(
                    model="tiny", base_url=server.base_url, system_role="user", retries=0
                )
            )
            assert answers(remote, asked, GREEDY) == expected


@pytest.mark.parametrize("backend", ["transformers", "vllm"])
def test_an_adapters_folder_is_a_model(backend: str, model_folder: Path, tmp_path: Path) -> None:
    """What the adapter's model writes is what its base with the weights merged writes."""
    if backend == "vllm" and importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vLLM")
    base, tokenizer = load_model_and_tokenizer(str(model_folder), dtype="float32")
    settings = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(base, settings)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    written = []
    for folder, by in (("whole", "transformers"), ("adapter", backend)):
        generator = open_generator(
            GeneratorConfig(model=str(tmp_path / folder), backend=by, dtype="float32", device="cpu")
            if by == "transformers"
            else GeneratorConfig(model=str(tmp_path / folder), backend=by, dtype="float32")
        )
        written.append([one.text for one in answers(generator, QUESTIONS, GREEDY)])
        generator.close()
    assert written[0] == written[1]
