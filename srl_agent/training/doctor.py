"""What is wrong with a machine, a model or data for a run: each a line, with a cure.

Nothing is trained and no weights are loaded. What a run would refuse is asked of the
functions that refuse it.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from packaging.requirements import Requirement
from trl import get_peft_config

from srl_agent.inference.chat import ChatEncoder
from srl_agent.models.loading import load_config, load_tokenizer, weights_of
from srl_agent.rollouts.agent_tasks import AgentInstances
from srl_agent.rollouts.validation import spread_evenly
from srl_agent.training.data import LearningData, for_tokenizer, load_data
from srl_agent.training.fit import check_fits, load_of
from srl_agent.training.memory import GIB, Shape, plan
from srl_agent.training.prompt_length import check_lengths, positions_of
from srl_agent.training.setups import Fit, fits, known_config
from srl_envs.errors import SRLError
from srl_envs.sandbox import BASE_IMAGE, SandboxLimits
from srl_envs.sandbox.engine import connect
from srl_envs.sandboxes import SANDBOXES

State = Literal["ok", "warning", "fails"]

_TESTED_PYTHON = ((3, 10), (3, 13))
_OF_A_MACHINE = ("packages", "model", "data")
_SHOWN_PROMPTS = 300  # of the training prompts, how many are measured


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        about: What was looked at.
        state: fails: the run would fail.
        text: What was found and, unless it is ok, what to do.
    """

    about: str
    state: State
    text: str

    def __str__(self) -> str:
        return f"{self.state:<7}  {self.about:<10}  {self.text}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is to take place.

    Attributes:
        gpus: How many GPUs; 0 on a CPU.
        room: Bytes of each; on a CPU, of the memory that is free.
        elsewhere: Whether that is not this machine.
    """

    gpus: int
    room: int
    elsewhere: bool

    @classmethod
    def here(cls) -> Place:
        """This machine."""
        if torch.cuda.is_available():
            room = torch.cuda.get_device_properties(0).total_memory
            return cls(torch.cuda.device_count(), room, False)
        return cls(0, _free_memory(), False)


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of a run.

    Attributes:
        findings: The lines.
        config: The model's, of transformers; None if it could not be read.
        data: What is learned from; None if it could not be read.
        tokenizer: The model's; None if it could not be read.
        fits: The set-ups of the GPUs; empty on a CPU.
    """

    findings: list[Finding]
    config: Any
    data: LearningData | None
    tokenizer: Any
    fits: list[Fit]

    @property
    def fails(self) -> bool:
        """Whether the run would fail."""
        return any(finding.state == "fails" for finding in self.findings)


def examine(data: Any, args: Any, model: Any, place: Place, absent: Iterable[str]) -> Examined:
    """Look at everything that a run needs.

    Args:
        data: A :class:`~srl_agent.training.config.DataConfig`.
        args: An :class:`~srl_agent.training.config.SRLConfig`.
        model: TRL's ``ModelConfig``.
        place: Where the run is to take place.
        absent: Messages about packages that the settings need and that are missing.
    """
    name, revision = model.model_name_or_path, model.model_revision
    found = list(_machine(args, place, absent))
    tokenizer: Any = None
    parts: LearningData | None = None
    config = known_config(name)

    def read_model() -> Iterator[Finding]:
        nonlocal config, tokenizer
        tokenizer = load_tokenizer(name, revision, args.trust_remote_code)
        config = load_config(name, revision, args.trust_remote_code) or config
        yield Finding("model", "ok", f"{name}: {weights_of(name, revision)}")

    def read_data() -> Iterator[Finding]:
        nonlocal parts
        parts = load_data(data, args)
        yield Finding("data", "ok", parts.summary)

    found += _tried("model", read_model)
    found += _tried("template", lambda: _template(tokenizer, args) if tokenizer else ())
    found += _tried("data", read_data)
    longest: int | None = None
    if parts and tokenizer and config:
        lengths, longest = _examined_lengths(data, args, config, tokenizer, parts)
        found += lengths
    gpus, room = place.gpus, place.room
    table = fits(args, model, config, gpus, room, longest) if config and gpus else []
    if config:
        found += _tried("memory", lambda: _memory(args, model, config, place, table, longest))
        if not place.elsewhere:
            found += _tried("disk", lambda: _disk(args, model, config))
    if parts and not place.elsewhere:
        agents = parts
        found += _tried("sandbox", lambda: _sandbox(args, agents))
    if place.elsewhere:  # what is not here may be there
        found = [_only_a_warning(one) if one.about in _OF_A_MACHINE else one for one in found]
    return Examined(found, config, parts, tokenizer, table)


def _only_a_warning(one: Finding) -> Finding:
    return replace(one, state="warning") if one.state == "fails" else one


def _tried(about: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look finds; what it refuses is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except (SRLError, OSError) as error:
        found.append(Finding(about, "fails", str(error)))
    return found


# ---------------------------------------------------------------- the machine


def _machine(args: Any, place: Place, absent: Iterable[str]) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    for message in absent:
        yield Finding("packages", "fails", message)
    if not place.elsewhere:
        yield _device(args)


def _python() -> Finding:
    low, high = _TESTED_PYTHON
    tested = low <= sys.version_info[:2] <= high
    text = platform.python_version()
    if not tested:
        text += f": tested with {low[0]}.{low[1]} to {high[0]}.{high[1]}; use one of these"
    return Finding("python", "ok" if tested else "warning", text)


def _packages() -> Iterator[Finding]:
    """Each package that training needs, against the versions that it was tested with."""
    wrong, right, tested = [], [], _tested_versions()
    for line in metadata.requires("srl-lm") or ():
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": "train"}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} is {version}, not {wanted.specifier}")
        elif wanted.name in ("torch", "transformers", "trl", "accelerate", "peft", "datasets"):
            known = tested.get(wanted.name)
            plain = version.partition("+")[0]
            right.append(f"{wanted.name} {version}" + f" (tested {known})" * (known != plain))
    if wrong:
        text = "; ".join(wrong) + ': pip install -e ".[train]" -c constraints.txt'
        yield Finding("packages", "fails", text)
    yield Finding("packages", "ok", ", ".join(right))


def _tested_versions() -> dict[str, str]:
    """Those of ``constraints.txt``, or of the ranges' beginnings outside a checkout."""
    path = Path(__file__).parents[2] / "constraints.txt"
    if not path.is_file():
        return {}
    pairs = (line.split("==") for line in path.read_text().splitlines() if "==" in line)
    return {name.strip(): version.split(";")[0].strip() for name, version in pairs}


def _device(args: Any) -> Finding:
    cores = os.cpu_count()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        low = torch.cuda.is_bf16_supported()
        text = f"{len(names)} x {names[0]}, CUDA {torch.version.cuda}"
        if args.bf16 and not low:
            return Finding("device", "fails", f"{text} has no bf16: give --bf16 false")
        return Finding("device", "ok", text)
    if Path("/proc/driver/nvidia/version").is_file():
        why = (
            f"the driver is too old for CUDA {torch.version.cuda}: update it, or install a torch"
            " that was built for an older CUDA"
            if torch.version.cuda
            else "this torch has no CUDA: install the build for CUDA (https://pytorch.org)"
        )
        return Finding("device", "fails", f"there is an NVIDIA GPU, but torch cannot use it: {why}")
    return Finding("device", "ok", f"CPU with {cores} cores, no GPU")


def _free_memory() -> int:
    """Bytes that programs may still take, within the limit of a container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text())
        free = min(free, most - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such limit
        pass
    return free


# ---------------------------------------------------------------- model and data


def _template(tokenizer: Any, args: Any) -> Iterator[Finding]:
    """What the chat template does, as prompts are really written."""
    chat = ChatEncoder(tokenizer)
    prompt = chat([{"role": "user", "content": "How many?"}], args.answer_format)
    system = "goes to the front of the first user message" if chat.merges else "is taken"
    opened = "the prompt opens the think block" if prompt.opened else "opens no think block"
    yield Finding("template", "ok", f"a system message {system}; {opened}")


def _examined_lengths(
    data: Any, args: Any, config: Any, tokenizer: Any, parts: LearningData
) -> tuple[list[Finding], int | None]:
    """What is found of the prompts' lengths; and the longest, on which memory depends."""
    longest: int | None = None

    def read() -> Iterator[Finding]:
        nonlocal longest
        asked = for_tokenizer(parts, data, args, tokenizer)
        lengths = _prompt_lengths(args, tokenizer, asked)
        yield from _lengths(args, config, tokenizer, asked, lengths)
        # An agent's prompt grows with its turns.
        longest = None if args.method == "agent" else lengths[-1]

    return _tried("lengths", read), longest


def _prompt_lengths(args: Any, tokenizer: Any, parts: LearningData) -> list[int]:
    """Tokens of some prompts, sorted."""
    chat, shown = ChatEncoder(tokenizer), spread_evenly(parts.train, _SHOWN_PROMPTS)
    return sorted(len(chat(one.messages, args.answer_format).ids) for one in shown)


def _lengths(
    args: Any, config: Any, tokenizer: Any, parts: LearningData, lengths: list[int]
) -> Iterator[Finding]:
    """Prompts in tokens, against what the settings and the model allow."""
    from transformers import AutoModelForCausalLM

    count = len(lengths)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    check_lengths(args, model, tokenizer, parts.train, [*parts.validation, *parts.test])
    positions, _ = positions_of(model)
    most, answer = args.max_prompt_length, int(args.max_completion_length)
    text = (
        f"prompts of {count} examples: median {lengths[count // 2]}, longest {lengths[-1]} tokens;"
        f" answers up to {answer}; the model has {positions or 'unlimited'} positions"
    )
    skipped = sum(length > most for length in lengths) if most else 0
    if skipped:
        text += f". {skipped / count:.0%} are longer than max_prompt_length = {most} and left out"
    over = positions is not None and lengths[-1] + answer > positions
    if over:
        text += ": lower --max_completion_length, or set --max_prompt_length"
    yield Finding("lengths", "warning" if skipped or over else "ok", text)


# ---------------------------------------------------------------- memory, disk, sandboxes


def _cure(table: list[Fit]) -> str:
    """What to change when no set-up works."""
    if any(one.fits for one in table):
        rows = table[0].rows
        return (
            f": the {rows} rows of a step must divide evenly among the GPUs that train. Use a"
            f" number of GPUs that divides {rows}, or change prompts_per_step"
        )
    return ": lower per_device_train_batch_size or lengths, or use more GPUs"


def _memory(
    args: Any, model: Any, config: Any, place: Place, table: list[Fit], longest: int | None
) -> Iterator[Finding]:
    if place.elsewhere:
        good = [one.set_up.name for one in table if one.works]
        text = f"fits as: {'; '.join(good)}" if good else "fits in no shipped set-up"
        yield Finding("memory", "ok" if good else "fails", text + ("" if good else _cure(table)))
        return
    shape = Shape.of(config, get_peft_config(model))
    load = load_of(args, model, place.room, prompt=longest)
    if place.gpus:
        check_fits(shape, load, place.room)
        yield Finding("memory", "ok", plan(shape, load).explain())
        return
    needed = plan(shape, replace(load, triton=False))
    text = f"{needed.explain()}; {place.room / GIB:.1f} GiB are free"
    if needed.peak > place.room:
        text += ": lower --per_device_train_batch_size or --rollout_rows, or use a smaller model"
    yield Finding("memory", "ok" if needed.peak <= place.room else "fails", text)


def _disk(args: Any, model: Any, config: Any) -> Iterator[Finding]:
    """Checkpoints and the final model, against the free space of the run's folder."""
    shape = Shape.of(config, get_peft_config(model))
    kept = args.save_total_limit or 3
    # A checkpoint has weights, and two numbers of AdamW for each of them.
    needed = 4 * shape.trainable * (3 * (kept + 1) + 1 + bool(args.format_warmup_steps))
    folder = Path(args.output_dir or "runs").absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    text = f"checkpoints take up to {needed / GIB:.1f} GiB; {there} has {free / GIB:.0f} GiB free"
    if needed > free:
        text += ": give another --output_dir, or a smaller --save_total_limit"
    yield Finding("disk", "ok" if needed <= free else "fails", text)


def _sandbox(args: Any, parts: LearningData) -> Iterator[Finding]:
    """Where commands run, and their images; only episodes in software engineering need one."""
    if not isinstance(parts.train, AgentInstances):
        return
    agents = [t for t in parts.train.trajectories if t.domain == "swe"]
    images = {str(one.metadata["image"]) for one in agents if "image" in one.metadata}
    if agents and not images:  # built-in tasks, whose images are built from the base image
        images = {BASE_IMAGE}
    if not images:
        return
    if args.sandbox == "docker":
        yield from _docker(images)
    elif args.sandbox == "bubblewrap":
        box = SANDBOXES.named("bubblewrap")
        box(min(images), workdir="/", limits=SandboxLimits(), startup="").close()
        yield Finding("sandbox", "ok", f"bubblewrap works; {len(images)} images are needed")


def _docker(images: set[str]) -> Iterator[Finding]:
    client = connect(deadline=5.0)
    try:
        there = {tag for image in client.images.list() for tag in image.tags}
        missing = [name for name in images if name not in there and f"{name}:latest" not in there]
        root = Path(str(client.info()["DockerRootDir"]))
    finally:
        client.close()
    free = shutil.disk_usage(root).free / GIB if root.is_dir() else None
    text = f"the Docker engine answers; {len(missing)} of {len(images)} images must be fetched"
    if free is not None:
        text += f"; {root} has {free:.0f} GiB free, and an image often takes 1 to 4 GiB"
    low = free is not None and free < 2 * len(missing)
    cure = ": free space, or lower --limit" if low else ""
    yield Finding("sandbox", "warning" if low else "ok", text + cure)
