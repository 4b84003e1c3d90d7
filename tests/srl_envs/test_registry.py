from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import srl_envs
from srl_envs import ExpertStep, RewardSettings, Trajectory, load_trajectories, step_reward
from srl_envs.commands import GRAMMARS, grammar_named
from srl_envs.data import SOURCES, SourceRequest
from srl_envs.data.jsonl import save_trajectories
from srl_envs.domain import DOMAINS, _declared
from srl_envs.errors import ConfigError, DataError
from srl_envs.registry import Registry
from srl_envs.rewards import REWARDS
from srl_envs.sandboxes import SANDBOXES
from srl_envs.steps import TextDomain

STEPS = (ExpertStep("e4"), ExpertStep("e5"))


@pytest.fixture(autouse=True)
def _names_of_this_test_only() -> Iterator[None]:
    before = [
        (registry, dict(registry._entries))
        for registry in (SOURCES, GRAMMARS, REWARDS, SANDBOXES, DOMAINS)
    ]
    domains = set(_declared)
    yield
    _declared.intersection_update(domains)
    for registry, entries in before:
        registry._entries.clear()
        registry._entries.update(entries)


def package(folder: Path, name: str, code: str, **points: str) -> None:
    """A package as pip leaves it in a folder: a module and its entry points."""
    (folder / f"{name}.py").write_text(code)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {value}" for point, value in points.items()]
    (information / "entry_points.txt").write_text("\n".join(["[tests.colours]", *lines, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def colours() -> Registry[str]:
    registry: Registry[str] = Registry("colour", "tests.colours", lambda name, value: str(value))
    registry.register("red", "#f00")
    return registry


def test_a_name_is_given_once_and_an_unknown_one_lists_all() -> None:
    registry = colours()
    with pytest.raises(ConfigError, match="There is already a colour 'red': choose another name"):
        registry.register("red", "#e00")
    with pytest.raises(ConfigError, match="The name of a colour is ''"):
        registry.register("", "#e00")
    registry.register("blue", "#00f")
    with pytest.raises(ConfigError, match="colour is 'green': use one of 'red', 'blue'"):
        registry.named("green")
    assert dict(registry) == {"red": "#f00", "blue": "#00f"} and "green" not in registry


def test_an_installed_package_is_imported_at_the_first_lookup_that_needs_it(site: Path) -> None:
    package(site, "srl_lazy_colours", "GREEN = '#0f0'\n", green="srl_lazy_colours:GREEN")
    registry = colours()
    assert registry.names() == ("red", "green") and registry.named("red") == "#f00"
    assert "srl_lazy_colours" not in sys.modules
    assert registry.named("green") == "#0f0" and tuple(registry) == ("red", "green")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named 'no_such_module"),
        ("raise RuntimeError('two\\nlines')\n", r"RuntimeError: two lines"),
        ("", "AttributeError: "),
    ],
)
def test_a_broken_package_is_named_in_one_line(
    site: Path, code: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"srl_broken_{abs(hash(code))}"
    package(site, name, code, green=f"{name}:GREEN")
    registry = colours()
    message = rf"The colour 'green' of the package '{name}' cannot be loaded \({reason}"
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigError, match=message) as caught:
        registry.named("green")
    assert "\n" not in str(caught.value) and [one.message for one in caplog.records] == [
        str(caught.value)
    ]
    assert tuple(registry) == ("red",), "the others still work"


def test_a_package_cannot_take_a_name_of_ours(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    package(site, "srl_rude_colours", "RED = '#e00'\n", red="srl_rude_colours:RED")
    registry = colours()
    assert len(registry) == 1 and registry["red"] == "#f00"
    assert "'srl_rude_colours' cannot be loaded (ConfigError: There is already a" in caplog.text


# ---------------------------------------------------------------- sources


def test_a_registered_source_is_read_like_ours() -> None:
    @srl_envs.register_source("openings", domain="chess", takes_path=False)
    def openings(request: SourceRequest) -> Iterator[Trajectory]:
        request.rejected["too short"] += 1
        for i in range(request.count):
            yield Trajectory(f"{i}", f"Game {i}.", STEPS, domain="chess")

    trajectories = load_trajectories("openings", count=5, limit=3)
    assert len(trajectories) == 3 and trajectories.rejected == Counter({"too short": 1})
    with pytest.raises(ConfigError, match="'openings' reads no file"):
        load_trajectories("openings", path="/nope")
    with pytest.raises(ConfigError, match="'openings' has no test split"):
        load_trajectories("openings", split="test")
    with pytest.raises(ConfigError, match=r"Unknown source 'opening': use one of .*openings"):
        load_trajectories("opening")


def test_a_source_gives_trajectories_of_a_known_domain(tmp_path: Path) -> None:
    file = tmp_path / "mahjong.jsonl"
    save_trajectories([Trajectory("t1", "Play.", STEPS, domain="mahjong")], file)
    with pytest.raises(
        DataError,
        match=r"'t1' has the unknown domain 'mahjong'\. Use one of .*math, .*steps, .*swe.*, or",
    ):
        load_trajectories(str(file))
    srl_envs.register_source("openings", domain="mahjong")(lambda request: [])
    assert load_trajectories(str(file))[0].domain == "mahjong"
    file = tmp_path / "shogi.jsonl"
    save_trajectories([Trajectory("t1", "Play.", STEPS, domain="shogi")], file)
    srl_envs.register_domain("shogi")(TextDomain)
    assert load_trajectories(str(file))[0].domain == "shogi"
    srl_envs.register_source("wrong")(lambda request: ["text"])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="The source 'wrong' gave str, not Trajectory objects"):
        load_trajectories("wrong")


# ---------------------------------------------------------------- the others


def test_a_registered_reward_scores_well_formed_answers() -> None:
    @srl_envs.register_reward("same_start")
    def same_start(model: str, expert: str) -> float:
        return float(model[:1] == expert[:1])

    settings = RewardSettings(name="same_start")
    assert step_reward("<think>x</think>\nNf3", "Nc3", settings).value == 1.0
    assert step_reward("<think>x</think>\ne4", "Nc3", settings).value == 0.0
    assert step_reward("e4", "e4", settings).value == -1.0


def test_rewards_are_checked() -> None:
    with pytest.raises(ConfigError, match="reward is 'simlarity': use one of 'similarity'"):
        RewardSettings(name="simlarity")
    srl_envs.register_reward("double")(lambda model, expert: 2.0)
    with pytest.raises(ConfigError, match=r"'double' gave 2\.0: it must be from 0 to 1"):
        step_reward("<think>x</think>\na", "a", RewardSettings(name="double"))
    with pytest.raises(ConfigError, match="autojunk has no effect on the reward 'double'"):
        RewardSettings(name="double", autojunk=True)
    with pytest.raises(ConfigError, match="already a reward 'similarity'"):
        srl_envs.register_reward("similarity")(lambda model, expert: 0.0)


def test_grammars_and_sandboxes_are_checked() -> None:
    with pytest.raises(ConfigError, match="grammar is 'bsh': use one of 'xml', 'tool', 'ticks'"):
        grammar_named("bsh")
    with pytest.raises(ConfigError, match=r"The grammar 'text' is .*: give a Grammar of that name"):
        srl_envs.register_grammar("text")(str)  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="sandbox is 'podman': use one of 'docker'"):
        SANDBOXES.named("podman")
