"""Defaults without ``--config``: the quick start's, adapted to a user's model and data.

The quick start trains a model of 135M parameters, which does not know think blocks, on
short steps. Its format warm-up and its learning rate suit that model, its answer length
suits those steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from srl_agent.command_line import parse_stages, read_config
from srl_agent.inference.chat import ChatEncoder
from srl_agent.models.loading import load_config, load_tokenizer
from srl_agent.models.quickstart import QUICKSTART_NAMES
from srl_agent.rollouts.scorers import AnswerInstance
from srl_agent.rollouts.validation import spread_evenly
from srl_agent.training.data import for_tokenizer, load_data
from srl_agent.training.memory import Shape
from srl_agent.training.methods import METHODS
from srl_envs.errors import SRLError
from srl_envs.instances import StepInstance

_OWN_MODEL, _OWN_DATA = "model_name_or_path", frozenset({"source", "dataset_path"})
_FITTED = frozenset({"format_warmup_steps", "learning_rate", "max_completion_length"})
_PAPER_RATE, _QUICKSTART_RATE, _QUICKSTART_SIZE = 5e-7, 3e-5, 135e6
_THOUGHT = {"step": 512, "problem": 1024}
"""Tokens for the thought of a model without a warm-up, which may have any length."""
_EXAMPLES = 200

Fitted = dict[str, tuple[Any, str]]
"""Settings with their values, and why."""


def fitted(arguments: Sequence[str], types: Sequence[type]) -> tuple[list[str], str]:
    """The arguments, with defaults that fit in front of them.

    Args:
        arguments: Of a command line that may have no ``--config``.
        types: What it is parsed into; the first three are a run's.

    Returns:
        The arguments, and a message for the user. If a config is given, or neither a
        model nor data, the arguments are unchanged and the message is empty.

    Raises:
        ConfigError: An unknown setting, or a value that does not fit.
    """
    given = {part[2:].partition("=")[0] for part in arguments if part.startswith("--")}
    asked = given & {_OWN_MODEL, *_OWN_DATA}
    if not asked or given & {"config", "help"} or "-h" in arguments:
        return list(arguments), ""
    found = {} if given >= _FITTED else _found(arguments, types, given)
    found = {name: one for name, one in found.items() if name not in given}
    rest = [
        f"{name} {value}"
        for name, value in read_config("quickstart").items()
        if name not in given | found.keys()
    ]
    fit = "".join(f"{name} {value} ({why}), " for name, (value, why) in found.items())
    flags = [f"--{name}={value}" for name, (value, _) in found.items()]
    return [*flags, *arguments], (
        f"without --config, these apply: {fit}and from the quick start {', '.join(rest)}. Give"
        " --config, or flags for those that do not fit; python -m srl_agent.plan says what fits."
    )


def _found(arguments: Sequence[str], types: Sequence[type], given: set[str]) -> Fitted:
    _, [(_, (data, args, model, *_))] = parse_stages(types, "quickstart", arguments)
    found: Fitted = {}
    name, revision = model.model_name_or_path, model.model_revision
    own_model, own_length = name not in QUICKSTART_NAMES, "max_completion_length" in given
    if own_length and not own_model:
        return found
    try:
        config = load_config(name, revision, bool(args.trust_remote_code))
        if own_model:
            found |= _for_model(args, model, config)
        if not own_length:
            tokenizer = load_tokenizer(name, revision, bool(args.trust_remote_code))
            found |= _for_data(data, args, config, tokenizer, own_model)
    except (SRLError, ValueError):  # ValueError: transformers cannot build such a model
        pass  # the run itself says it, with all of its checks
    return found


def _for_model(args: Any, model: Any, config: Any) -> Fitted:
    """What depends on the model alone."""
    found: Fitted = {"format_warmup_steps": (0, "a warm-up only where it is asked for")}
    if config is None:
        return found
    size = Shape.of(config).parameters
    rate = max(_PAPER_RATE, min(_QUICKSTART_RATE, _QUICKSTART_RATE * _QUICKSTART_SIZE / size))
    if model.use_peft or not METHODS.named(args.method).samples:
        rate *= 10  # as the shipped configs for adapters, and the paper for SFT
    why = f"for {size / 1e6:.0f}M parameters, between the quick start's and the paper's"
    return found | {"learning_rate": (float(f"{rate:.1g}"), why)}


def _for_data(data: Any, args: Any, config: Any, tokenizer: Any, own_model: bool) -> Fitted:
    """The length of answers: by the expert's, the thought before them, and the context."""
    train = for_tokenizer(load_data(data, args), data, args, tokenizer).train
    method, chat = METHODS.named(args.method), ChatEncoder(tokenizer)
    shown = spread_evenly(train, _EXAMPLES)
    prompts, answers = [0], [0]
    for one in shown:
        prompt = chat(one.messages, args.answer_format)
        prompts.append(len(prompt.ids))
        if isinstance(one, StepInstance | AnswerInstance):
            answers.append(len(chat.written(prompt, method.expert_answer(one, args))))
    room = 2 * max(answers) + (_THOUGHT[method.asks(args)] if own_model else 0)
    why = f"the longest of {len(shown)} expert answers has {max(answers)} tokens"
    length = max(80, -(-room // 64) * 64)
    text = None if config is None else config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if isinstance(positions, int) and 0 < positions - max(prompts) < length:
        length = positions - max(prompts)
        why += f", the longest prompt {max(prompts)}, and the model has {positions} positions"
    return {"max_completion_length": (length, why)}
