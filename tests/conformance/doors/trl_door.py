"""TRL: GRPOTrainer takes a step on steps, on episodes with tools, and on episodes in text.

The model is tiny, and what it writes is scripted. The rest is TRL's own: what is asked,
which tokens are trained on, rewards, advantages, the step.
"""

import json

import torch
from common import ANSWERS, OUT, TASK, TURNS, lines, report, whole
from datasets import Dataset
from tokens import tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_chat_template

from srl_envs.adapters.trl import ToolEnvironment, for_tools, step_reward
from srl_envs.adapters.trl_rollouts import episode_reward, episode_rollouts
from srl_envs.commands import CommandError, grammar_named

END, ASKED = "<|im_end|>", "<|im_start|>assistant\n"
OTHER = f"<think>No.</think>I give up.{END}"  # what the second answer of each group is
ROWS = lines(TASK / "steps" / "train.jsonl")
EPISODES = lines(TASK / "episodes" / "train.jsonl")


class Scripted(GRPOTrainer):
    """Its model writes ``script(conversation)`` in a group's first answer, else ``OTHER``."""

    script = None

    def _generate_single_turn(self, prompt_ids, *_, **__):
        asked = [self.processing_class.decode(ids) for ids in prompt_ids]
        texts = [
            OTHER if text in asked[:number] else self.script(text)
            for number, text in enumerate(asked)
        ]
        answers = [self.processing_class(one, add_special_tokens=False) for one in texts]
        return [answer["input_ids"] for answer in answers], None


def train(rows, script, tokens, **more):
    """A step of GRPO on all rows, in groups of two; refused if it changed nothing."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "max_position_embeddings": 20_000}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokens), **sizes, **heads))
    before = model.lm_head.weight.detach().clone()
    args = GRPOConfig(
        output_dir=str(OUT.parent / "trl"),
        num_generations=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=len(rows),  # all rows are one batch
        max_completion_length=10_000,
        max_steps=1,
        learning_rate=1e-3,
        shuffle_dataset=False,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
    )
    trainer = Scripted(
        model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokens, **more
    )
    trainer.script = script
    trainer.train()
    assert not torch.equal(before, model.lm_head.weight), "the step changed nothing"
    return trainer


def turn_of(conversation):
    """Which episode this is, and how many answers it has."""
    (row,) = (row for row in EPISODES if row["prompt"][-1]["content"] in conversation)
    return row["id"], conversation.count(ASKED) - 1


def steps(tokens):
    """The rewards of the answers."""
    given, reward = [], step_reward(tokens)
    prompts = [
        tokens.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        for row in ROWS
    ]

    def kept(**columns):
        given.append(reward(**columns))
        return given[-1]

    def script(conversation):
        answer = ANSWERS[prompts.index(conversation)]
        return whole(answer) + ("" if answer.get("truncated") else END)

    train(ROWS, script, tokens, reward_funcs=kept)
    (rewards,) = given
    return rewards[::2]


def conversations(tokens):
    """The episodes by ``rollout_func``."""
    played, rollouts = [], episode_rollouts(EPISODES)

    def kept(prompts, trainer):
        played.append(rollouts(prompts, trainer))
        return played[-1]

    def script(conversation):
        name, turn = turn_of(conversation)
        return TURNS[name][-1 if OTHER in conversation else turn] + END

    train(EPISODES, script, tokens, reward_funcs=episode_reward, rollout_func=kept)
    (batch,) = played
    assert batch["reward"][1::2] == [0.0] * len(EPISODES)
    made = []
    for row, ids, mask, reward in zip(
        EPISODES,
        *(batch[key][::2] for key in ("completion_ids", "env_mask", "reward")),
        strict=True,
    ):
        pairs = list(zip(ids, mask, strict=True))
        written = tokens.decode([one for one, own in pairs if own])
        assert written == "".join(f"{turn}{END}" for turn in TURNS[row["id"]])
        seen = tokens.decode([one for one, own in pairs if not own])
        pieces = seen.split("<|im_start|>user\n")[1:]
        shown = [piece.split(f"{END}\n{ASKED}")[0] for piece in pieces]
        made.append({"prompt": row["prompt"], "shown": shown, "reward": reward, "done": True})
    return made


def calls(tokens):
    """The episodes by ``environment_factory``: what each call printed, and the reward."""
    grammars, played = {}, {}

    class Recorded(ToolEnvironment):
        def reset(self, row, id, **_):
            super().reset(row)
            self._id, self._shown = id, []
            grammars[id] = grammar_named(self._episode.grammar)

        def _act(self, tool, **arguments):
            self._shown.append(super()._act(tool, **arguments))
            return self._shown[-1]

        def get_reward(self):
            reward = super().get_reward()
            if self._shown:  # the other answer of the group calls nothing
                played[self._id] = (self._shown, reward)
            return reward

    def script(conversation):
        name, turn = turn_of(conversation)
        if turn == len(TURNS[name]):
            return f"Done.{END}"
        try:
            command = grammars[name].parse(TURNS[name][turn].split("</think>")[-1])
        except CommandError:
            return TURNS[name][turn] + END
        call = {"name": command.tool, "arguments": dict(command.arguments)}
        if turn == len(TURNS[name]) - 1:  # also where the grammar knows no such tool
            call = {"name": "submit", "arguments": {}}
        return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>{END}"

    rows = [for_tools(row) for row in EPISODES]
    train(rows, script, tokens, environment_factory=Recorded)
    return [played[row["id"]] for row in rows]


def main():
    texts = [message["content"] for row in (*ROWS, *EPISODES) for message in row["prompt"]]
    texts += [whole(answer) for answer in ANSWERS]
    rewards, episodes = steps(tokenizer(texts)), conversations(tokenizer(texts))
    called = calls(tokenizer(texts, qwen3_chat_template))
    for name, (shown, reward), episode in zip(TURNS, called, episodes, strict=True):
        assert reward == episode["reward"], name
        if name == "cheats":  # an answer without a call ends TRL's loop
            assert shown == episode["shown"][:1]
        else:
            assert shown == [*episode["shown"], "The changes were handed in."]
    report(rewards, [row["prompt"] for row in ROWS], episodes)


main()
