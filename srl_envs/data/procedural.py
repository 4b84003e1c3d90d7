"""The built-in source: word problems from templates, with a title and a thought for every step.

The templates (``word_problems/*.yaml``) are this project's own. Each has a question,
variables that are drawn at random, requirements that a draw must meet, and steps whose
text holds expressions in braces: ``{price * count}``, or with a format ``{price *
count:money}``. Expressions are evaluated exactly, as fractions.
"""

from __future__ import annotations

import ast
import math
import operator
import random
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from typing import Any

from srl_envs.errors import ConfigError
from srl_envs.trajectory import ExpertStep, Trajectory

Value = Fraction | str | bool

_MAX_DRAWS = 2_000
_PLACEHOLDER = re.compile(r"\{([^{}:]+)(?::(\w+))?\}")

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: Fraction(a % b),
    ast.Pow: lambda a, b: Fraction(a) ** int(b),
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "gcd": lambda *values: Fraction(math.gcd(*map(int, values))),
    "lcm": lambda *values: Fraction(math.lcm(*map(int, values))),
    "min": min,
    "max": max,
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "digits": lambda value: Fraction(sum(map(int, str(int(value))))),
}


def generate(count: int = 2000, seed: int = 0) -> list[Trajectory]:
    """Generate word problems with expert solutions.

    Args:
        count: How many; the kinds take turns. A larger count begins with the same
            problems.
        seed: Decides every problem. A question that was drawn before is drawn anew, so
            that problem ``i`` depends on the ones before it too.

    Returns:
        Trajectories with different questions.

    Raises:
        ConfigError: ``count`` is more than there are different questions (about
            18,000).
    """
    templates = load_templates()
    seen: set[str] = set()
    trajectories = []
    for i in range(count):
        kind, template = templates[i % len(templates)]
        randomness = random.Random(f"{seed}/{i}")
        trajectory = _instance(kind, template, i, randomness)
        for _ in range(_MAX_DRAWS):
            if trajectory.prompt not in seen:
                break
            trajectory = _instance(kind, template, i, randomness)
        else:
            raise ConfigError(
                f"count is {count}: the built-in source ran out of different questions at problem "
                f"{i} (kind {kind!r}); ask for at most {i}."
            )
        seen.add(trajectory.prompt)
        trajectories.append(trajectory)
    return trajectories


@lru_cache(maxsize=1)
def load_templates() -> list[tuple[str, Mapping[str, Any]]]:
    """Kind and template of every word problem, in the order of the files."""
    import yaml

    folder = resources.files("srl_envs.data") / "word_problems"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    templates = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.endswith(".yaml"):
            templates += [
                (item["kind"], item) for item in yaml.load(path.read_text(encoding="utf-8"), loader)
            ]
    return templates


def _instance(
    kind: str, template: Mapping[str, Any], index: int, randomness: random.Random
) -> Trajectory:
    values = _draw(kind, template, randomness)
    questions = template["question"]
    question = questions if isinstance(questions, str) else randomness.choice(questions)
    steps = tuple(
        ExpertStep(
            action=_fill(step["action"], values),
            title=_fill(step["title"], values),
            thought=_fill(step["thought"], values),
            gap="\n",
        )
        for step in template["steps"]
    )
    answer = _plain(_evaluate(str(template["answer"]), values))
    return Trajectory(
        f"builtin-{kind}-{index}",
        _fill(question, values),
        steps,
        answer=answer,
        metadata={"kind": kind},
    )


def _draw(kind: str, template: Mapping[str, Any], randomness: random.Random) -> dict[str, Value]:
    """Values of a template's variables that meet its requirements, and values derived from them."""
    for _ in range(_MAX_DRAWS):
        values: dict[str, Value] = {}
        names = randomness.sample(NAMES, 2)
        values["name"], values["other"] = names
        for name, choices in template["variables"].items():
            values[name] = _choose(choices, randomness)
        for name, expression in template.get("let", {}).items():
            values[name] = _evaluate(str(expression), values)
        if all(_evaluate(requirement, values) for requirement in template.get("require", ())):
            return values
    raise ValueError(f"the kind {kind!r} meets its requirements too rarely")


def _choose(choices: Any, randomness: random.Random) -> Value:
    """``{from, to, step}`` draws a number; a list draws one of its items."""
    if isinstance(choices, dict):
        return Fraction(
            randomness.randrange(choices["from"], choices["to"] + 1, choices.get("step", 1))
        )
    chosen = randomness.choice(choices)
    return chosen if isinstance(chosen, str) else Fraction(chosen)


def _fill(text: str, values: Mapping[str, Value]) -> str:
    def replaced(match: re.Match[str]) -> str:
        value = _evaluate(match[1], values)
        return _money(value) if match[2] == "money" else _plain(value)

    return " ".join(_PLACEHOLDER.sub(replaced, text).split())


@lru_cache(maxsize=20_000)
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression.strip(), mode="eval").body


def _evaluate(expression: str, values: Mapping[str, Value]) -> Value:
    return _value(_parsed(expression), values)  # type: ignore[no-any-return]


def _value(node: ast.expr, values: Mapping[str, Value]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else Fraction(str(node.value))
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, values)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _OPERATORS[type(node.ops[0])](
            _value(node.left, values), _value(node.comparators[0], values)
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _FUNCTIONS[node.func.id](*(_value(argument, values) for argument in node.args))
    raise ValueError(f"a template may not use {ast.unparse(node)!r}")


def _plain(value: Value) -> str:
    """A whole number, an exact decimal, or the text itself."""
    if isinstance(value, str):
        return value
    number = Fraction(value)
    if number.denominator == 1:
        return str(number.numerator)
    decimal = f"{float(number):.10f}".rstrip("0")
    if Fraction(decimal) != number:
        raise ValueError(f"{number} has no short decimal: require that it is whole")
    return decimal


def _money(value: Value) -> str:
    number = Fraction(value)
    return f"${number.numerator}" if number.denominator == 1 else f"${float(number):.2f}"


# Two different ones are drawn for every problem: {name} and {other}.
NAMES = tuple(
    [
        "Ada",
        "Aiko",
        "Amara",
        "Amir",
        "Anders",
        "Anika",
        "Arjun",
        "Astrid",
        "Ayesha",
        "Bao",
        "Beatriz",
        "Bilal",
        "Carmen",
        "Chidi",
        "Clara",
        "Dalia",
        "Daniel",
        "Diego",
        "Elena",
        "Emeka",
        "Esra",
        "Fatima",
        "Felix",
        "Freya",
        "Gabriel",
        "Grace",
        "Hana",
        "Hugo",
        "Ines",
        "Isaac",
        "Ivan",
        "Jamal",
        "Jonas",
        "Julia",
        "Kai",
        "Kavya",
        "Kofi",
        "Lara",
        "Leila",
        "Lena",
        "Liam",
        "Lucia",
        "Mai",
        "Malik",
        "Maria",
        "Mateo",
        "Maya",
        "Mina",
        "Nadia",
        "Nia",
        "Nils",
        "Noah",
        "Nora",
        "Olga",
        "Omar",
        "Pablo",
        "Priya",
        "Rafael",
        "Rosa",
        "Samir",
        "Sara",
        "Sofia",
        "Tariq",
        "Tomas",
        "Vera",
        "Wei",
        "Yara",
        "Yusuf",
        "Zainab",
        "Zoe",
    ]
)
