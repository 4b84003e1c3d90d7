"""What settings may be, checked before anything is read.

Ranges, settings of TRL that have no effect here, and packages that a setting needs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as LORA_TARGETS
from trl import get_peft_config

from srl_envs.errors import ConfigError, MissingDependencyError, install_command, require

LOSS_TYPES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo", "luspo")

BEST_BY = ("eval_reward", "eval_format_rate")

_AT_LEAST_ONE = (
    *(
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_generations_eval",
        "max_completion_length",
        "num_iterations",
    ),
    *("rollout_rows", "warmup_instances", "max_sampling_rounds", "max_reward_characters"),
)
_AT_LEAST_ONE_OR_NONE = (
    "prompts_per_step",
    "steps_per_generation",
    "generation_batch_size",
    "save_total_limit",
    "max_prompt_length",
)
_NOT_NEGATIVE = (
    "seed",
    "beta",
    "epsilon",
    "max_grad_norm",
    "weight_decay",
    "top_k",
    "format_warmup_steps",
    "warmup_steps",
)
_POSITIVE = (
    "learning_rate",
    "warmup_learning_rate",
    "temperature",
    "logging_steps",
    "eval_steps",
    "save_steps",
)

_NO_EFFECT = {
    "log_completions": "answers to held-out steps are in the run folder's samples/ and report.html",
    "log_completions_hub_repo": (
        "answers to held-out steps are in the run folder's samples/ and report.html"
    ),
    "log_unique_prompts": (
        "answers to held-out steps are in the run folder's samples/ and report.html"
    ),
    "num_completions_to_print": (
        "answers to held-out steps are in the run folder's samples/ and report.html"
    ),
    "reward_weights": "the step reward is the only one",
    "max_tool_calling_iterations": "answers call no tools",
    "model_init_kwargs": (
        "use --dtype, --attn_implementation, --model_revision and --trust_remote_code"
    ),
    "chat_template_kwargs": "prompts are rendered by the tokenizer's chat template as it is",
    "remove_unused_columns": "instances have no columns",
    "pad_to_multiple_of": "batches are padded to their longest row",
    "do_train": "a run always trains",
    "do_predict": "a run always answers its test instances",
    "eval_on_start": "every run validates before its first step",
    "auto_find_batch_size": "lower --per_device_train_batch_size instead",
}
"""Settings of TRL that this trainer does not use, and what serves instead."""

_RESUMES_DIFFERENTLY = {
    "save_only_model": "checkpoints without the optimizer's state",
    "ignore_data_skip": "checkpoints that start with the first examples again",
}
"""Settings after which a killed run would go on to another model, and from what."""

_ONLY_TRL_SAMPLES = ("repetition_penalty", "generation_kwargs", "cache_implementation")

_PACKAGES = {
    "use_vllm": ("vllm", install_command("vllm")),
    "use_liger_kernel": ("liger_kernel", "pip install liger-kernel"),
    "deepspeed": ("deepspeed", install_command("deepspeed")),
}


_ABSENT: ContextVar[list[str] | None] = ContextVar("absent", default=None)


@contextmanager
def packages_may_be_missing() -> Iterator[list[str]]:
    """In the body, settings that need a missing package are not refused.

    For a plan of a run on another machine.

    Yields:
        The messages of what would have been refused.
    """
    absent: list[str] = []
    token = _ABSENT.set(absent)
    try:
        yield absent
    finally:
        _ABSENT.reset(token)


def _missing(message: str) -> None:
    absent = _ABSENT.get()
    if absent is None:
        raise MissingDependencyError(message)
    absent.append(message)


def check_ranges(args: Any) -> None:
    """Check each setting on its own, as it was given.

    Args:
        args: An :class:`~srl_agent.training.config.SRLConfig`, before TRL derived
            anything from it.

    Raises:
        ConfigError: A value is out of its range.
        MissingDependencyError: A package is missing that a setting needs.
    """
    for name, (package, install) in _PACKAGES.items():
        if getattr(args, name) and importlib.util.find_spec(package) is None:
            _missing(f"{name} needs the package {package!r}, which is not installed: {install}")
    _check_numbers(args)
    _check_choices(args)
    _check_effects(args)


def check_together(args: Any) -> None:
    """Check what depends on several settings, or on packages.

    Args:
        args: An :class:`~srl_agent.training.config.SRLConfig`, after TRL resolved it.

    Raises:
        ConfigError: Settings do not go together.
        MissingDependencyError: A package is missing that ``report_to`` needs.
    """
    if not (args.use_vllm or args.use_transformers_continuous_batching):
        for name in _ONLY_TRL_SAMPLES:
            value = getattr(args, name)
            require(
                value == _default(args, name),
                name,
                value,
                "left alone without --use_vllm: our own sampling does not have it",
            )
    if args.push_to_hub:
        raise ConfigError(
            "push_to_hub is not supported: upload the run folder's final/ when the run is finished"
            " (`hf upload OWNER/NAME RUN/final`)."
        )
    for package in ("matplotlib", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"A run ends with a report, which needs {package}: {install_command('train')}"
            )
    for name in args.report_to:
        _check_reporter(name)


def check_model(model: Any) -> None:
    """Check TRL's ``ModelConfig``.

    Raises:
        ConfigError: It asks for what is not supported.
    """
    for name in ("load_in_4bit", "load_in_8bit"):
        require(
            not getattr(model, name),
            name,
            True,
            "left alone: quantized training is not supported. Use LoRA in bfloat16 (--use_peft true"
            " --bf16 true)",
        )
    try:
        get_peft_config(model)
    except ValueError as error:  # PEFT names the values that it knows
        raise ConfigError(str(error)) from None
    require(model.lora_r >= 1, "lora_r", model.lora_r, "at least 1")
    if model.dtype not in (None, "auto", "float32", "bfloat16", "float16"):
        raise ConfigError(
            f"dtype is {model.dtype!r}: it must be auto, float32, bfloat16 or float16."
        )


def check_adapter(config: Any, model: Any) -> None:
    """Check that the modules that LoRA is to change are in the model.

    Args:
        config: TRL's ``ModelConfig``.
        model: The model, before anything wraps it.

    Raises:
        ConfigError: No module has such a name, or none is named for a model of a kind
            that PEFT does not know.
    """
    adapter = get_peft_config(config)
    if adapter is None or adapter.target_modules == "all-linear":
        return
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if type(module).__name__ in ("Linear", "Conv1D")
        }
    )
    if adapter.target_modules is None:
        adapter.target_modules = LORA_TARGETS.get(model.config.model_type)
    require(
        adapter.target_modules is not None
        and any(check_target_module_exists(adapter, name) for name, _ in model.named_modules()),
        "lora_target_modules",
        config.lora_target_modules,
        f"all-linear, or names of the model's modules, such as {', '.join(linear)}",
    )


def _check_numbers(args: Any) -> None:
    def each(names: tuple[str, ...], holds: Callable[[Any], bool], range: str) -> None:
        for name in names:
            value = getattr(args, name)
            require(value is None or holds(value), name, value, range)

    each(_AT_LEAST_ONE, lambda value: value >= 1, "at least 1")
    each(_AT_LEAST_ONE_OR_NONE, lambda value: value >= 1, "at least 1, or None")
    each(_NOT_NEGATIVE, lambda value: value >= 0, "0 or more")
    each(_POSITIVE, lambda value: value > 0, "greater than 0")
    each(
        ("num_generations",),
        lambda value: value >= 2,
        "at least 2: rewards are compared within a group",
    )
    require(args.max_completion_length is not None, "max_completion_length", None, "at least 1")
    each(("rollout_log_mb",), lambda value: value >= 8, "at least 8")
    each(("top_p",), lambda value: 0 < value <= 1, "in (0, 1]")
    each(("min_p",), lambda value: 0 <= value <= 1, "in [0, 1], or None")
    each(("min_reward_std",), lambda value: 0 <= value < 1, "in [0, 1)")
    each(
        ("max_steps",),
        lambda value: value >= 1 or value == -1,
        "at least 1, or -1 to go by num_train_epochs",
    )
    require(
        args.max_steps != -1 or args.num_train_epochs > 0,
        "num_train_epochs",
        args.num_train_epochs,
        "greater than 0, where max_steps is -1",
    )


def _check_choices(args: Any) -> None:
    require(
        args.loss_type in LOSS_TYPES, "loss_type", args.loss_type, f"one of {', '.join(LOSS_TYPES)}"
    )
    require(
        args.importance_sampling_level in ("token", "sequence"),
        "importance_sampling_level",
        args.importance_sampling_level,
        "token or sequence",
    )
    if (
        isinstance(args.deepspeed, str)
        and not args.deepspeed.lstrip().startswith("{")
        and not Path(args.deepspeed).is_file()
    ):
        raise ConfigError(
            f"deepspeed is {args.deepspeed!r}: there is no such file. Give the path of a DeepSpeed"
            " configuration."
        )
    require(
        args.metric_for_best_model in BEST_BY,
        "metric_for_best_model",
        args.metric_for_best_model,
        f"{' or '.join(BEST_BY)}, which every validation has",
    )


def _check_effects(args: Any) -> None:
    for name, what in _RESUMES_DIFFERENTLY.items():
        require(
            not getattr(args, name),
            name,
            True,
            f"false: a killed run would resume from {what}, to another model than an undisturbed"
            " run",
        )
    for name, instead in _NO_EFFECT.items():
        require(
            getattr(args, name) == _default(args, name),
            name,
            getattr(args, name),
            f"left alone, since it has no effect here: {instead}",
        )


def _check_reporter(name: str) -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    if name not in INTEGRATION_TO_CALLBACK:
        raise ConfigError(
            f"report_to is {name!r}: it must be none or all alone, or some of"
            f" {', '.join(INTEGRATION_TO_CALLBACK)}. metrics.jsonl is always written."
        )
    try:
        INTEGRATION_TO_CALLBACK[name]()
    except (
        RuntimeError,
        ImportError,
    ) as error:  # each integration's own way to say that its package is missing
        raise MissingDependencyError(
            f"report_to {name}: {str(error).splitlines()[0]} metrics.jsonl is written without it."
        ) from error


def _default(args: Any, name: str) -> Any:
    return type(args).__dataclass_fields__[name].default
