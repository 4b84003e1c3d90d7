"""Methods: a fourth one, from an installed package, trains; what each allows; what is recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_train import arguments, lines
from transformers import TrainerCallback

from srl_agent.command_line import parse
from srl_agent.runs.reading import read_run
from srl_agent.runs.records import MethodRecord
from srl_agent.train import main
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.methods import METHODS, Method, check_used, register_method
from srl_agent.training.trl.grpo import SRLTrainer
from srl_envs.errors import ConfigError
from srl_envs.rewards import REWARDS

PLUGIN = '''
"""A method: GRPO on how short an answer to a whole problem is."""

from srl_agent.training.methods import Method, problem_examples
from srl_envs.response import Response
from srl_envs.reward import StepReward


class Shortness:
    measure, malformations, format = "shortness", (), None
    explained = "1 for an empty answer, less for longer ones."

    def score(self, instances, texts, truncated):
        return [StepReward(1 / (1 + len(text)), None, Response("", text)) for text in texts]

    def close(self):
        pass


class Brief(Method):
    label, summary = "Brief", "reward is how short the answer is"

    def asks(self, args):
        return "problem"

    def scorer(self, args):
        return Shortness()
'''


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process in which a package with an entry point is installed."""
    site = tmp_path_factory.mktemp("site")
    (site / "brief_method.py").write_text(PLUGIN)
    info = site / "brief_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brief-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[srl_agent.methods]\nbrief = brief_method:Brief\n")
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def command(environment: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    train = [sys.executable, "-m", "srl_agent.train", *flags]
    return subprocess.run(train, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_an_installed_method_trains(
    environment: dict[str, str], tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = {"method": "brief", "max_steps": 2, "format_warmup_steps": 1, "use_cpu": "true"}
    done = command(environment, *arguments(tiny_model_dir, run, **settings))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "base: held-out shortness" in done.stderr
    assert sorted(lines(run, "train")) == [1, 2]
    summary = json.loads((run / "summary.json").read_text())
    assert [stage["stage"] for stage in summary["stages"]] == ["base", "warmup", "brief"]
    page = (run / "report.html").read_text()
    assert "After Brief" in page and "Brief changed the shortness by" in page
    assert "1 for an empty answer" in page and "SRL" not in page.split("<h2>Settings")[0]
    records = read_run(run)  # here the package is not installed
    assert records.method == MethodRecord(
        "brief", "Brief", "shortness", "1 for an empty answer, less for longer ones.", "problem"
    )
    assert records.final_samples("brief") and records.notes == []


@pytest.mark.slow
def test_its_name_is_on_the_command_line_and_in_errors(environment: dict[str, str]) -> None:
    assert "brief" in command(environment, "--help").stdout
    wrong = command(environment, "--method", "grpo")
    assert wrong.returncode == 1 and "Traceback" not in wrong.stderr
    assert "method is 'grpo': use one of 'srl', 'rlvr', 'sft', 'agent', 'brief'." in wrong.stderr


def test_a_method_registered_in_a_script_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    register_method("mine_too")(type("Mine", (Method,), {"label": "Mine"}))
    try:
        with pytest.raises(SystemExit):
            parse([DataConfig, SRLConfig], "quickstart", ["--help"])
        assert "mine_too" in capsys.readouterr().out
        with pytest.raises(ConfigError, match="already a method 'mine_too'"):
            register_method("mine_too")(METHODS["srl"].__class__)
    finally:
        METHODS._entries.pop("mine_too")


@pytest.mark.parametrize(
    ("name", "given"), [("a-b", Method), ("../up", Method), ("f", len), ("bare", Method)]
)
def test_what_is_not_a_method(name: str, given: object) -> None:
    with pytest.raises(ConfigError, match=r"method"):
        METHODS.register(name, given)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sft_on", "steps"], "sft_on is 'steps': it must be left alone, since the method srl"),
        (["--method", "rlvr", "--reward", "mine_too"], "reward is 'mine_too'"),
        (["--method", "SRL"], "method is 'SRL': use one of 'srl', 'rlvr', 'sft'"),
        (["--method", ""], "method is ''"),
    ],
)
def test_settings_without_effect(
    flags: list[str],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(REWARDS._entries, "mine_too", lambda model, expert: 0.0)
    assert main([*flags, "--output_dir", str(tmp_path / "run")]) == 1
    assert message in capfd.readouterr().err


def test_a_setting_of_one_stage_goes_with_a_curriculum(tmp_path: Path) -> None:
    folder = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}
    stages = [SRLConfig(method=name, sft_on="steps", **folder) for name in ("srl", "sft")]
    check_used(stages)
    with pytest.raises(ConfigError, match="sft_on is 'steps'"):
        check_used(stages[:1])


def test_training_that_ends_early_is_not_called_interrupted(
    tiny_model_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class StopAfterOne(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = True

    def trainer(*parts):
        parts[6].append(StopAfterOne())
        return SRLTrainer(*parts)

    method = type("Short", (Method,), {"label": "Short", "trainer": staticmethod(trainer)})
    monkeypatch.setitem(METHODS._entries, "short", method())
    flags = arguments(tiny_model_dir, tmp_path / "run", method="short", max_steps=2)
    assert main([*flags, "--use_cpu", "true"]) == 1
    error = capfd.readouterr().err
    assert "error: Training ended after step 1 of 2, though no signal stopped it" in error
    assert "interrupted" not in error and (tmp_path / "run" / "report.html").is_file()


def test_a_run_with_nothing_to_learn_gives_its_signals_back(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    settings = {"method": "rlvr", "max_steps": 1, "max_sampling_rounds": 1, "use_cpu": "true"}
    assert main(arguments(tiny_model_dir, tmp_path / "run", **settings)) == 1
    assert "Nothing can be learned" in capfd.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("method", ["srl", "rlvr", "sft"])
def test_a_folder_without_a_record_of_its_method(method: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"method: {method}\n")
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 0.5}\n')
    records = read_run(tmp_path)
    assert (records.method.name, records.method.label) == (method, method.upper())
    assert bool(records.notes) == (method != "srl")
