"""The settings of an evaluation on math benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, field

from srl_agent.evaluation.math.benchmarks import BENCHMARKS, TABLE_1
from srl_agent.evaluation.math.own_benchmarks import own_name
from srl_agent.inference.generator import GenerationSettings
from srl_envs.errors import ConfigError, require
from srl_envs.response import ResponseFormat


@dataclass
class MathConfig:
    """Benchmarks, how they are sampled, and where the results go."""

    benchmarks: list[str] = field(
        default_factory=lambda: list(TABLE_1),
        metadata={
            "help": (
                f"Which benchmarks: {', '.join(BENCHMARKS)}; or your own: a file of problems"
                " (.jsonl, .csv, .parquet; problem and answer), the folder of a training run for"
                " the questions that it held out, or a source's name for its held-out questions."
                " Default: those of the paper's Table 1."
            )
        },
    )
    data: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                "Local files (amc23.jsonl, ...) or folders that hold them, also as"
                " gsm8k/test.jsonl. None reads the hub."
            )
        },
    )
    limit: int | None = field(
        default=None,
        metadata={
            "help": (
                "Only the first so many problems of each benchmark, for a quick look. None takes"
                " all."
            )
        },
    )
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "Run folder; rerun the same command to resume. None: runs/math-<model>,"
                " with -stepwise where it applies."
            )
        },
    )
    sampled: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                "Benchmarks that are answered num_samples times besides greedily, which gives"
                " pass@k; your own too, if named here. None: amc23, aime24, aime25, as in the"
                " paper."
            )
        },
    )
    num_samples: int = field(
        default=32,
        metadata={
            "help": "k of avg@k, pass@k and majority@k (paper: 32). 0 answers greedily only."
        },
    )
    temperature: float = field(
        default=1.0,
        metadata={
            "help": "Of the sampled answers, above 0 (paper: 1.0). The greedy ones are always at 0."
        },
    )
    top_p: float = field(
        default=1.0,
        metadata={"help": "Nucleus of the sampled answers, in (0, 1]; 1 keeps every token."},
    )
    max_new_tokens: int = field(
        default=4096,
        metadata={
            "help": (
                "Most tokens of an answer; with stepwise, of each step. The paper gives no value:"
                " answers of 7B models to these problems are mostly under 2,000, those cut off are"
                " counted. A context that ends earlier cuts off there."
            )
        },
    )
    seed: int = field(
        default=0,
        metadata={"help": "Decides the sampled answers, and the resamples of the intervals."},
    )
    system_prompt: str | None = field(
        default=None,
        metadata={
            "help": (
                "System message; empty sends none. None: the project's evaluation prompt, with"
                " stepwise that of SRL-Math-v0."
            )
        },
    )
    stepwise: bool = field(
        default=False,
        metadata={
            "help": (
                "Let an SRL model write one step at a time through SRL-Math-v0, until a step holds"
                " the final answer. A prompt has the problem and the model's own steps so far, and"
                " no title of the next one: train with --title_hint false and --targets all."
            )
        },
    )
    max_steps: int = field(
        default=30,
        metadata={
            "help": "stepwise: most steps of a solution; then it counts as truncated. At least 1."
        },
    )
    require_think: bool = field(
        default=True,
        metadata={
            "help": (
                "stepwise: a step without a think block is malformed. False accepts it, for tiny"
                " models."
            )
        },
    )
    think_prefilled: bool = field(
        default=False,
        metadata={
            "help": (
                "stepwise: as in training. Make sure that every prompt ends inside a think block;"
                " False leaves it to the chat template. Not with a server, which writes its own"
                " prompts."
            )
        },
    )
    episodes_at_once: int = field(
        default=256,
        metadata={
            "help": (
                "stepwise: solutions written side by side; a kill loses the unfinished ones among"
                " them. At least 1."
            )
        },
    )
    answer_timeout: float = field(
        default=10.0,
        metadata={
            "help": (
                "Seconds of processor time that verifying an answer may take, above 0; one that"
                " takes longer is wrong."
            )
        },
    )
    grading_processes: int = field(
        default=4, metadata={"help": "Processes that verify answers side by side. At least 1."}
    )
    page_answers: int = field(
        default=3000,
        metadata={
            "help": (
                "Most answers that report.html shows, spread over the problems; samples.jsonl has"
                " all. 3000 make a page of some 10 MB. At least 1."
            )
        },
    )
    compare: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                "Two run folders: print and draw how their accuracies and lengths differ, into"
                " output_dir or RUN_B/compare-RUN_A. Asks no model."
            )
        },
    )

    def __post_init__(self) -> None:
        for option, called in (("benchmarks", self.names), ("sampled", self._sampled or [])):
            if len(set(called)) != len(called):
                raise ConfigError(f"{option} names a benchmark twice: {', '.join(called)}.")
        require(
            self.limit is None or self.limit >= 1,
            "limit",
            self.limit,
            "at least 1, or None for all",
        )
        require(self.num_samples >= 0, "num_samples", self.num_samples, "0 or more")
        require(
            self.temperature > 0,
            "temperature",
            self.temperature,
            "above 0; greedy answers are always given too",
        )
        require(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1]")
        require(
            self.stepwise or not self.think_prefilled,
            "think_prefilled",
            True,
            "left alone without stepwise: whole solutions are asked as the chat template asks",
        )
        require(self.answer_timeout > 0, "answer_timeout", self.answer_timeout, "above 0")
        for name in (
            "max_new_tokens",
            "max_steps",
            "episodes_at_once",
            "grading_processes",
            "page_answers",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        if self.compare is not None and len(self.compare) != 2:
            raise ConfigError(
                f"compare takes two run folders: --compare RUN_A RUN_B, not {len(self.compare)}."
            )

    @property
    def answer_format(self) -> ResponseFormat:
        """Which shape the steps of a step-wise solution must have."""
        return ResponseFormat(self.think_prefilled, self.require_think)

    @property
    def names(self) -> list[str]:
        """What tables and files call the benchmarks."""
        return [benchmark_name(entry) for entry in self.benchmarks]

    @property
    def _sampled(self) -> list[str] | None:
        if self.sampled is None:
            return None
        return [one if one in self.names else benchmark_name(one) for one in self.sampled]

    def samples_of(self, benchmark: str) -> int:
        """How many sampled answers each problem of a benchmark gets, by its name in tables."""
        chosen = self._sampled
        if chosen is None:
            chosen = [name for name, known in BENCHMARKS.items() if known.sampled]
        return self.num_samples if benchmark in chosen else 0

    def generation(self, greedy: bool) -> GenerationSettings:
        """How answers are drawn."""
        if greedy:
            return GenerationSettings(max_new_tokens=self.max_new_tokens, seed=self.seed)
        return GenerationSettings(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )


def benchmark_name(entry: str) -> str:
    """What tables and files call an entry of ``--benchmarks``.

    Raises:
        ConfigError: It is neither known nor a user's own.
    """
    return entry if entry in BENCHMARKS else own_name(entry)
