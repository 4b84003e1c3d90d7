"""One evaluation of an agent, from the settings to the report.

This is what ``python -m srl_agent.evaluate agent`` does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from tqdm import tqdm

from srl_agent.evaluation.agent.attempts import EPISODES, AttemptStore, agent_folder
from srl_agent.evaluation.agent.config import AgentConfig
from srl_agent.evaluation.agent.page import write_page
from srl_agent.evaluation.agent.results import (
    AgentResults,
    summarize,
    terminal_text,
    write_results,
)
from srl_agent.evaluation.folder import RESULTS, model_label
from srl_agent.inference.backends import GeneratorConfig, open_generator, resolved
from srl_agent.rollouts.agent_tasks import (
    AgentInstance,
    SharedVerifier,
    Surroundings,
    judged_tasks,
)
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.held_images import image_budget
from srl_agent.rollouts.policies import GeneratorPolicy
from srl_agent.runs.provenance import environment
from srl_envs.data.registry import Split
from srl_envs.errors import DataError
from srl_envs.trajectory import Trajectory


def evaluate_agent(config: AgentConfig, model: GeneratorConfig) -> AgentResults:
    """Let a model try each task, and write the report.

    Episodes that are already in the folder are not tried again.

    Raises:
        ConfigError, DataError, InfrastructureError: Each with one line that says what
        to do.
    """
    model = resolved(model)
    tasks = load_tasks(config)
    folder = Path(config.output_dir or _default_folder(config, model)).expanduser()
    with agent_folder(folder, config, model), AttemptStore(folder / EPISODES) as store:
        speed = _roll_out(config, model, tasks, store, folder)
        label = model_label(model)
        results = summarize(
            label, config.source, tasks, config.num_samples, store.attempts, config.seed
        )
        settings = asdict(config) | asdict(model)
        versions = environment() | {
            "command": ["python", "-m", "srl_agent.evaluate", *sys.argv[1:]]
        }
        write_results(folder / RESULTS, results, settings, versions, speed)
        asked = {task.id for task in tasks}
        shown = [
            one
            for one in store.attempts.values()
            if one.task in asked and one.number < config.num_samples
        ]
        page = write_page(folder, results, tasks, shown, settings | versions, config.page_episodes)
    print(f"\n{terminal_text(results)}\n\n{page}")
    return results


def load_tasks(config: AgentConfig) -> list[Trajectory]:
    """The tasks that can be judged, each once.

    Raises:
        ConfigError: The settings do not fit the source, or commands or tests of a task
            cannot be run.
        DataError: There is none.
    """
    found = config.trajectories(None if config.split == "all" else cast(Split, config.split))
    judged, _ = judged_tasks(found)
    if not judged:
        raise DataError(
            f"{found!r} has no task that can be judged: an episode needs hidden tests (see --tasks)"
            " or a reference answer."
        )
    return judged[: config.limit]


def unjudged_line(results: AgentResults) -> str:
    """One line on the episodes without a verdict; empty if there are none."""
    if not results.unjudged:
        return ""
    return (
        f"{results.unjudged} of {results.tasks * results.samples} episodes have no verdict, because"
        " the machinery failed twice (see the log above). The same command tries them again."
    )


def _roll_out(
    config: AgentConfig,
    model: GeneratorConfig,
    tasks: Sequence[Trajectory],
    store: AttemptStore,
    folder: Path,
) -> dict[str, float]:
    """Try what is missing, and store each episode as it ends; how fast it went."""
    missing = [
        (task, number)
        for number in range(config.num_samples)
        for task in tasks
        if (task.id, number) not in store.attempts
    ]
    if not missing:
        return {}
    verifier = SharedVerifier()
    images = image_budget(
        tasks, config.sandbox, config.max_image_disk_gb, folder / "fetched_images.txt"
    )
    around = Surroundings(
        config.prompt_settings,
        config.reward_settings,
        verifier,
        config.sandbox,
        config.command_timeout,
        images,
    )
    wanted = [(AgentInstance(task, around).task, number) for task, number in missing]
    every = len(tasks) * config.num_samples
    generator = open_generator(model)
    tokens, started = 0, time.monotonic()
    solved = sum(bool(one.correct) for one in store.attempts.values())
    try:
        with tqdm(
            total=every, initial=every - len(wanted), unit="episode", dynamic_ncols=True
        ) as bar:
            episodes = Episodes(
                GeneratorPolicy(generator, config.generation),
                config.episode_limits,
                format=config.reward_settings.format,
                whole_history=config.episode_history == "whole",
            )
            for episode in episodes.each(wanted):
                tokens += episode.tokens
                if episode.outcome is not None:
                    store.append(episode)
                    solved += bool(episode.outcome.correct)
                bar.set_postfix_str(f"{solved} solved", refresh=False)
                bar.update()
    finally:
        generator.close()
        verifier.close()
        if images is not None:
            images.__exit__()
    seconds = time.monotonic() - started
    return {
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1),
    }


def _default_folder(config: AgentConfig, model: GeneratorConfig) -> Path:
    parts = (Path(config.source).stem, model_label(model).replace("/", "-"))
    return Path("runs") / f"agent-{'-'.join(parts)}"
