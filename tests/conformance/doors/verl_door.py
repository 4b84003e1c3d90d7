"""verl: its data set, its agent loops with a scripted server, its reward manager."""

import asyncio

import torch
from common import ANSWERS, TASK, TURNS, report, whole
from omegaconf import OmegaConf
from tokens import tokenizer
from verl import DataProto
from verl.experimental.agent_loop import agent_loop as loops
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

LENGTH = 20_000


class Scripted:
    """A model server: the tokens of given answers."""

    def __init__(self, tokens, answers):
        self.tokens, self.answers, self.asked = tokens, list(answers), []

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        self.asked.append(self.tokens.decode(prompt_ids))
        answer = self.answers.pop(0)
        ids = self.tokens(whole(answer), add_special_tokens=False)["input_ids"]
        if answer.get("truncated"):
            fill = LENGTH - len(ids)  # white space up to the limit, and no end
            ids = ids + self.tokens(" " * fill, add_special_tokens=False)["input_ids"]
        else:
            ids = [*ids, self.tokens.eos_token_id]
        return TokenOutput(token_ids=ids)


def settings(folder):
    rollout = {"prompt_length": LENGTH, "response_length": LENGTH, "full_determinism": False}
    reward = {"custom_reward_function": {"path": "pkg://srl_envs.adapters.verl"}}
    reward["custom_reward_function"]["name"] = "compute_score"
    data = {"max_prompt_length": LENGTH, "filter_overlong_prompts": False, "prompt_key": "prompt"}
    return OmegaConf.create(
        {"actor_rollout_ref": {"rollout": rollout}, "reward": reward, "data": data}
    )


def loop_named(name, folder, config, tokens, server):
    import hydra

    listed = {one.name: one for one in OmegaConf.load(folder / "agent_loops.yaml")}
    return hydra.utils.instantiate(
        config=listed[name],
        trainer_config=loops.DictConfigWrap(config),
        server_manager=server,
        tokenizer=tokens,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=loops.DictConfigWrap(config.data),
    )


async def scored(output, row, manager):
    """The reward of verl's reward manager, from tokens on."""
    responses = torch.tensor([output.response_ids])
    batch = {"responses": responses, "attention_mask": torch.ones_like(responses)}
    columns = {key: row[key] for key in ("data_source", "reward_model", "extra_info")}
    columns["tool_extra_fields"] = output.extra_fields
    columns = {key: [value] for key, value in columns.items()}
    proto = DataProto.from_dict(batch, non_tensors={k: _objects(v) for k, v in columns.items()})
    return await manager.run_single(proto)


def _objects(values):
    import numpy as np

    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def rows_of(folder, config, tokens):
    return list(RLHFDataset(str(folder / "train.parquet"), tokens, config.data))


async def main():
    tokens, folder = tokenizer(), TASK / "steps"
    config = settings(folder)
    manager = NaiveRewardManager(config, tokens, get_custom_reward_fn(config))
    rewards, prompts = [], []
    for row, answer in zip(rows_of(folder, config, tokens), ANSWERS, strict=True):
        loop = loop_named("srl_step", folder, config, tokens, Scripted(tokens, [answer]))
        output = await loop.run({}, raw_prompt=row["raw_prompt"])
        result = await scored(output, row, manager)
        rewards.append(result["reward_score"])
        assert result["reward_extra_info"]["thousandths"] == round(1000 * result["reward_score"])
        assert tokens.decode(output.prompt_ids).endswith("<|im_start|>assistant\n")
        prompts.append([dict(one) for one in row["raw_prompt"]])
    folder = TASK / "episodes"
    played = [await play(row, folder, config, tokens) for row in rows_of(folder, config, tokens)]
    report(rewards, prompts, played)


async def play(row, folder, config, tokens):
    turns = TURNS[row["extra_info"]["id"]]
    server = Scripted(tokens, [{"text": turn} for turn in turns])
    loop = loop_named("srl_episode", folder, config, tokens, server)
    output = await loop.run({}, raw_prompt=row["raw_prompt"], extra_info=row["extra_info"])
    kept = [
        one for one, mask in zip(output.response_ids, output.response_mask, strict=True) if mask
    ]
    assert tokens.decode(kept) == "".join(f"{turn}<|im_end|>" for turn in turns)
    pieces = server.asked[-1].split("<|im_start|>user\n")[2:]
    shown = [piece.split("<|im_end|>\n<|im_start|>assistant\n")[0] for piece in pieces]
    prompt = [dict(one) for one in row["raw_prompt"]]
    said = output.extra_fields["reward_extra_info"]
    assert said["thousandths"] == 1000 * output.reward_score
    return {"prompt": prompt, "shown": shown, "reward": output.reward_score, "done": True}


asyncio.run(main())
