"""Training on software-engineering steps: prompts that fit, the right system message, what is
learned and what is compared.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_train import kill_after, lines, train
from transformers import AutoTokenizer
from trl import ModelConfig

from srl_agent.command_line import parse, read_config
from srl_agent.inference.chat import ChatEncoder
from srl_agent.rollouts.scorers import StepScorer
from srl_agent.rollouts.validation import halves_by_question, validate
from srl_agent.train import main
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.prompt_length import within_length
from srl_agent.training.trl.sft import expert_example
from srl_envs.commands import GRAMMARS
from srl_envs.data import load_trajectories
from srl_envs.errors import ConfigError
from srl_envs.instances import StepInstance
from srl_envs.prompts.step import MATH_SYSTEM_PROMPT, STEPS_SYSTEM_PROMPT
from srl_envs.prompts.swe_system import swe_system_prompt
from srl_envs.response import ResponseFormat
from srl_envs.trajectory import ExpertStep, Trajectory

PREFILLED = ResponseFormat(think_prefilled=True)
TEMPLATES = {
    "plain": None,
    # The end of a message is ordinary text, which can merge with the message's last characters; the
    # content is stripped.
    "inst": (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]{%"
        " else %}{{ m.content }}\n\n{% endif %}{% endfor %}"
    ),
    # A system message is put in where none is given.
    "default": (
        "{% if messages[0].role != 'system' %}<|system|>You are a helpful assistant, patient and"
        " polite.<|end|>{% endif %}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content"
        " }}<|end|>\n{% endfor %}<|assistant|>\n"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "system_prompt", [None, "", "Fix the issue. Think first inside <think> </think>."]
)
def test_no_prompt_exceeds_the_length_and_long_ones_fill_it(
    tiny_model_dir: Path, template: str, system_prompt: str | None
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.chat_template = TEMPLATES[template] or tokenizer.chat_template
    data = DataConfig(source="builtin_swe", system_prompt=system_prompt)
    length = 1300
    settings = within_length(data.prompt_settings, tokenizer, length, PREFILLED, {"xml"})
    instances = load_trajectories("builtin_swe", limit=2).instances("all", settings)
    chat = ChatEncoder(tokenizer)
    lengths = [len(chat(instance.messages, PREFILLED).ids) for instance in instances]
    assert max(lengths) <= length
    assert length - 10 <= max(lengths), "no more is cut than has to be"


def test_each_grammar_gets_its_own_system_message_and_all_fit(tiny_tokenizer) -> None:
    settings = within_length(DataConfig().prompt_settings, tiny_tokenizer, 1100, None, GRAMMARS)
    step = ExpertStep("ls", observation="a.py " * 2000)
    for grammar in GRAMMARS:
        trajectory = Trajectory(
            "t", "It fails. " * 30, (step, step), domain="swe", metadata={"grammar": grammar}
        )
        messages = StepInstance(trajectory, 1, settings).messages
        assert messages[0] == {"role": "system", "content": swe_system_prompt(grammar)}
        assert 500 < len(ChatEncoder(tiny_tokenizer)(messages).ids) <= 1100


@pytest.mark.parametrize("room", range(0, 60, 5))
def test_a_length_without_room_is_refused_at_the_start_or_never(tiny_tokenizer, room: int) -> None:
    base = DataConfig(system_prompt="Short.").prompt_settings
    trajectory = Trajectory(
        "t", "It fails. " * 500, (ExpertStep("ls", observation="a.py " * 99),) * 50, domain="swe"
    )
    try:
        settings = within_length(base, tiny_tokenizer, 60 + room, None, {"xml"})
    except ConfigError as error:
        assert "max_prompt_length is" in str(error) and "--system_prompt" in str(error)
        return
    chat = ChatEncoder(tiny_tokenizer)
    for index in (0, 1, 49):
        assert len(chat(StepInstance(trajectory, index, settings).messages).ids) <= 60 + room


def test_both_outcomes_of_the_check_occur(tiny_tokenizer) -> None:
    base = DataConfig(system_prompt="Short.").prompt_settings
    with pytest.raises(ConfigError):
        within_length(base, tiny_tokenizer, 30, None, {"xml"})
    within_length(base, tiny_tokenizer, 200, None, {"xml"})


def test_the_system_message_is_the_domains_own_unless_one_is_given() -> None:
    own = DataConfig().prompt_settings
    assert own.system_prompt is None and own.swe_system_prompt is None
    for domain, words in (("math", MATH_SYSTEM_PROMPT), ("steps", STEPS_SYSTEM_PROMPT)):
        text = Trajectory("t", "?", (ExpertStep("a"),), domain=domain)
        assert StepInstance(text, 0, own).messages[0]["content"] == words
    for text in ("Mine.", ""):
        given = DataConfig(system_prompt=text).prompt_settings
        assert given.system_prompt == given.swe_system_prompt == text
    [swe] = load_trajectories("builtin_swe", limit=1)
    assert StepInstance(swe, 0, own).messages[0]["content"] == swe_system_prompt("xml")
    assert (
        StepInstance(swe, 0, DataConfig(system_prompt="Mine.").prompt_settings).messages[0][
            "content"
        ]
        == "Mine."
    )


def test_settings_reach_the_prompt() -> None:
    settings = DataConfig(
        history_turns=1, observation_characters=60, scored="arguments"
    ).prompt_settings
    step = ExpertStep(
        "<function=bash>\n<parameter=command>ls</parameter>\n</function>", observation="x" * 500
    )
    instance = StepInstance(Trajectory("t", "It fails.", (step,) * 3, domain="swe"), 2, settings)
    content = instance.messages[-1]["content"]
    assert (
        content.count("Command:") == 1 and "characters left out" in content and len(content) < 300
    )
    assert instance.expert_action == "bash\nls"
    assert DataConfig(observation_characters=0).prompt_settings.observation_characters is None


@pytest.mark.parametrize(
    "wrong",
    [{"history_turns": -1}, {"observation_characters": -5}, {"scored": "tool"}, {"limit": 0}],
)
def test_values_are_checked_before_data_is_read(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DataConfig(**wrong)  # type: ignore[arg-type]


def test_the_warm_up_teaches_prose_and_the_command_as_it_is_run(
    tiny_tokenizer, tmp_path: Path
) -> None:
    action = "<function=bash>\n<parameter=command>ls\npwd</parameter>\n</function>"
    trajectory = Trajectory(
        "t", "It fails.", (ExpertStep(action, thought="Let us look."),), domain="swe"
    )
    args = SRLConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True)
    for scored in ("action", "arguments"):
        instance = StepInstance(trajectory, 0, DataConfig(scored=scored).prompt_settings)
        example = expert_example(ChatEncoder(tiny_tokenizer), instance, args)
        learned = [
            token
            for token, mask in zip(example["input_ids"], example["completion_mask"], strict=True)
            if mask
        ]
        assert tiny_tokenizer.decode(learned) == f"<think>Let us look.</think>\n{action}<|end|>"


def test_answers_are_recorded_as_they_are_compared(tiny_tokenizer, tmp_path: Path) -> None:
    action = "<function=bash>\n<parameter=command>ls\npwd</parameter>\n</function>"
    trajectory = Trajectory("t", "It fails.", (ExpertStep(action),), domain="swe")
    instance = StepInstance(trajectory, 0, DataConfig(scored="arguments").prompt_settings)
    texts = [
        f"<think>Hm.</think>\nI look around.\n{action}",
        "<think>Hm.</think>\nNo command.",
        "Hm.",
    ]
    completions = [
        [*tiny_tokenizer(text)["input_ids"], tiny_tokenizer.eos_token_id] for text in texts
    ]
    scorer = StepScorer(
        SRLConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True).reward_settings
    )
    _, answers = validate(
        [instance],
        tiny_tokenizer,
        lambda prompts, seed: completions,
        [tiny_tokenizer.eos_token_id],
        scorer,
        num_samples=3,
        seed=(0,),
    )
    assert [answer.action for answer in answers] == ["bash\nls\npwd", "No command.", ""]
    assert (
        answers[0].expert == "bash\nls\npwd"
        and answers[0].reward == 1.0
        and answers[2].reward == -1.0
    )
    assert all(answer.prompt == instance.messages[-1]["content"] for answer in answers)


def test_validation_and_test_share_no_question() -> None:
    step = ExpertStep("ls")
    trajectories = [
        Trajectory(f"{question}-{run}", question, (step,))
        for question in ("a", "b", "c")
        for run in range(3)
    ]
    first, second = halves_by_question(trajectories)
    assert [t.prompt for t in first] == ["a"] * 3 + ["c"] * 3 and [t.prompt for t in second] == [
        "b"
    ] * 3


@pytest.mark.parametrize("config", ["srl_swe_quickstart", "srl_swe_7b"])
def test_named_configs_are_valid_and_keep_what_the_paper_gives(config: str, tmp_path: Path) -> None:
    flags = ["--config", config, "--output_dir", str(tmp_path), "--bf16", "false"]
    _, (data, args, _) = parse([DataConfig, SRLConfig, ModelConfig], "quickstart", flags)
    assert (
        data.history_turns == 2
        and data.scored == "action"
        and data.resolved_only
        and data.hub_split == "xml"
    )
    assert (
        args.num_generations == 8
        and args.temperature == 1.0
        and args.beta == 0.0
        and args.max_grad_norm == 1.0
    )
    if config == "srl_swe_7b":
        paper = {
            "limit": 5000,
            "held_out": 30,
            "prompts_per_step": 512,
            "learning_rate": 5e-7,
            "source": "SWE-bench/SWE-smith-trajectories",
        }
        settings = read_config(config)
        assert {name: settings[name] for name in paper} == paper
        assert settings["model_name_or_path"] == "Qwen/Qwen2.5-Coder-7B-Instruct"


def arguments(model: Path, output: Path, **over: object) -> list[str]:
    """The quick start of software engineering with the tiny model, whose tokens are shorter; it
    knows no think block.
    """
    settings: dict[str, object] = {
        "config": "srl_swe_quickstart",
        "model_name_or_path": model,
        "output_dir": output,
        "require_think": "false",
        "think_prefilled": "false",
        "bf16": "false",
        "max_prompt_length": 900,
        "max_completion_length": 16,
        "format_warmup_steps": 0,
        "eval_instances": 2,
        "test_instances": 2,
        "num_generations": 4,
        "prompts_per_step": 2,
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "eval_steps": 1,
        "save_steps": 1,
        **over,
    }
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def test_a_length_without_room_is_one_message(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tiny_model_dir, tmp_path / "run", max_prompt_length=40)) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (
        len(errors) == 1
        and "max_prompt_length is 40, but a prompt without issue and commands takes" in errors[0]
    )


@pytest.mark.slow
def test_the_quick_start_trains_and_goes_on_after_a_kill(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = arguments(tiny_model_dir, run, format_warmup_steps=1, warmup_instances=2)
    kill_after(run, 1, *flags)
    done = train(*flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming from" in done.stderr
    steps = lines(run, "train")
    assert sorted(steps) == [1, 2] and all(row["groups_kept"] > 0 for row in steps.values())
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "&lt;function=" in page, "the expert's command stands in the report, as text"


@pytest.mark.slow
@pytest.mark.parametrize("scored", ["action", "arguments"])
def test_a_local_file_of_swe_smith_trains(
    scored: str, tiny_model_dir: Path, tmp_path: Path, shared_data: Path
) -> None:
    run, file = tmp_path / "run", shared_data / "swe_trajectories" / "swe_smith_xml_6.jsonl"
    over = {
        "source": "swe_smith",
        "dataset_path": file,
        "held_out": 2,
        "max_prompt_length": 1200,
        "max_steps": 1,
        "scored": scored,
    }
    done = train(*arguments(tiny_model_dir, run, **over))
    assert done.returncode == 0, done.stderr[-3000:]
    assert lines(run, "train")[1]["groups_kept"] > 0
    assert (run / "summary.json").is_file()
