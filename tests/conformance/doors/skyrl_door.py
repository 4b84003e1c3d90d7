"""skyrl-gym: registered environments, made from rows of the parquet files."""

import pyarrow.parquet as parquet
import skyrl_gym
from common import ANSWERS, TASK, TURNS, report, whole

for name, made in (("srl_step", "StepEnv"), ("srl_episode", "EpisodeEnv")):
    skyrl_gym.register(id=name, entry_point=f"srl_envs.adapters.skyrl:{made}")

rewards, prompts = [], []
rows = parquet.read_table(TASK / "steps" / "train.parquet").to_pylist()
for row, answer in zip(rows, ANSWERS, strict=True):
    env = skyrl_gym.make(row.pop("env_class"), env_config={}, extras=row)
    prompt, _ = env.init(row["prompt"])
    step = env.step(whole(answer))
    assert step["done"] and step["observations"] == []
    rewards.append(step["reward"])
    prompts.append(prompt)
    env.close()

episodes = []
for row in parquet.read_table(TASK / "episodes" / "train.parquet").to_pylist():
    env = skyrl_gym.make(row.pop("env_class"), env_config={}, extras=row)
    prompt, _ = env.init(row["prompt"])
    steps = [env.step(turn) for turn in TURNS[row["extra_info"]["id"]]]
    env.close()
    shown = [step["observations"][0]["content"] for step in steps if step["observations"]]
    total = sum(step["reward"] for step in steps)
    episodes.append({"prompt": prompt, "shown": shown, "reward": total, "done": steps[-1]["done"]})
report(rewards, prompts, episodes)
