"""The settings of an evaluation on SWE-bench."""

from __future__ import annotations

from dataclasses import dataclass, field

from srl_agent.evaluation.swebench.harness import HarnessSettings
from srl_agent.evaluation.swebench.instances import ALIASES, HUB_NAME
from srl_agent.inference.generator import GenerationSettings
from srl_agent.rollouts.episode_settings import EpisodeBounds
from srl_envs.commands import GRAMMARS
from srl_envs.errors import ConfigError, require
from srl_envs.fleet.addresses import ENGINES_HELP, RAY_HELP, check_ray, engine_addresses
from srl_envs.swe.agent_session import require_runnable

MODES = ("oracle", "end-to-end", "agent")
BUILTIN = "builtin"


@dataclass
class SweBenchConfig(EpisodeBounds):
    """Instances, how patches are asked for, how they are judged, and where the results go."""

    mode: str = field(
        default="oracle",
        metadata={
            "help": (
                "oracle: the files that the gold patch changes are given. end-to-end: the model"
                " first names the files, from the repository's tree. agent: the model acts in the"
                " instance's own image; what it changed there is its patch."
            ),
            "choices": list(MODES),
        },
    )
    dataset: str = field(
        default=HUB_NAME,
        metadata={
            "help": (
                "Hub name, verified, full, multilingual or multimodal for those of SWE-bench, a"
                " .jsonl, .json or .parquet file (of 13 columns, too), or builtin for the"
                " project's own tasks, which need no registry of images."
            )
        },
    )
    instance_ids: list[str] | None = field(
        default=None, metadata={"help": "Only these instances. None takes all."}
    )
    pattern: str = field(
        default="",
        metadata={
            "help": (
                "Only instances whose whole id matches this regular expression. Empty takes all."
            )
        },
    )
    limit: int | None = field(
        default=None, metadata={"help": "Only the first so many of them. None takes all."}
    )
    repositories: str | None = field(
        default=None,
        metadata={
            "help": (
                "Where files are read from: github, image (the repository in each instance's own"
                " image, fetched if it is not there), or a folder of clones named owner__name."
                " None: image for builtin, else github."
            )
        },
    )
    repository_cache: str = field(
        default="~/.cache/srl/repositories",
        metadata={"help": "Folder of the mirrors; runs may share it."},
    )
    num_samples: int = field(
        default=1,
        metadata={
            "help": (
                "Patches per instance; the one that most agree on is judged. 1 takes the only one."
                " At least 1."
            )
        },
    )
    temperature: float = field(
        default=0.0,
        metadata={"help": "0 is greedy (paper); more than one sample needs more, such as 0.8."},
    )
    top_p: float = field(
        default=1.0,
        metadata={"help": "Nucleus of sampled answers, in (0, 1]; 1 keeps every token."},
    )
    max_prompt_tokens: int = field(
        default=60_000,
        metadata={
            "help": (
                "Of a prompt, the chat template's marks not counted (paper: 60000). Files that do"
                " not fit are left out."
            )
        },
    )
    max_new_tokens: int = field(
        default=4096, metadata={"help": "Most tokens of an answer (paper: 4096). At least 1."}
    )
    seed: int = field(default=0, metadata={"help": "Decides the sampled answers."})
    instances_at_once: int | None = field(
        default=None,
        metadata={
            "help": (
                "Instances under way at a time, while others are judged; at least 1. None: 16 with"
                " a model on this machine, --concurrency times the servers at base_url."
            )
        },
    )
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "Run folder; rerun the same command to resume. None:"
                " runs/swebench-<dataset>-<mode>-<model>."
            )
        },
    )
    judge_samples: bool = field(
        default=False,
        metadata={
            "help": (
                "Judge every sample, not only the chosen one, and report pass@k. Takes up to"
                " num_samples times as long."
            )
        },
    )
    submission_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "Folder for SWE-bench's public leaderboard, written at the end: predictions,"
                " metadata, logs and answers. None writes none."
            )
        },
    )
    judge: bool = field(
        default=True,
        metadata={
            "help": "False writes predictions.jsonl only, which any swebench harness can judge."
        },
    )
    gold: bool = field(
        default=False, metadata={"help": "Judge the gold patches; no model is asked."}
    )
    predictions: str | None = field(
        default=None,
        metadata={
            "help": (
                "Judge the patches of this file (the harness's predictions, .jsonl or .json); no"
                " model is asked."
            )
        },
    )
    jobs: int = field(
        default=2,
        metadata={
            "help": (
                "Instances judged side by side on each engine, each in a container. At least 1."
            )
        },
    )
    engines: str | None = field(default=None, metadata={"help": ENGINES_HELP})
    ray: str | None = field(default=None, metadata={"help": RAY_HELP})
    test_timeout: int = field(
        default=1800,
        metadata={
            "help": (
                "Seconds that the tests of one instance may take; then the patch is unresolved. At"
                " least 1."
            )
        },
    )
    history_turns: int = field(
        default=2,
        metadata={
            "help": (
                "agent, with episode_history turns: how many of the latest pairs of command and"
                " observation a prompt shows. 0 shows none."
            )
        },
    )
    grammar: str = field(
        default="xml",
        metadata={
            "help": (
                "agent: how the model writes commands, as in the trajectories that it learned from:"
                f" {', '.join(GRAMMARS.names())}."
            )
        },
    )
    require_think: bool = field(
        default=True,
        metadata={
            "help": (
                "agent: an answer without a think block is malformed. False accepts it: for models"
                " that were not trained to think so."
            )
        },
    )
    container_memory_mib: int = field(
        default=8192,
        metadata={"help": "Memory of a judging container in MiB, without swap. At least 64."},
    )
    container_processes: int = field(
        default=2048,
        metadata={"help": "Processes and threads of a judging container. At least 16."},
    )
    container_cpus: float = field(
        default=2.0, metadata={"help": "Processor cores of a judging container, above 0."}
    )
    container_network: str | None = field(
        default=None,
        metadata={
            "help": (
                "Network of judging containers. default is the engine's own, as the harness uses"
                " it, so figures compare; patched code can then reach the world. none closes it:"
                " correct patches of instances whose tests connect out are then unresolved, and the"
                " tables count them. Or a network of the engine, such as one made with `docker"
                " network create --internal`. None: none for builtin, else default."
            )
        },
    )
    judge_attempts: int = field(
        default=2,
        metadata={
            "help": (
                "How often an instance is judged until a failure of the machinery is final. At"
                " least 1."
            )
        },
    )

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"mode is {self.mode!r}: use one of {', '.join(MODES)}.")
        least = {
            "num_samples": 1,
            "max_prompt_tokens": 1,
            "jobs": 1,
            "test_timeout": 1,
            "judge_attempts": 1,
        }
        for name, bound in (
            least | {"container_memory_mib": 64, "container_processes": 16}
        ).items():
            require(getattr(self, name) >= bound, name, getattr(self, name), f"at least {bound}")
        if self.instances_at_once is not None:
            require(
                self.instances_at_once >= 1,
                "instances_at_once",
                self.instances_at_once,
                "at least 1",
            )
        require(self.container_cpus > 0, "container_cpus", self.container_cpus, "above 0")
        if self.num_samples > 1 and self.temperature == 0:
            raise ConfigError(
                "num_samples is above 1, but temperature is 0: greedy samples are all the same. Set"
                " --temperature, such as 0.8."
            )
        if self.judge_samples and (self.num_samples == 1 or not self.judge or not self.asks_model):
            raise ConfigError(
                "judge_samples has no effect here: it needs --num_samples above 1, a model, and"
                " --judge true."
            )
        if self.engines is not None:
            engine_addresses(self.engines)
        if self.ray is not None:
            check_ray(self.ray)
        if not self.judge and (self.engines is not None or self.ray is not None):
            raise ConfigError("engines and ray only judge, but judge is false: remove them.")
        self.check_episodes()
        require_runnable(self.grammar)
        require(self.history_turns >= 0, "history_turns", self.history_turns, "0 or more")
        if self.mode == "agent" and self.num_samples > 1:
            raise ConfigError(
                f"num_samples is {self.num_samples}, but mode agent makes one episode an instance:"
                " use evaluate agent for several."
            )
        if self.gold and self.predictions is not None:
            raise ConfigError("gold and predictions are both set: give one of them.")
        if not self.asks_model and not self.judge:
            raise ConfigError(
                "judge is false, but gold or predictions only judges: there would be nothing to do."
            )
        self.dataset = ALIASES.get(self.dataset.lower(), self.dataset)
        self.generation()  # checks what it is made of

    @property
    def asks_model(self) -> bool:
        """Whether a model writes the patches."""
        return not self.gold and self.predictions is None

    @property
    def acts(self) -> bool:
        """Whether the model acts in the instances' images."""
        return self.asks_model and self.mode == "agent"

    @property
    def repository_source(self) -> str:
        """Where files are read from."""
        return self.repositories or ("image" if self.dataset == BUILTIN else "github")

    @property
    def network(self) -> str:
        """The network of judging containers."""
        return self.container_network or ("none" if self.dataset == BUILTIN else "default")

    def generation(self) -> GenerationSettings:
        """How answers are drawn."""
        return GenerationSettings(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )

    def harness(self) -> HarnessSettings:
        """How patches are judged."""
        return HarnessSettings(
            timeout=self.test_timeout,
            memory_mib=self.container_memory_mib,
            processes=self.container_processes,
            cpus=self.container_cpus,
            network=self.network,
            attempts=self.judge_attempts,
        )
