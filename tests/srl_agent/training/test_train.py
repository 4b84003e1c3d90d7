"""The command line, for real: a tiny model on built-in problems, killed, damaged, resumed, and on
two processes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.rollouts.rollout_log import FOLDER, index_lines, part_indexes

STEPS = 4
# `accelerate launch --cpu --num_processes 2` would start one process without MPI; --multi_gpu says
# how processes are started, not that there are GPUs.
TWO_PROCESSES = (
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "--main_process_port",
    "0",
    "-m",
)


def arguments(model: Path, output: Path, **over: object) -> list[str]:
    settings: dict[str, object] = {
        "model_name_or_path": model,
        "output_dir": output,
        "require_think": "false",
        "bf16": "false",
        "count": 170,
        "held_out": 20,
        "eval_instances": 6,
        "test_instances": 6,
        "format_warmup_steps": 0,
        "max_completion_length": 24,
        "num_generations": 4,
        "prompts_per_step": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "max_steps": STEPS,
        "save_steps": 1,
        "eval_steps": 1,
        **over,
    }
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def train(
    *flags: str, launcher: tuple[str, ...] = ("-m",), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "srl_agent.train", *flags]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=500, cwd=cwd
    )


def lines(run: Path, kind: str) -> dict[int, dict[str, float]]:
    """The last line of each step."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row for row in rows if row["kind"] == kind}


def losses(run: Path) -> dict[int, tuple[float, float, float | None]]:
    return {
        step: (row["loss"], row["grad_norm"], row.get("reward_all"))
        for step, row in lines(run, "train").items()
    }


@pytest.fixture(scope="module")
def undisturbed(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    done = train(*arguments(tiny_model_dir, run))
    assert done.returncode == 0, done.stderr[-3000:]
    return run


def test_a_run_leaves_its_folder_complete(undisturbed: Path) -> None:
    for name in (
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "report.html",
        "final/model.safetensors",
        "samples/base-0.jsonl",
    ):
        assert (undisturbed / name).is_file(), name
    config = yaml.safe_load((undisturbed / "config.yaml").read_text())
    assert (
        config["autojunk"] is False
        and config["min_reward_std"] == 1e-3
        and config["loss_type"] == "grpo"
    )
    steps = lines(undisturbed, "train")
    assert sorted(steps) == list(range(1, STEPS + 1))
    for row in steps.values():
        assert row["groups_kept"] == 2
        assert {
            "reward",
            "reward_all",
            "rounds",
            "groups_dropped",
            "format_rate",
            "malformed/truncated",
            "time/generation",
            "time/forward",
            "time/backward",
            "similarity",
        } <= set(row)
    assert sorted(lines(undisturbed, "eval")) == list(range(STEPS + 1))
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert [stage["stage"] for stage in summary["stages"]] == ["base", "srl"]
    assert summary["stages"][0]["count"] == 6
    logged = [line for index in part_indexes(undisturbed / FOLDER) for line in index_lines(index)]
    kept = [line for line in logged if line["fate"] == "kept"]
    assert [line["step"] for line in kept] == [step for step in steps for _ in range(2)]
    for step, row in steps.items():
        means = [line["mean"] for line in kept if line["step"] == step]
        assert row["reward"] == pytest.approx(sum(means) / 2, abs=1e-5)


def test_tensorboard_gets_the_figures_of_metrics_jsonl(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the package tensorboard is not installed",
    )
    run = tmp_path / "run"
    done = train(
        *arguments(tiny_model_dir, run, max_steps=1), "--report_to", "tensorboard", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    events = reading.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    for kind, prefix, names in (
        ("train", "", ("reward_all", "similarity", "groups_kept", "malformed/no_think")),
        ("eval", "eval_", ("reward", "format_rate", "similarity")),
    ):
        for name in names:
            written = {one.step: one.value for one in events.Scalars(f"{kind}/{name}")}
            ours = {step: row[prefix + name] for step, row in lines(run, kind).items()}
            assert written == pytest.approx(ours)


def test_without_a_bar_the_first_validation_is_a_short_line_too(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    done = train(*arguments(tiny_model_dir, tmp_path / "run", max_steps=1, disable_tqdm="true"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "validation    0  reward" in done.stdout and "validation    1  reward" in done.stdout
    assert "eval_reward" not in done.stdout


def test_a_finished_run_is_not_overwritten(undisturbed: Path, tiny_model_dir: Path) -> None:
    before = (undisturbed / "metrics.jsonl").read_bytes()
    again = train(*arguments(tiny_model_dir, undisturbed))
    assert (
        again.returncode == 1
        and "holds a finished run" in again.stderr
        and "Traceback" not in again.stderr
    )
    assert (undisturbed / "metrics.jsonl").read_bytes() == before


def kill_after(run: Path, step: int, *flags: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "srl_agent.train", *flags],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (run / f"checkpoint-{step}" / "manifest.json").is_file():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_losses(
    undisturbed: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    flags = arguments(tiny_model_dir, run, max_steps=STEPS)
    kill_after(run, 2, *flags)
    resumed = train(*flags)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "resuming from" in resumed.stderr
    assert losses(run) == losses(undisturbed)


@pytest.mark.slow
def test_resume_in_the_middle_of_a_generation_and_past_a_damaged_checkpoint(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    # prompts_per_step 2 * 4 rollouts / batch 4 = 2 micro-batches a step; 6 micro-batches a
    # generation: it serves three optimizer steps
    several = {"steps_per_generation": 6, "max_steps": 5, "save_total_limit": 5}
    whole = tmp_path / "whole"
    done = train(*arguments(tiny_model_dir, whole, **several))
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "cut"
    flags = arguments(tiny_model_dir, run, **several)
    kill_after(run, 2, *flags)
    latest = sorted(run.glob("checkpoint-*"))[-1]
    state = latest / "trainer_state.json"
    state.write_text(state.read_text()[:100])  # damaged: the one before is used
    resumed = train(*flags)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert f"{latest.name} is left out: trainer_state.json has 100 bytes" in resumed.stderr
    assert losses(run) == losses(whole)


@pytest.mark.slow
def test_two_processes_decide_together(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "two"
    # A third of the groups is dropped at this bound, on one process or the other.
    done = train(
        *arguments(
            tiny_model_dir, run, per_device_train_batch_size=2, min_reward_std=0.4, max_steps=3
        ),
        launcher=TWO_PROCESSES,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    rows = lines(run, "train")
    assert sorted(rows) == [1, 2, 3]
    assert sum(row["groups_dropped"] for row in rows.values()) > 0
    assert all(row["groups_kept"] <= 2 for row in rows.values())


@pytest.mark.slow
def test_format_warm_up_and_lora(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "warm"
    flags = arguments(
        tiny_model_dir,
        run,
        format_warmup_steps=2,
        warmup_instances=2,
        max_steps=2,
        use_peft="true",
        lora_target_modules="all-linear",
    )
    done = train(*flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(lines(run, "warmup")) == [1, 2]
    assert (run / "warmup" / "model.safetensors").is_file()
    assert (run / "final" / "adapter_model.safetensors").is_file()
    assert [
        stage["stage"] for stage in json.loads((run / "summary.json").read_text())["stages"]
    ] == ["base", "warmup", "srl"]


@pytest.mark.slow
def test_ctrl_c_writes_a_checkpoint_and_the_same_command_goes_on(
    undisturbed: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "interrupted"
    flags = arguments(tiny_model_dir, run, save_steps=STEPS, eval_steps=STEPS)
    process = subprocess.Popen(
        [sys.executable, "-m", "srl_agent.train", *flags],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (
        (run / "metrics.jsonl").is_file()
        and '"kind": "train"' in (run / "metrics.jsonl").read_text()
    ):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=300)
    assert process.returncode == 130, error[-2000:]
    assert "with a checkpoint" in output and "Traceback" not in error
    resumed = train(*flags)
    assert resumed.returncode == 0 and "resuming from" in resumed.stderr, resumed.stderr[-3000:]
    assert losses(run) == losses(undisturbed)


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_after_the_same_step(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "two"
    flags = arguments(
        tiny_model_dir,
        run,
        per_device_train_batch_size=2,
        max_steps=200,
        save_steps=200,
        eval_steps=200,
    )
    command = [sys.executable, *TWO_PROCESSES, "srl_agent.train", *flags]
    with (tmp_path / "output").open("w") as output:
        launcher = subprocess.Popen(command, env=environment(), stdout=output, stderr=output)
    while not (
        (run / "metrics.jsonl").is_file()
        and '"kind": "train"' in (run / "metrics.jsonl").read_text()
    ):
        assert launcher.poll() is None, (tmp_path / "output").read_text()[-3000:]
        time.sleep(0.01)
    workers = [
        process
        for process in psutil.Process(launcher.pid).children()
        if "srl_agent.train" in process.cmdline()
    ]
    assert len(workers) == 2
    workers[-1].send_signal(signal.SIGINT)
    assert launcher.wait() != 0
    text = (tmp_path / "output").read_text()
    assert "with a checkpoint" in text, text[-3000:]
    [checkpoint] = run.glob("checkpoint-*")
    assert (checkpoint / "manifest.json").is_file()
    assert {path.name for path in checkpoint.glob("srl_state-*.pt")} == {
        "srl_state-0.pt",
        "srl_state-1.pt",
    }


@pytest.mark.slow
@pytest.mark.parametrize("prefilled", ["false", "true"])
def test_a_template_that_opens_the_block_and_refuses_system_messages(
    tiny_model_dir: Path, tmp_path: Path, prefilled: str
) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_model_dir, model)
    (model / "chat_template.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        "<|assistant|><think>\n"
    )
    settings = {"require_think": "true", "think_prefilled": prefilled, "max_steps": 1}
    warm = {"format_warmup_steps": 2, "dynamic_sampling": "false"}
    done = train(*arguments(model, run, **settings, **warm))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("the front of the first user message") == 1
    answers = [
        json.loads(line)
        for path in (run / "samples").glob("*")
        for line in path.read_text().splitlines()
    ]
    assert answers and {answer["completion"].count("<think>") for answer in answers} == {1}
    assert all(answer["completion"].startswith("<think>") for answer in answers)
    assert "unopened_think" not in {answer["error"] for answer in answers}


def test_nothing_to_learn_stops_with_the_cure(tiny_model_dir: Path, tmp_path: Path) -> None:
    done = train(
        *arguments(tiny_model_dir, tmp_path / "run", require_think="true", max_sampling_rounds=2)
    )
    assert done.returncode == 1
    assert (
        "Nothing can be learned" in done.stderr
        and "--format_warmup_steps" in done.stderr
        and "Traceback" not in done.stderr
    )
    final = tmp_path / "run" / "final"
    assert f"The model of step 0 is {final}." in done.stderr
    load_model_and_tokenizer(str(final), dtype="float32")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config", "srl_math_8b"], "There is no config 'srl_math_8b': use one of "),
        (["--lerning_rate", "1"], "unknown setting --lerning_rate: did you mean learning_rate"),
        (["--learning_rate", "fast"], "invalid float value"),
        (["--min_reward_std", "2"], "min_reward_std is 2.0: it must be in"),
        (["--prompts_per_step", "3"], "not a multiple of processes"),
        (["--source", "gsm9k"], "Unknown source 'gsm9k'"),
        (["--model_name_or_path", "/nowhere/model"], "/nowhere/model"),
        (["--held_out", "5000"], "held_out is 5000"),
        (["--held_out", "1"], "held_out is 1: it must be at least 2"),
        (["--use_vllm", "true"], 'pip install -e ".[vllm]" (in the project\'s folder)'),
        (["--use_liger_kernel", "true"], "use_liger_kernel needs the package 'liger_kernel'"),
        (["--deepspeed", "/nope.json"], "deepspeed"),
        (["--report_to", "none", "nonsense"], "report_to is 'none'"),
        (["--report_to", "nonsense"], "report_to is 'nonsense'"),
        (["--push_to_hub", "true"], "push_to_hub is not supported"),
        (["--resume_from_checkpoint", "/nope"], "there is no folder /nope"),
        (["--eval_instances", "-1"], "eval_instances is -1: it must be 0 or more"),
        (["--test_instances", "-5"], "test_instances is -5"),
        (["--num_generations_eval", "0"], "num_generations_eval is 0: it must be at least 1"),
        (["--warmup_instances", "0"], "warmup_instances is 0"),
        (["--per_device_train_batch_size", "0"], "per_device_train_batch_size is 0"),
        (["--prompts_per_step", "0"], "prompts_per_step is 0"),
        (["--max_steps", "0"], "max_steps is 0: it must be at least 1, or -1"),
        (["--seed", "-1"], "seed is -1"),
        (["--learning_rate", "-1"], "learning_rate is -1.0: it must be greater than 0"),
        (["--loss_type", "foo"], "loss_type is 'foo': it must be one of grpo"),
        (["--temperature", "0"], "temperature is 0.0"),
        (["--repetition_penalty", "1.2"], "our own sampling does not have it"),
        (["--log_completions", "true"], "it has no effect here"),
        (["--load_in_4bit", "true"], "quantized training is not supported"),
        (["--save_strategy", "no"], "--load_best_model_at_end"),
        (["--metric_for_best_model", "accuracy"], "it must be eval_reward or eval_format_rate"),
        (["--limit", "0"], "limit is 0"),
        (["--max_prompt_length", "0"], "max_prompt_length is 0"),
        (["--config", "srl_swe_quickstart", "--history_turns", "-1"], "history_turns is -1"),
        (["--config", "srl_swe_quickstart", "--held_out", "1"], "held_out is 1"),
        (["--scored", "tool"], "invalid choice: 'tool'"),
        (["--config", "srl_swe_quickstart", "--steps", "one"], "steps is 'one', which is for math"),
    ],
)
def test_mistakes_end_with_one_clear_message(
    flags: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from srl_agent.train import main

    assert main([*flags, "--output_dir", str(tmp_path / "run")]) == 1
    output, error = capfd.readouterr()
    told = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and message in told[0]
    assert "Traceback" not in error and "base:" not in output, "told before any model answers"


def test_folders(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from srl_agent.train import main

    run, other = tmp_path / "run", tmp_path / "other"
    assert main(["--source", "gsm9k", "--output_dir", str(run)]) == 1
    assert main(["--source", "gsm10k", "--output_dir", str(run)]) == 1, (
        "a start that failed does not block its folder"
    )
    assert "Unknown source 'gsm10k'" in capfd.readouterr().err
    (run / "metrics.jsonl").write_text("{}\n")
    assert main(["--source", "gsm9k", "--output_dir", str(run)]) == 1
    assert "holds a run with other settings (source was " in capfd.readouterr().err
    other.mkdir()
    (other / "thesis.tex").write_text("precious")
    assert main(["--output_dir", str(other)]) == 1
    assert "is not empty and holds no run" in capfd.readouterr().err
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_a_yaml_config_with_an_unknown_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from srl_agent.train import main

    config = tmp_path / "mine.yaml"
    config.write_text("learning_rate: 1.0e-6\ntemprature: 1.0\n")
    assert main(["--config", str(config), "--output_dir", str(tmp_path / "run")]) == 1
    assert "unknown setting 'temprature': did you mean temperature" in capfd.readouterr().err


def test_a_yaml_config_with_a_name_without_a_value(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from srl_agent.train import main

    config = tmp_path / "mine.yaml"
    config.write_text("limit: null\nobservation_characters: null\n")
    assert main(["--config", str(config), "--output_dir", str(tmp_path / "run")]) == 1
    assert "observation_characters has no value" in capfd.readouterr().err


def test_the_paper_settings() -> None:
    from srl_agent.command_line import read_config

    settings = read_config("srl_math_7b")
    paper = {
        "prompts_per_step": 512,
        "num_generations": 8,
        "learning_rate": 5e-7,
        "temperature": 1.0,
        "beta": 0.0,
        "max_grad_norm": 1.0,
        "held_out": 60,
    }
    assert {name: settings[name] for name in paper} == paper
    assert (
        settings["model_name_or_path"] == "Qwen/Qwen2.5-7B-Instruct"
        and settings["source"] == "simplescaling/s1K-1.1"
    )


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("srl_math_7b_no_dynamic_sampling", {"dynamic_sampling"}),
        ("srl_math_7b_one_step", {"steps", "targets", "title_hint", "max_completion_length"}),
    ],
)
def test_ablations_differ_from_the_paper_settings_in_what_they_ablate(
    name: str, changed: set[str]
) -> None:
    from srl_agent.command_line import read_config

    ablation, whole = read_config(name), read_config("srl_math_7b")
    assert {
        key for key in ablation.keys() | whole.keys() if ablation.get(key) != whole.get(key)
    } == changed


def test_one_step_asks_for_the_whole_solution(tiny_model_dir: Path, tmp_path: Path) -> None:
    from srl_agent.train import main
    from srl_envs.data import load_trajectories

    run = tmp_path / "run"
    assert (
        main(
            arguments(
                tiny_model_dir, run, steps="one", max_steps=1, use_cpu="true", disable_tqdm="true"
            )
        )
        == 0
    )
    solutions = {
        trajectory.id: trajectory.solution.strip()
        for trajectory in load_trajectories("builtin", count=170)
    }
    answers = [
        json.loads(line) for line in (run / "samples" / "base-0.jsonl").read_text().splitlines()
    ]
    assert answers and all(
        answer["expert"] == solutions[answer["instance_id"].removesuffix("/1")]
        for answer in answers
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1: 2\n", "unknown setting 1. --help lists the"),
        (b"source: caf\xe9\n", "is not UTF-8 text (byte 11)"),
        (b"learning_rate: [1, 2]\n", "learning_rate is [1, 2]: it must be one value, not a list"),
        (b"learning_rate: [1\n", "is not valid YAML"),
    ],
)
def test_yaml_configs_that_cannot_be_used(
    content: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from srl_agent.train import main

    config = tmp_path / "mine.yaml"
    config.write_bytes(content)
    assert main(["--config", str(config), "--output_dir", str(tmp_path / "run")]) == 1
    error = capfd.readouterr().err
    assert message in error and error.count("\n") == 1


def test_help_tells_where_defaults_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    from srl_agent.train import main

    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Without --config the config is quickstart" in shown
    assert "A checkpoint, or a run folder" in shown and "Default: quickstart" not in shown


@pytest.mark.slow
def test_training_of_all_weights_from_an_adapter_with_a_reference(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapter, run = tmp_path / "adapter", tmp_path / "run"
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    get_peft_model(
        base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    ).save_pretrained(adapter)
    done = train(*arguments(adapter, run, beta=0.1, max_steps=1))
    assert done.returncode == 0, done.stderr[-3000:]
    assert (run / "start" / "model.safetensors").is_file(), "what the reference was read from"
    assert (run / "final" / "model.safetensors").is_file()


def test_an_adapter_of_a_relative_path_and_a_revision_is_found_from_anywhere(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model_dir.parent)
    base = Path(tiny_model_dir.name)
    lora = {"use_peft": "true", "lora_target_modules": "all-linear", "model_revision": "other"}
    run = tmp_path / "run"
    done = train(*arguments(base, run, max_steps=1, **lora))
    assert done.returncode == 0, done.stderr[-3000:]
    config = json.loads((run / "final" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model_dir.resolve())
    assert config["revision"] == "other", "the hub's main may hold other weights"
    monkeypatch.chdir(tmp_path)
    model, _ = load_model_and_tokenizer("run/final", dtype="float32")
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["true", "false"])
def test_a_model_of_text_and_images_is_trained_with_text(
    peft: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    size = len(tokenizer)
    text = {
        "vocab_size": size + 4,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 64,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    images = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config=images,
        mm_tokens_per_image=4,
        image_token_index=size + 1,
        boi_token_index=size + 2,
        eoi_token_index=size + 3,
    )
    folder, run = tmp_path / "gemma", tmp_path / "run"
    model = Gemma3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = [0, *range(20, 60)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    lora = {"use_peft": peft, "lora_target_modules": "all-linear"} if peft == "true" else {}
    done = train(*arguments(folder, run, max_steps=1, **lora))
    assert done.returncode == 0, done.stderr[-3000:]
    trained, _ = load_model_and_tokenizer(str(run / "final"), dtype="float32")
    assert isinstance(trained, Gemma3ForConditionalGeneration)
