"""TRL: the reward function and the tools, called as GRPOTrainer calls them."""

import inspect

from common import ANSWERS, TASK, TURNS, lines, report
from transformers.utils import get_json_schema

from srl_envs.adapters.trl import ToolEnvironment, step_reward
from srl_envs.commands import grammar_named

END = 7


class Tokenizer:
    """Which token ends an answer: all that the reward asks a tokenizer."""

    eos_token_id = pad_token_id = END


def completion(answer):
    message = {"role": "assistant", "content": answer["text"]}
    if answer.get("thought") is not None:
        message["reasoning_content"] = answer["thought"]
    return [message]


def main():
    rows = lines(TASK / "steps" / "train.jsonl")
    rewards = step_reward(Tokenizer())(
        prompts=[row["prompt"] for row in rows],
        completions=[completion(answer) for answer in ANSWERS],
        completion_ids=[[1, 2] if answer.get("truncated") else [1, END] for answer in ANSWERS],
        row=[row["row"] for row in rows],
        id=[row["id"] for row in rows],
        trainer_state=None,
    )
    (row,) = lines(TASK / "episodes" / "train.jsonl")
    environment = ToolEnvironment()
    names = [name for name, _ in inspect.getmembers(type(environment), inspect.isfunction)]
    tools = {name for name in names if name[0] != "_"} - {"reset", "get_reward"}
    assert tools == {"bash", "str_replace_editor", "submit"}
    assert all(get_json_schema(getattr(environment, name)) for name in tools)
    assert environment.reset(**row) is None
    grammar = grammar_named(environment._episode.grammar)
    commands = [grammar.parse(turn.split("</think>")[1]) for turn in TURNS]
    shown = [getattr(environment, one.tool)(**one.arguments) for one in commands]
    episode = {
        "prompt": row["prompt"],
        "shown": shown[:-1],
        "reward": environment.get_reward(),
        "done": environment._done,
    }
    report(rewards, [row["prompt"] for row in rows], episode)


main()
