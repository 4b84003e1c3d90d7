"""What our code in ``training/trl`` asks of TRL and transformers: an upgrade fails here first.

Nothing is listed by hand. The source is walked for overrides, calls and attributes; types are
followed from classes, annotations and assignments, as far as they are plain. Where a type is not
known, nothing is checked.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer

import srl_agent
import srl_agent.training.trl as package

OURS = ("srl_agent", "srl_envs", "contract_")


def is_ours(c: type) -> bool:
    return c.__module__.startswith(OURS)


def library_bases(c: type) -> list[type]:
    return [b for b in c.__mro__ if not is_ours(b) and b is not object]


@cache
def tree_of(c: type) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(c)))
    except (OSError, TypeError, SyntaxError):
        return None  # built in


def classes_in(annotation: Any, scope: dict[str, Any]) -> frozenset[type]:
    """The classes that an annotation, perhaps a text, allows."""
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, {**vars(builtins), **scope})
        except Exception:
            return frozenset()
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        parts = [classes_in(part, scope) for part in typing.get_args(annotation)]
        return frozenset().union(*parts)
    plain = inspect.isclass(annotation) and annotation not in (type(None), object, Any)
    return frozenset([annotation]) if plain else frozenset()


def scope_of(thing: Any) -> dict[str, Any]:
    return vars(sys.modules[thing.__module__])


def functions_of(c: type) -> Iterator[ast.FunctionDef]:
    tree = tree_of(c)
    body = tree.body[0].body if isinstance(tree, ast.Module) else []
    return (node for node in body if isinstance(node, ast.FunctionDef))


class Scope:
    """The types of the names in one function, or at the top of a module.

    Args:
        names: The module's globals.
        owner: The class whose method it is.
        function: None for the module itself.
    """

    def __init__(
        self, names: dict[str, Any], owner: type | None, function: ast.FunctionDef | None
    ) -> None:
        self.names, self.owner, self.types = names, owner, {}
        if function is None:
            return
        arguments = function.args
        for number, argument in enumerate([*arguments.posonlyargs, *arguments.args]):
            self.types[argument.arg] = self._parameter(function.name, argument, number)
        unknown = {
            name.id
            for node in ast.walk(function)
            if isinstance(node, (ast.For, ast.comprehension, ast.NamedExpr, ast.With))
            for name in ast.walk(node)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        for node in ast.walk(function):
            for target, value in assignments(node):
                if isinstance(target, ast.Name):
                    found = self.type_of(value) if value is not None else frozenset()
                    if not found:
                        unknown.add(target.id)
                    self.types[target.id] = self.types.get(target.id, frozenset()) | found
        self.types |= dict.fromkeys(unknown, frozenset())

    def _parameter(self, function: str, argument: ast.arg, number: int) -> frozenset[type]:
        if self.owner is not None and number == 0:
            return frozenset([self.owner])
        written = argument.annotation
        found = classes_in(ast.unparse(written), self.names) if written else frozenset()
        if not found and argument.arg == "trainer":  # any trainer of transformers
            return frozenset([Trainer])
        if written is None and self.owner is not None:  # as the library has it
            for base in library_bases(self.owner):
                method = vars(base).get(function)
                annotation = getattr(method, "__annotations__", {}).get(argument.arg)
                if annotation is not None:
                    return classes_in(annotation, scope_of(base))
        return found

    def type_of(self, node: ast.AST) -> frozenset[type]:
        match node:
            case ast.Name(id=name):
                return self.types.get(name, frozenset())
            case ast.Call(func=ast.Name(id=name)) if inspect.isclass(self.names.get(name)):
                return frozenset([self.names[name]])
            case ast.Attribute(value=value, attr=name):
                owners = self.type_of(value)
                found = [attribute_types(owner, name) for owner in owners]
                return frozenset().union(*found) if all(found) else frozenset()
        return frozenset()


def assignments(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    """Targets and values; the value is None where it cannot be told."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if not isinstance(target, ast.Tuple):
                yield target, node.value
                continue
            alike = isinstance(node.value, ast.Tuple) and len(node.value.elts) == len(target.elts)
            values = node.value.elts if alike else [None] * len(target.elts)
            yield from zip(target.elts, values, strict=True)


@cache
def attribute_types(owner: type, name: str) -> frozenset[type]:
    """The classes that an attribute may have: of an annotation, or of what is assigned to it."""
    for c in owner.__mro__:
        annotation = vars(c).get("__annotations__", {}).get(name)
        if annotation is not None:
            return classes_in(annotation, scope_of(c))
    found: frozenset[type] = frozenset()
    for c in owner.__mro__:
        for function in functions_of(c):
            stored = [
                value
                for node in ast.walk(function)
                for target, value in assignments(node)
                if isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and (target.value.id, target.attr) == ("self", name)
            ]
            if stored:
                scope = Scope(scope_of(c), c, function)
                found |= frozenset().union(*(scope.type_of(v) for v in stored if v is not None))
    return found


@cache
def defined(c: type) -> frozenset[str]:
    """The names that a class gives its instances: its own, and what it stores in ``self``.

    Of our classes over a library's only what ``__init__`` stores: elsewhere they set what the
    library has, and an annotation there says of what type that is.
    """
    names = set(vars(c))
    refines = is_ours(c) and library_bases(c)
    if not refines:
        names |= set(vars(c).get("__annotations__", {}))
    names |= {
        target.attr
        for function in functions_of(c)
        if not refines or function.name == "__init__"
        for target in ast.walk(function)
        if isinstance(target, ast.Attribute)
        and isinstance(target.ctx, ast.Store)
        and ast.unparse(target.value) == "self"
    }
    return frozenset(names)


def has(c: type, name: str) -> bool:
    return any(name in defined(b) or "__getattr__" in vars(b) for b in c.__mro__)


def accepts(function: Any, call: ast.Call, bound: bool) -> bool:
    """Whether a call as it is written fits; what is behind ``*`` and ``**`` is not looked at."""
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return True
    keywords = [keyword.arg for keyword in call.keywords]
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        bind = signature.bind_partial if None in keywords else signature.bind
        bind(*[None] * (bound + len(call.args)), **{name: None for name in keywords if name})
    except TypeError:
        return False
    return True


def overrides_well(ours: Callable[..., Any], theirs: Callable[..., Any]) -> bool:
    """Whether our method takes every call that the library's takes, by place and by name."""
    mine, library = inspect.signature(ours), inspect.signature(theirs)
    named = [p for p in library.parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD][1:]
    needed = [p for p in named if p.default is p.empty]
    try:
        for parameters in (named, needed):
            mine.bind(None, *[None] * len(parameters))
            mine.bind(None, **{p.name: None for p in parameters})
    except TypeError:
        return False
    return True


def tuple_lengths(function: ast.AST) -> set[int]:
    """The lengths of the tuples that a function returns, where it writes them out."""
    return {
        len(node.value.elts)
        for node in ast.walk(function)
        if isinstance(node, ast.Return)
        and isinstance(node.value, ast.Tuple)
        and not any(isinstance(e, ast.Starred) for e in node.value.elts)
    }


def wrong_overrides(c: type, used: set[str]) -> Iterator[str]:
    """Methods that neither the library has nor our code calls, or that take other arguments."""
    bases = library_bases(c)
    for node in functions_of(c):
        name = node.name
        base = next((b for b in bases if name in vars(b)), None)
        if base is None:
            if bases and name not in used and not name.startswith("__"):
                yield f"{c.__name__}.{name} overrides nothing, and nothing of ours calls it"
            continue
        theirs = vars(base)[name]
        if name == "__init__" or not inspect.isfunction(theirs):
            continue
        if not overrides_well(vars(c)[name], theirs):
            yield (
                f"{c.__name__}.{name}{inspect.signature(vars(c)[name])} cannot take the calls of"
                f" {base.__name__}.{name}{inspect.signature(theirs)}"
            )
        other = next(f for f in functions_of(base) if f.name == name)
        lengths = tuple_lengths(node), tuple_lengths(other)
        if all(lengths) and lengths[0] != lengths[1]:
            yield f"{c.__name__}.{name} returns {lengths[0]} values, {base.__name__}'s {lengths[1]}"


def wrong_uses(function: ast.AST, scope: Scope) -> Iterator[str]:
    """Attributes that do not exist, and calls that do not fit."""
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                if not any(hasattr(base, name) for base in library_bases(scope.owner)):
                    yield f"{scope.owner.__name__}: no library class has super().{name}"
            case ast.Attribute(value=ast.Name(id=root), attr=name) if root not in scope.types and (
                inspect.ismodule(scope.names.get(root)) or inspect.isclass(scope.names.get(root))
            ):
                if not hasattr(scope.names[root], name):
                    yield f"{root} has no {name}"
            case ast.Attribute(value=value, attr=name):
                owners = scope.type_of(value)
                if owners and not any(has(c, name) for c in owners):
                    kinds = " or ".join(sorted(c.__name__ for c in owners))
                    yield f"{ast.unparse(node)}: {kinds} has no {name}"
            case ast.Call(func=ast.Name(id=name)) if callable(scope.names.get(name)):
                if not accepts(scope.names[name], node, bound=False):
                    yield f"{name} cannot be called so: {ast.unparse(node)}"
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        value, name = node.func.value, node.func.attr
        above_ours = isinstance(value, ast.Call) and ast.unparse(value) == "super()"
        owners = library_bases(scope.owner)[:1] if above_ours else scope.type_of(value)
        for c in owners:
            method = inspect.getattr_static(c, name, None)
            if inspect.isfunction(method) and not accepts(method, node, bound=True):
                yield f"{c.__name__}.{name} cannot be called so: {ast.unparse(node)}"


def names_in_use(folder: Path) -> set[str]:
    """All attributes that the sources in a folder read, except through ``super()``."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")]
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and ast.unparse(node.value) != "super()"
    }


def broken(module: types.ModuleType, used: set[str]) -> list[str]:
    """What a module asks of the libraries that these do not have."""
    found = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef):
            found += wrong_uses(node, Scope(vars(module), None, node))
        elif isinstance(node, ast.ClassDef):
            c = vars(module)[node.name]
            found += wrong_overrides(c, used)
            for function in functions_of(c):
                found += wrong_uses(function, Scope(vars(module), c, function))
    return found


MODULES = [module.name for module in pkgutil.iter_modules(package.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_libraries_have_all_that_we_override_call_and_read(name: str) -> None:
    module = importlib.import_module(f"{package.__name__}.{name}")
    assert broken(module, names_in_use(Path(srl_agent.__file__).parent)) == []


def test_each_trainer_is_one_class_over_the_librarys() -> None:
    for name in MODULES:
        for c in vars(importlib.import_module(f"{package.__name__}.{name}")).values():
            if inspect.isclass(c) and is_ours(c) and issubclass(c, Trainer):
                assert [b for b in c.__mro__ if is_ours(b)] == [c]


WRONG = {
    "Wrong._run_epochs overrides nothing": """
        class Wrong(GRPOTrainer):
            def _run_epochs(self, *args, **kwargs):
                self.control.should_training_stop = True
        """,
    "Wrong._save_checkpoint(self, model) cannot take the calls of GRPOTrainer._save_checkpoint": """
        class Wrong(GRPOTrainer):
            def _save_checkpoint(self, model):
                super()._save_checkpoint(model, None)
        """,
    "Wrong._compute_loss(self, model, batch) cannot take the calls": """
        class Wrong(GRPOTrainer):
            def _compute_loss(self, model, batch):
                return super()._compute_loss(model, batch)
        """,
    "Wrong.on_step_end(self, args, state) cannot take the calls": """
        class Wrong(TrainerCallback):
            def on_step_end(self, args, state):
                pass
        """,
    "Wrong._generate returns {3} values, GRPOTrainer's {8}": """
        class Wrong(GRPOTrainer):
            def _generate(self, prompts):
                return [], [], None
        """,
    "no library class has super()._load_best": """
        class Wrong(Trainer):
            def load_best(self):
                super()._load_best()
                self.load_best()
        """,
    "self._made_up: Wrong has no _made_up": """
        class Wrong(Trainer):
            def log(self, logs, start_time=None):
                print(self._made_up)
        """,
    "self._old_step: Wrong has no _old_step": """
        class Wrong(Trainer):
            _old_step: int

            def log(self, logs, start_time=None):
                self._old_step = 1
        """,
    "trainer._metrics_of_steps: Trainer has no _metrics_of_steps": """
        def clear(trainer: Any) -> None:
            trainer._metrics_of_steps.clear()
        """,
    "state.best_checkpoint: TrainerState has no best_checkpoint": """
        def best(trainer: Any) -> Any:
            args, state = trainer.args, trainer.state
            return state.best_checkpoint
        """,
    "self.vllm_generation.push_weights: VLLMGeneration has no push_weights": """
        class Wrong(GRPOTrainer):
            def log(self, logs, start_time=None):
                self.vllm_generation.push_weights()
        """,
    "control.should_end: TrainerControl has no should_end": """
        class Wrong(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                return control.should_end
        """,
    "Wrong._generate_single_turn cannot be called so": """
        class Wrong(GRPOTrainer):
            def log(self, logs, start_time=None):
                self._generate_single_turn([[1]], None)
        """,
    "Trainer has no from_model": """
        def made(model: Any) -> Any:
            return Trainer.from_model(model)
        """,
    "pad cannot be called so": """
        def padded(rows: Any) -> Any:
            return pad(rows, side="left")
        """,
}


@pytest.mark.parametrize("message", WRONG)
def test_what_the_libraries_lack_is_found(message: str, tmp_path: Path) -> None:
    path = tmp_path / f"contract_{list(WRONG).index(message)}.py"
    path.write_text(
        "from typing import Any\nfrom transformers import Trainer, TrainerCallback\n"
        "from trl import GRPOTrainer\nfrom trl.trainer.utils import pad\n"
        + textwrap.dedent(WRONG[message])
    )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        found = broken(module, names_in_use(tmp_path))
    finally:
        del sys.modules[path.stem]
    assert [text for text in found if message in text], found
    assert len(found) == 1, found
