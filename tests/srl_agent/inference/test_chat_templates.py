"""Families of chat templates, in small: each behaves as the family's own where prompts begin,
where system messages go, and where think blocks are opened or closed.

Every template is put into a real tokenizer. Whatever the family, instructions and question
reach the model once and unchanged, the block is opened at most once, and a perfect answer
has the reward 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from srl_agent.inference import chat as chat_module
from srl_agent.inference.chat import ChatEncoder, end_token_ids
from srl_agent.inference.generator import GenerationSettings, Request
from srl_agent.inference.transformers_generator import TransformersGenerator
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.rollouts.instance_stream import InstanceStream, PromptStream
from srl_agent.rollouts.sampler import score
from srl_agent.rollouts.scorers import AnswerInstance, AnswerScorer, StepScorer
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.sft import expert_example
from srl_envs.errors import ConfigError
from srl_envs.instances import StepInstance
from srl_envs.prompts.step import MATH_SYSTEM_PROMPT, Message
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.trajectory import ExpertStep, Trajectory

SYSTEM = MATH_SYSTEM_PROMPT
QUESTION = "Problem:\nWhat is 3 * 4?"
CONVERSATION: list[Message] = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": QUESTION},
]
SOLUTION = Trajectory(
    "t", "What is 3 * 4?", (ExpertStep("3 * 4 = 12.", thought="Multiply."),), answer="12"
)
PLAIN, PREFILLED = ResponseFormat(), ResponseFormat(think_prefilled=True)
BARE = ResponseFormat(require_think=False)


def turns(before: str = "", after: str = "<|im_end|>\n", start: str = "") -> str:
    """Messages as most families write them."""
    return (
        "{% for m in messages %}"
        + before
        + f"{{{{ '<|im_start|>' + m.role + '\n' + m.content + '{after}' }}}}"
        + "{% endfor %}{% if add_generation_prompt %}"
        + f"{{{{ '<|im_start|>assistant\n{start}' }}}}"
        + "{% endif %}"
    )


CHATML = turns()
STRIPS = (  # of earlier answers, what was thought
    "{% if m.role == 'assistant' %}{% set m = {'role': m.role,"
    " 'content': m.content.split('</think>')[-1]} %}{% endif %}"
)
ONLY_USER = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, and what it does.

    Attributes:
        template: The chat template.
        role: Whether a system message is left to the template.
        starts: Where the prompt already is: "" before the block, "open" inside it, "closed"
            after an empty one.
        tags: How the model itself writes the block.
        special: Tokens that the family's tokenizer drops as special.
    """

    template: str
    role: bool = True
    starts: str = ""
    tags: tuple[str, str] = ("<think>", "</think>")
    special: tuple[str, ...] = ()


FAMILIES = {
    "chatml": Family(CHATML),
    "qwen2.5, a default system message": Family(
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
        + CHATML
    ),
    "qwen3 hybrid": Family(
        turns(STRIPS)
        + "{% if enable_thinking is defined and enable_thinking is false %}"
        + "<think>\n\n</think>\n\n{% endif %}"
    ),
    "qwen3 that does not think": Family(
        turns(STRIPS, start="<think>\\n\\n</think>\\n\\n"), starts="closed"
    ),
    "qwen3 thinking, qwq": Family(turns(STRIPS, start="<think>\\n"), starts="open"),
    "olmo 3 thinking": Family(turns(start="<think>"), starts="open"),
    "minimax, the tag in its own line": Family(turns(start="\\n <think>\\n\\n"), starts="open"),
    "deepseek r1 distills": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}"
        "{% elif m.role == 'user' %}<|User|>{{ m.content }}{% else %}"
        "<|Assistant|>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}",
        starts="open",
    ),
    "deepseek v3.1, closed without an opening": Family(
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
        "<|Assistant|>{% if thinking is defined and thinking %}<think>{% else %}</think>"
        "{% endif %}",
        starts="closed",
    ),
    "glm 4.5 that does not think": Family(
        "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
        "<|assistant|>\n<think></think>",
        starts="closed",
    ),
    "smollm3, switches in system messages": Family(
        "{% if messages[0].role == 'system' %}<|im_start|>system\n"
        "{{ messages[0].content.replace('/no_think', '').replace('/think', '') }}<|im_end|>\n"
        "{% set messages = messages[1:] %}{% endif %}" + CHATML,
        role=False,
    ),
    "gemma 2, mixtral: no system role": Family(ONLY_USER, role=False),
    "gemma 3, first user message": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}"
        "{% set first = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}"
        "{% else %}{% set first = '' %}{% endif %}{% for m in messages %}<start_of_turn>"
        "{{ m.role }}\n{{ first if loop.first }}{% if m.content is string %}{{ m.content | trim }}"
        "{% endif %}<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
    ),
    "mistral small, last user message": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
        "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}[INST]"
        "{% if loop.last and system is defined %}{{ system + '\n\n' }}{% endif %}"
        "{{ m.content }}[/INST]{% endfor %}"
    ),
    "phi 3 small: drops system messages": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{{ m.content }}"
        "<|end|>\n<|assistant|>\n{% elif m.role == 'assistant' %}{{ m.content }}{% endif %}"
        "{% endfor %}",
        role=False,
    ),
    "llava: contents in parts": Family(
        "{% for m in messages %}{{ m.role | upper }}: {% for part in m.content %}"
        "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %} {% endfor %}"
        "ASSISTANT:"
    ),
    "exaone deep": Family(
        turns(start="<thought>\\n"), starts="open", tags=("<thought>", "</thought>")
    ),
    "magistral": Family(
        turns() + "{# drafts go between [THINK] and [/THINK] #}",
        tags=("[THINK]", "[/THINK]"),
        special=("[THINK]", "[/THINK]"),
    ),
    "seed-oss with an empty budget": Family(
        turns(start="<seed:think><reflect>none</reflect></seed:think>"),
        starts="closed",
        tags=("<seed:think>", "</seed:think>"),
    ),
    "command a": Family(
        turns(start="<|START_THINKING|>"),
        starts="open",
        tags=("<|START_THINKING|>", "<|END_THINKING|>"),
        special=("<|START_THINKING|>", "<|END_THINKING|>"),
    ),
    "kimi-vl thinking": Family(
        turns() + "{# ◁think▷ #}", tags=("◁think▷", "◁/think▷"), special=("◁think▷", "◁/think▷")
    ),
    "gemma 4, an empty channel that is closed": Family(
        turns(start="<|channel>thought\\n<channel|>"),
        starts="closed",
        tags=("<|channel>thought\n", "<channel|>"),
        special=("<|channel>", "<channel|>"),
    ),
    "gemma 4, the channel is the model's": Family(
        turns() + "{# removed from history: <|channel>thought and <channel|>, also <think> #}",
        tags=("<|channel>thought\n", "<channel|>"),
        special=("<|channel>", "<channel|>"),
    ),
    "minimax m3": Family(turns() + "{# <mm:think> #}", tags=("<mm:think>", "</mm:think>")),
    "hunyuan 3, tags that the template composes": Family(
        turns(start="' + '<think{}></think{}>'.format(':open', ':open') + '"),
        starts="closed",
        tags=("<think:open>", "</think:open>"),
        special=("<think:open>", "</think:open>"),
    ),
    "apriel, a sentence opens the thought": Family(
        turns(start="Here are my reasoning steps:\\n"),
        starts="open",
        tags=("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
    ),
    "nemotron nano 2, takes /think out of every message": Family(
        CHATML.replace("m.content", "m.content.replace('/think', '')") + "{{ '<think>\n' }}",
        starts="open",
    ),
    "own tags, <reasoning>": Family(
        turns(start="<reasoning>\\n"), starts="open", tags=("<reasoning>", "</reasoning>")
    ),
    "own tags, <thinking>": Family(
        turns(start="<thinking>\\n"), starts="open", tags=("<thinking>", "</thinking>")
    ),
    "special tags": Family(
        turns(start="<think>\\n"), starts="open", special=("<think>", "</think>")
    ),
    "special tags that the model writes": Family(CHATML, special=("<think>", "</think>")),
}


@pytest.fixture(params=FAMILIES, ids=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def tokenizer_of(family: Family, folder: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = family.template
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    for token in family.special:
        tokenizer.add_tokens(AddedToken(token, special=True, normalized=False), special_tokens=True)
    return tokenizer


@pytest.fixture
def tokenizer(family: Family, tiny_model_dir: Path) -> Any:
    return tokenizer_of(family, tiny_model_dir)


def text_of(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text


def reply(tokenizer: Any, family: Family, opened: bool, text: str) -> list[int]:
    """A perfect model's tokens: the rest of ``text`` in its own tags, and an end."""
    own = text.replace("<think>", family.tags[0]).replace("</think>", family.tags[1])
    rest = own.removeprefix(family.tags[0]) if opened else own
    return [*tokenizer(rest, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def test_instructions_and_question_reach_the_model_once(family: Family, tokenizer: Any) -> None:
    text = text_of(tokenizer, ChatEncoder(tokenizer)(CONVERSATION).ids)
    assert text.count(SYSTEM) == text.count(QUESTION) == 1
    if not family.role:
        assert f"{SYSTEM}\n\n{QUESTION}" in text
    assert text.count("<|begin|>") == ("bos_token" in family.template), "no second one"


@pytest.mark.parametrize("format", [None, PLAIN, PREFILLED, BARE])
def test_the_block_is_open_where_it_must_be_and_never_twice(
    family: Family, tokenizer: Any, format: ResponseFormat | None
) -> None:
    prompt = ChatEncoder(tokenizer)(CONVERSATION, format)
    end = text_of(tokenizer, prompt.ids).rpartition(QUESTION)[2]
    opens, closes = end.count(family.tags[0]), end.count(family.tags[1])
    is_open = family.starts == "open" or format == PREFILLED
    assert prompt.opened == ("<think>" if is_open else "")
    if is_open:
        assert (opens, closes) == (1, 0) and end.rstrip().endswith(family.tags[0].rstrip())
    elif family.starts == "closed":
        assert closes == (format in (None, BARE)) and opens <= closes
    else:
        assert opens == closes == 0


@pytest.mark.parametrize("format", [PLAIN, PREFILLED])
def test_a_perfect_answer_has_the_reward_1(
    family: Family, tokenizer: Any, format: ResponseFormat
) -> None:
    chat, scorer = ChatEncoder(tokenizer), StepScorer(RewardSettings(format=format))
    instance = StepInstance(SOLUTION, 0)
    prompt = chat(instance.messages, format)
    answer = "<think>Multiply.</think>\n3 * 4 = 12."
    ids = reply(tokenizer, family, bool(prompt.opened), answer)
    texts, rewards = score(chat, [prompt], [instance], [ids], [tokenizer.eos_token_id], scorer)
    assert texts == [answer] and rewards[0].value == 1.0
    assert rewards[0].response.thought == "Multiply."


@pytest.mark.parametrize("prefilled", [False, True])
def test_what_supervised_learning_teaches_has_the_reward_1(
    family: Family, tokenizer: Any, prefilled: bool, tmp_path: Path
) -> None:
    args = SRLConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, think_prefilled=prefilled)
    chat, instance = ChatEncoder(tokenizer), StepInstance(SOLUTION, 0)
    row = expert_example(chat, instance, args)
    prompt = chat(instance.messages, args.answer_format)
    learned = row["input_ids"][len(prompt.ids) :]
    assert row["input_ids"] == prompt.ids + learned and sum(row["completion_mask"]) == len(learned)
    (reward,) = score(
        chat,
        [prompt],
        [instance],
        [learned],
        [tokenizer.eos_token_id],
        StepScorer(args.reward_settings),
    )[1]
    assert reward.value == 1.0
    text = text_of(tokenizer, row["input_ids"]).rpartition(QUESTION)[2]
    assert text.count(family.tags[0]) == text.count(family.tags[1]) == 1


def test_a_whole_solution_is_learned_and_graded_outside_the_block(
    family: Family, tokenizer: Any, tmp_path: Path
) -> None:
    args = SRLConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, method="rlvr")
    chat, instance, scorer = ChatEncoder(tokenizer), AnswerInstance(SOLUTION), AnswerScorer()
    prompt = chat(instance.messages, args.answer_format)
    learned = expert_example(chat, instance, args)["input_ids"][len(prompt.ids) :]
    ends = [tokenizer.eos_token_id]
    texts, rewards = score(chat, [prompt], [instance], [learned], ends, scorer)
    scorer.close()
    assert rewards[0].value == 1.0
    assert texts[0].startswith("<think></think>") == (family.starts == "open")


def test_training_and_evaluation_ask_the_same(
    family: Family, tokenizer: Any, tiny_model: Any, tmp_path: Path
) -> None:
    tiny_model.resize_token_embeddings(len(tokenizer))
    tiny_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    evaluated = TransformersGenerator(str(tmp_path))
    instance = StepInstance(SOLUTION, 0)
    for format in (PLAIN, PREFILLED):
        stream = InstanceStream(1, 0)
        ((_, trained),) = PromptStream(
            [instance], stream, ChatEncoder(tokenizer), format, None
        ).take(1)
        request = Request(tuple(instance.messages), format=format)
        (prompt,) = evaluated._prompts([request])
        assert prompt.written == trained
        ((_, completion),) = evaluated.generate([request], GenerationSettings(max_new_tokens=3))
        assert completion.text.startswith(trained.opened)


@pytest.mark.parametrize("special", [False, True])
def test_other_special_tokens_are_dropped_think_tags_are_not(
    tiny_model_dir: Path, special: bool
) -> None:
    tags = ("<think>", "</think>")
    tokenizer = tokenizer_of(Family(CHATML, special=tags if special else ()), tiny_model_dir)
    text = "<|begin|><think> so\n</think>\n 12 .<|end|><|user|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ChatEncoder(tokenizer).decoded(ids) == "<think> so\n</think>\n 12 ."


def test_a_question_that_ends_in_a_tag_opens_nothing(tiny_model_dir: Path) -> None:
    for template in (CHATML, "{% for m in messages %}{{ m.content }}{% endfor %}"):
        chat = ChatEncoder(tokenizer_of(Family(template), tiny_model_dir))
        for tag in ("<think>", "<think>\n", "think", "</think>"):
            question: list[Message] = [{"role": "user", "content": f"What is {tag}"}]
            assert chat(question).opened == "" and chat(question, PREFILLED).opened == "<think>"


def test_a_switch_in_the_system_message_changes_how_the_prompt_ends(tiny_model_dir: Path) -> None:
    template = (
        CHATML + "{% if '/no_think' in messages[0].content %}<think>\n\n</think>\n{% endif %}"
    )
    tokenizer = tokenizer_of(Family(template), tiny_model_dir)
    conversation: list[Message] = [{"role": "system", "content": "/no_think"}, CONVERSATION[1]]
    end = text_of(tokenizer, ChatEncoder(tokenizer)(conversation, PREFILLED).ids)
    assert end.endswith("assistant\n<think>") and end.count("<think>") == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "chat_template"),
        ("{{ date_string | upper }}{{ today.year }}" + CHATML, "'today' is undefined"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "leaves out or changes the text"),
        ("{{ messages[0].content + 1 }}", "refuses a conversation"),
        ("{{ raise_exception('never') }}", "never"),
        ("{% for m in messages %}", "refuses a conversation"),
        ("{{ 1 // 0 }}" + CHATML, "refuses a conversation"),
        ("{% for i in range(10 ** 9) %}{% endfor %}" + CHATML, "refuses a conversation"),
    ],
)
def test_a_template_that_cannot_ask_is_refused_in_one_line(
    tiny_model_dir: Path, template: str | None, message: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.chat_template = template
    with pytest.raises(ConfigError, match=message) as error:
        ChatEncoder(tokenizer)
    assert "Use another model, or put a chat_template.jinja into its folder" in str(error.value)


def test_a_model_that_thinks_in_channels_is_refused_where_a_block_is_needed(
    tiny_model_dir: Path,
) -> None:
    template = CHATML + "{# thoughts: <|channel|>analysis<|message|> #}"
    chat = ChatEncoder(tokenizer_of(Family(template), tiny_model_dir))
    assert chat(CONVERSATION).opened == ""
    with pytest.raises(ConfigError, match="serve it with a reasoning parser and give --base_url"):
        chat(CONVERSATION, PLAIN)


@pytest.mark.parametrize(
    "channel",
    [
        "<|begin|>assistant<|think|>",
        "<|start|>assistant to=self<|message|>",
        "<|im_start|>assistant/think\n",
        "{{ '<|open|>' + 'think' + '<|sep|>' }}",
    ],
)
def test_other_models_with_channels_are_refused_too(tiny_model_dir: Path, channel: str) -> None:
    chat = ChatEncoder(tokenizer_of(Family(CHATML + channel), tiny_model_dir))
    with pytest.raises(ConfigError, match="writes its thoughts in channels"):
        chat(CONVERSATION, PREFILLED)


def test_a_template_that_does_not_begin_the_answer_is_refused(tiny_model_dir: Path) -> None:
    messages = CHATML.partition("{% if add_generation_prompt")[0]
    with pytest.raises(ConfigError, match=r"ignores add_generation_prompt, and '<.im_start.>assi"):
        ChatEncoder(tokenizer_of(Family(messages), tiny_model_dir))
    begun = messages.replace("{{", "{% if m.role == 'assistant' %}<|START_RESPONSE|>{% endif %}{{")
    for template in (begun.replace("<|im_start|>' + m.role + '\n", ""), CHATML):
        assert ChatEncoder(tokenizer_of(Family(template), tiny_model_dir))(CONVERSATION).ids


@pytest.mark.parametrize("end", ["<|end|>", "<|end_of_turn|>", "<|other|>"])
def test_what_ended_an_answer_is_not_written_twice(tiny_model_dir: Path, end: str) -> None:
    """Gemma's and Phi's turns end with another token than the tokenizer's own."""
    family = Family(turns(after="<|end_of_turn|>\\n"), special=("<|end_of_turn|>", "<|other|>"))
    tokenizer = tokenizer_of(family, tiny_model_dir)
    chat, ended = ChatEncoder(tokenizer), tokenizer.convert_tokens_to_ids(end)
    follows = "\n<|im_start|>user\nGo on.<|end_of_turn|>\n<|im_start|>assistant\n"
    message: Message = {"role": "user", "content": "Go on."}
    text = text_of(tokenizer, chat.continued(message, ended=ended).ids)
    assert text == ("" if end == "<|end_of_turn|>" else "<|end_of_turn|>") + follows


def test_where_instructions_go_is_said_once_a_model(
    tiny_model_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chat_module._say_merged.cache_clear()
    tokenizer = tokenizer_of(Family(ONLY_USER), tiny_model_dir)
    with caplog.at_level("INFO"):
        for _ in range(3):
            ChatEncoder(tokenizer)
        ChatEncoder(tokenizer_of(Family(CHATML), tiny_model_dir))
    said = [record.message for record in caplog.records if "system message" in record.message]
    assert len(said) == 1 and "the front of the first user message" in said[0]


# ---------------------------------------------------------------- ends and padding


def saved(tiny_model_dir: Path, folder: Path, **changes: Any) -> Path:
    """The tiny model with other entries in its tokenizer_config.json; None takes one away."""
    model, tokenizer = load_model_and_tokenizer(str(tiny_model_dir), dtype="float32")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(
        json.dumps({key: value for key, value in settings.items() if value is not None})
    )
    return folder


@pytest.mark.parametrize("pad", [None, "", "<|a token that the model has no row for|>"])
def test_a_padding_token_that_cannot_be_used_becomes_the_end_token(
    tiny_model_dir: Path, tmp_path: Path, pad: str | None
) -> None:
    folder = saved(tiny_model_dir, tmp_path, pad_token=pad)
    model, tokenizer = load_model_and_tokenizer(str(folder), dtype="float32")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 0
    assert model.config.pad_token_id == model.generation_config.pad_token_id == 0


def test_the_models_end_serves_where_the_tokenizer_names_none(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = saved(tiny_model_dir, tmp_path, eos_token=None, pad_token=None)
    model, tokenizer = load_model_and_tokenizer(str(folder), dtype="float32")
    assert tokenizer.eos_token == tokenizer.pad_token == "<|end|>"
    assert end_token_ids(model, tokenizer) == [0, *range(20, 60)]


@pytest.mark.parametrize("own", [None, 5, [5, 7]])
def test_every_end_token_ends_an_answer(tiny_model: Any, tiny_tokenizer: Any, own: Any) -> None:
    tiny_model.generation_config.eos_token_id = own
    ends = [] if own is None else [own] if isinstance(own, int) else own
    assert end_token_ids(tiny_model, tiny_tokenizer) == [0, *ends]
    tiny_model.generation_config = None
    assert end_token_ids(tiny_model, tiny_tokenizer) == [0]


def test_what_ends_an_answer_is_not_part_of_it(tiny_tokenizer: Any) -> None:
    chat, instance = ChatEncoder(tiny_tokenizer), StepInstance(SOLUTION, 0)
    end = tiny_tokenizer.convert_tokens_to_ids("?")  # not a special token
    answer = "<think>Why?</think>\n3 * 4 = 12."
    ids = tiny_tokenizer(answer, add_special_tokens=False)["input_ids"]
    completions = [[*ids, end], [*ids, tiny_tokenizer.eos_token_id], ids]
    prompts, instances = [chat(instance.messages)] * 3, [instance] * 3
    ends = [end, tiny_tokenizer.eos_token_id]
    scorer = StepScorer(RewardSettings())
    texts, rewards = score(chat, prompts, instances, completions, ends, scorer)
    assert texts == [answer] * 3
    assert [reward.value for reward in rewards] == [1.0, 1.0, -1.0]
    assert rewards[2].response.error == "truncated"


def test_a_model_of_text_and_images_is_loaded_and_asked(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    """Its configuration has no padding token of its own: its text model's counts."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config=sizes
        | {
            "vocab_size": 408,
            "num_hidden_layers": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "pad_token_id": None,
            "eos_token_id": [0, 9],
        },
        vision_config=sizes | {"num_hidden_layers": 1, "image_size": 28, "patch_size": 14},
        image_token_index=401,
        boi_token_index=402,
        eoi_token_index=403,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer_of(FAMILIES["gemma 3, first user message"], tiny_model_dir).save_pretrained(tmp_path)
    model, tokenizer = load_model_and_tokenizer(str(tmp_path), dtype="float32")
    assert not hasattr(model.config, "pad_token_id")
    assert model.config.get_text_config().pad_token_id == tokenizer.pad_token_id == 0
    generator = TransformersGenerator(str(tmp_path))
    requests = [Request(tuple(CONVERSATION), number, PLAIN) for number in range(2)]
    answered = list(generator.generate(requests, GenerationSettings(4, temperature=1.0)))
    assert sorted(index for index, _ in answered) == [0, 1]
