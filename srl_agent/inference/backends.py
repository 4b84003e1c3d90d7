"""Opens a generator by its settings: on this machine with transformers or vLLM, or at a server."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace

from srl_agent.inference.chat import SYSTEM_ROLES, SystemRole
from srl_agent.inference.chat_client import Endpoint
from srl_agent.inference.generator import Generator
from srl_agent.inference.servers import addresses
from srl_envs.errors import ConfigError

BACKENDS = ("auto", "transformers", "vllm", "openai")


@dataclass
class GeneratorConfig:
    """Which model answers, and who runs it."""

    model: str = field(
        default="quickstart",
        metadata={
            "help": "Hub name, folder, or quickstart for the built-in "
            "SmolLM2-135M-Instruct; with base_url, the name that the server knows it by."
        },
    )
    backend: str = field(
        default="auto",
        metadata={
            "help": "transformers (CPU or GPU), vllm (GPU, inside this process), "
            "or openai (any OpenAI-compatible server at base_url). auto: openai with a "
            "base_url, else vllm where it is installed and a GPU is there, else transformers.",
            "choices": list(BACKENDS),
        },
    )
    base_url: str | None = field(
        default=None,
        metadata={
            "help": "Address of the server, up to and with /v1, such as "
            "http://localhost:8000/v1. Several, between commas, share the requests: each has "
            "the same model, and gets the key. openai only."
        },
    )
    api_key_variable: str = field(
        default="OPENAI_API_KEY",
        metadata={
            "help": "Environment variable that holds the server's key; "
            "where it is not set, none is sent. openai only."
        },
    )
    system_role: SystemRole = field(
        default="auto",
        metadata={
            "help": "Where a system message goes. auto: the system role of the chat template, "
            "or the front of the first user message where the template has none (with a server, "
            "auto takes the role). user: always the front of the first user message."
        },
    )
    dtype: str = field(
        default="auto",
        metadata={
            "help": "Of the weights. auto: bfloat16 on a GPU, float32 on a CPU; "
            "vllm takes the checkpoint's. Not for openai.",
            "choices": ["auto", "bfloat16", "float32"],
        },
    )
    device: str = field(
        default="auto",
        metadata={
            "help": "cpu, cuda or cuda:N; auto takes a GPU where there is one. transformers only."
        },
    )
    model_revision: str | None = field(
        default=None,
        metadata={"help": "Branch, tag or commit on the hub; None takes main. Not for openai."},
    )
    trust_remote_code: bool = field(
        default=False,
        metadata={"help": "Run the Python code that some models bring along. Not for openai."},
    )
    batch_rows: int = field(
        default=64,
        metadata={"help": "Completions written side by side, at most. transformers only."},
    )
    batch_tokens: int = field(
        default=262_144,
        metadata={
            "help": "Tokens that they may take together, each counted with the longest prompt "
            "and max_new_tokens; lower it if memory runs out. "
            "262144 tokens of a 7B model with grouped queries take some 15 GB in bfloat16. "
            "transformers only."
        },
    )
    tensor_parallel_size: int = field(
        default=1, metadata={"help": "GPUs over which the model is spread. vllm only."}
    )
    max_model_len: int | None = field(
        default=None,
        metadata={
            "help": "Tokens of a prompt with its completion, at most, to bound memory; "
            "None takes the model's context. vllm only."
        },
    )
    concurrency: int = field(
        default=32,
        metadata={"help": "Requests under way at the same time at each server. openai only."},
    )
    timeout: float = field(
        default=600.0,
        metadata={
            "help": "Seconds that the server may be silent, also while it writes an answer; "
            "then it is asked again. openai only."
        },
    )
    retries: int = field(
        default=6,
        metadata={
            "help": "How often a request is sent again after a time-out, a lost connection, "
            "HTTP 429 or 5xx, with pauses that double from 1 s to 60 s "
            "(6 of them: about a minute in all) or last as the server asks. openai only."
        },
    )

    def __post_init__(self) -> None:
        for name, choices in (
            ("backend", BACKENDS),
            ("system_role", SYSTEM_ROLES),
            ("dtype", ("auto", "bfloat16", "float32")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}: use one of {', '.join(choices)}."
                )
        if self.base_url and self.backend not in ("auto", "openai"):
            raise ConfigError(
                f"base_url is set, but backend is {self.backend}: only openai asks a server."
            )
        if self.backend == "openai" and not self.base_url:
            raise ConfigError(
                "backend is openai: say where with base_url, such as http://localhost:8000/v1."
            )
        for url in addresses(self.base_url) if self.base_url else ():
            Endpoint(url)


def open_generator(config: GeneratorConfig) -> Generator:
    """Load the model, or prepare to ask the server; the caller closes what this returns.

    Raises:
        ConfigError, DataError, MissingDependencyError, InfrastructureError: As the
        backend's constructor says.
    """
    config = resolved(config)
    if config.backend == "openai":
        from srl_agent.inference.openai_generator import OpenAIGenerator

        assert config.base_url is not None
        return OpenAIGenerator(
            config.model,
            config.base_url,
            api_key_variable=config.api_key_variable,
            concurrency=config.concurrency,
            timeout=config.timeout,
            retries=config.retries,
            system_role=config.system_role,
        )
    if config.backend == "vllm":
        from srl_agent.inference.vllm_generator import VLLMGenerator

        return VLLMGenerator(
            config.model,
            dtype=config.dtype,
            tensor_parallel_size=config.tensor_parallel_size,
            max_model_len=config.max_model_len,
            system_role=config.system_role,
            revision=config.model_revision,
            trust_remote_code=config.trust_remote_code,
        )
    from srl_agent.inference.transformers_generator import TransformersGenerator

    return TransformersGenerator(
        config.model,
        dtype=config.dtype,
        device=config.device,
        batch_rows=config.batch_rows,
        batch_tokens=config.batch_tokens,
        system_role=config.system_role,
        revision=config.model_revision,
        trust_remote_code=config.trust_remote_code,
    )


def resolved(config: GeneratorConfig) -> GeneratorConfig:
    """The same settings with ``auto`` replaced by what it means on this machine.

    vLLM takes the checkpoint's dtype: that stays ``auto``.

    Raises:
        ConfigError: There is no such device.
    """
    if config.base_url:
        return replace(config, backend="openai")
    backend = config.backend
    if backend == "auto":
        backend = (
            "vllm"
            if config.device != "cpu"
            and importlib.util.find_spec("vllm") is not None
            and _has_gpu()
            else "transformers"
        )
    if backend == "vllm":
        return replace(config, backend=backend)
    from srl_agent.inference.transformers_generator import device_named, dtype_named

    device = device_named(config.device)
    return replace(
        config, backend=backend, device=str(device), dtype=dtype_named(config.dtype, device)
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
