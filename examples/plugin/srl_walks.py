"""A plugin: a source with a domain of its own, the grammar of its actions, and a reward."""

import random
import re

from srl_envs import ExpertStep, Trajectory, register_source
from srl_envs.commands import CommandError, Grammar, Tool


class Arrows(Grammar):
    """Moves of a robot: ``-> east 3``."""

    instructions = "Format: -> DIRECTION STEPS"

    def __init__(self):
        super().__init__("arrows", {"move": Tool(required=("direction", "steps"))})

    def find(self, text):
        move = re.search(r"-> (\w+) (\d+)", text)
        if move is None:
            raise CommandError("no command", "There is no move: write -> DIRECTION STEPS.")
        return move.start(), "move", {"direction": move[1], "steps": move[2]}

    def write(self, tool, arguments):
        return f"-> {arguments['direction']} {arguments['steps']}"


@register_source("walks", domain="robot", takes_path=False)
def walks(request):
    """Walks to a random place: first east, then north, then a turn."""
    for i, place in enumerate(random.Random(request.seed).sample(range(10_000), request.count)):
        east, north = divmod(place, 100)
        prompt = f"Walk {east} east and {north} north, then turn. Write moves like: -> east 3"
        moves = (f"-> east {east}", f"-> north {north}", "-> south 0")
        steps, metadata = tuple(map(ExpertStep, moves)), {"grammar": "arrows"}
        yield Trajectory(f"walk-{i}", prompt, steps, domain="robot", metadata=metadata)


def same_move(model, expert):
    """The share of words that are the expert's."""
    pairs = zip(model.split(), expert.split(), strict=False)
    return sum(mine == theirs for mine, theirs in pairs) / max(len(expert.split()), 1)
