"""Step-wise solutions: what each step is asked with, when a solution ends, what is counted. The
model is a script, so that each case is met.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from srl_agent.evaluation.math.benchmarks import Problem
from srl_agent.evaluation.math.config import MathConfig
from srl_agent.evaluation.math.samples import Mode, Sample, SampleKey
from srl_agent.evaluation.math.stepwise import say_what_is_asked, solve_stepwise
from srl_agent.inference.generator import Completion, GenerationSettings, Generator, Request
from srl_agent.inference.openai_generator import OpenAIGenerator
from srl_agent.runs.ownership import CONFIG, write_settings_file
from srl_agent.training.config import DataConfig
from srl_envs.errors import ConfigError
from srl_envs.instances import StepInstance
from srl_envs.response import ResponseFormat
from srl_envs.trajectory import ExpertStep, Trajectory

Script = Callable[[str, int], str]
CUT = "CUT"
"""A text that starts so was cut off at the token limit."""
FULL = "FULL"
"""Stands for a prompt that leaves no room in the model's context."""


class ScriptedModel:
    """Answers with what a function says of prompt and number; keeps what it was asked."""

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self.script = script
        self.rounds: list[list[Request]] = []
        self.settings: list[GenerationSettings] = []

    def generate(
        self, requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        self.rounds.append(list(requests))
        self.settings.append(settings)
        for index in reversed(range(len(requests))):
            text = self.script(requests[index].messages[-1]["content"], requests[index].number)
            if text == FULL:
                yield index, Completion("", 0, "context")
                continue
            yield (
                index,
                Completion(text, len(text.split()), "length" if text.startswith(CUT) else "stop"),
            )

    def close(self) -> None:
        pass


def solve(
    script: Script, problems: int = 1, mode: Mode = "greedy", samples: int = 1, **settings: object
) -> tuple[list[Sample], ScriptedModel]:
    config = MathConfig(**settings)  # type: ignore[arg-type]
    of = [Problem("amc23", f"p{i}", f"Problem number {i}.", "secret") for i in range(problems)]
    asked = {
        SampleKey("amc23", problem.id, mode, number): problem
        for number in range(samples)
        for problem in of
    }
    model: Generator = ScriptedModel(script)
    found = list(solve_stepwise(model, asked, config))
    assert {sample.key for sample in found} == set(asked) and len(found) == len(asked)
    assert isinstance(model, ScriptedModel)
    return found, model


def three_steps(prompt: str, number: int) -> str:
    written = sum(f"Step {i}" in prompt for i in range(3))
    action = f"Step {written}." if written < 2 else "Step 2: so it is \\boxed{42}."
    return f"<think>what now</think>{action}"


def test_the_models_own_steps_become_the_prompt_until_one_holds_the_answer() -> None:
    [sample], model = solve(three_steps)
    assert sample.answer == "42" and (sample.steps, sample.malformed, sample.truncated) == (
        3,
        0,
        False,
    )
    assert sample.text.count("<think>") == 3 and sample.tokens == sum(
        len(three_steps("Step 0 Step 1"[: 7 * i], 0).split()) for i in range(3)
    )
    prompts = [requests[0].messages[-1]["content"] for requests in model.rounds]
    assert (
        "Step 0." not in prompts[0] and "Step 0." in prompts[1] and "Step 0.\nStep 1." in prompts[2]
    )
    assert all("Problem number 0." in prompt and "think" not in prompt for prompt in prompts)
    assert not any("secret" in str(requests) for requests in model.rounds), (
        "the reference reaches no prompt"
    )
    assert "\\boxed{}" in model.rounds[0][0].messages[0]["content"]
    assert all(
        settings.temperature == 0 and settings.max_new_tokens == 4096 for settings in model.settings
    )


def test_a_step_is_asked_for_as_in_training_by_default() -> None:
    steps = (
        ExpertStep("Step 0.", title="First", heading="1. First: "),
        ExpertStep("Step 1.", title="Second", heading="2. Second: "),
    )
    expert = Trajectory("p0", "Problem number 0.", steps)
    trained = StepInstance(expert, 1, DataConfig().prompt_settings).messages[-1]

    def second(prompt: str, number: int) -> str:
        return "<think>t</think>" + ("2." if "1. First" in prompt else "1. First: Step 0.")

    _, model = solve(second, max_steps=2)
    assert model.rounds[1][0].messages[-1] == trained


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"title_hint": True}, "train with --title_hint false"),
        ({"targets": "all_but_last"}, "train with --targets all"),
        ({"method": "rlvr"}, "without --stepwise"),
        ({"steps": "one"}, "without --stepwise"),
        ({"think_prefilled": True}, "give --think_prefilled true"),
        ({"require_think": False}, "give --require_think false"),
    ],
)
def test_a_model_that_was_trained_otherwise_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], said: str
) -> None:
    caplog.set_level("WARNING")
    alike = {"method": "srl", "title_hint": False, "targets": "all", "require_think": True}
    (tmp_path / "final").mkdir()
    for trained, expected in ((alike, ""), (alike | settings, said)):
        caplog.clear()
        write_settings_file(tmp_path / CONFIG, trained)
        say_what_is_asked(str(tmp_path / "final"), MathConfig())
        assert expected in caplog.text and bool(expected) == bool(caplog.text)


def test_solutions_are_written_side_by_side_and_a_finished_ones_place_is_taken() -> None:
    def lengths(prompt: str, number: int) -> str:
        return (
            three_steps(prompt, number) if "number 0" in prompt else "<think>easy</think>\\boxed{7}"
        )

    samples, model = solve(lengths, problems=5, episodes_at_once=2)
    assert [len(requests) for requests in model.rounds] == [2, 2, 2, 1]
    assert [sample.problem_id for sample in samples] == ["p1", "p2", "p3", "p0", "p4"]
    assert sum(sample.answer == "7" for sample in samples) == 4


def test_a_greedy_solution_ends_with_a_malformed_step() -> None:
    [sample], model = solve(lambda prompt, number: "no think block, \\boxed{3}")
    assert (sample.steps, sample.malformed, sample.answer, sample.truncated) == (1, 1, None, False)
    assert len(model.rounds) == 1, "it would say the same again"


def test_a_sampled_step_that_is_malformed_is_asked_for_again_with_other_random_numbers() -> None:
    samples, model = solve(
        lambda prompt, number: "bad" if number % 30 < 2 else "<think></think>\\boxed{3}",
        mode="sampled",
        samples=2,
    )
    assert [(sample.steps, sample.malformed, sample.answer) for sample in samples] == [
        (3, 2, "3")
    ] * 2
    numbers = [request.number for requests in model.rounds for request in requests]
    assert len(set(numbers)) == 6, "no two steps of two samples share a number"
    assert model.settings[0].temperature == 1.0


def test_a_step_that_was_cut_off_is_malformed_whatever_it_holds() -> None:
    [sample], _ = solve(lambda prompt, number: f"{CUT}<think></think>\\boxed{{3}}")
    assert (sample.steps, sample.malformed, sample.answer, sample.truncated) == (1, 1, None, True)


@pytest.mark.parametrize("mode", ["greedy", "sampled"])
def test_a_solution_without_end_is_truncated_after_max_steps(mode: Mode) -> None:
    [sample], _ = solve(lambda prompt, number: "<think></think>And so on.", mode=mode, max_steps=4)
    assert (sample.steps, sample.malformed, sample.answer, sample.truncated) == (4, 0, None, True)
    [cut], _ = solve(lambda prompt, number: CUT, mode="sampled", max_steps=4)
    assert (cut.steps, cut.malformed, cut.truncated) == (4, 4, True)


@pytest.mark.parametrize("mode", ["greedy", "sampled"])
def test_a_solution_that_outgrows_the_context_ends_there_and_the_others_go_on(mode: Mode) -> None:
    def short_context(prompt: str, number: int) -> str:
        return (
            FULL
            if ("number 1" in prompt and "Step 1" in prompt) or "number 2" in prompt
            else three_steps(prompt, number)
        )

    samples, model = solve(short_context, problems=3, mode=mode)
    found = {
        sample.problem_id: (sample.answer, sample.steps, sample.truncated, sample.context_full)
        for sample in samples
    }
    assert found == {
        "p0": ("42", 3, False, None),
        "p1": (None, 2, True, True),
        "p2": (None, 0, True, True),
    }
    assert [len(requests) for requests in model.rounds] == [3, 2, 2]
    assert {sample.problem_id: (sample.text == "", sample.tokens == 0) for sample in samples}[
        "p2"
    ] == (True, True)


def test_without_think_blocks_where_they_are_not_required() -> None:
    [sample], model = solve(
        lambda prompt, number: "\\boxed{3}", require_think=False, system_prompt="Go on."
    )
    assert (sample.steps, sample.malformed, sample.answer) == (1, 0, "3")
    assert model.rounds[0][0].messages[0] == {"role": "system", "content": "Go on."}


class Served(ThreadingHTTPServer):
    """Answers chat completions by a script, in one of the forms that servers use.

    ``text``: the block is in the content. ``opened``: so it is, but the server's template
    wrote its opening. Else the name of the field that its reasoning parser fills.
    """

    def __init__(self, script: Script, form: str) -> None:
        super().__init__(("127.0.0.1", 0), ServedAnswer)
        self.script, self.form = script, form

    def message(self, text: str) -> dict[str, str | None]:
        if self.form == "text" or "<think>" not in text:
            return {"content": text}
        if self.form == "opened":
            return {"content": text.removeprefix("<think>")}
        thought, closed, content = text.removeprefix("<think>").partition("</think>")
        return {self.form: thought, "content": content if closed else None}


class ServedAnswer(BaseHTTPRequestHandler):
    server: Served

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # Requests have no numbers here: what is sampled differs by its seed.
        text = self.server.script(asked["messages"][-1]["content"], asked["seed"])
        finish = "length" if CUT in text else "stop"
        choice = {"message": self.server.message(text), "finish_reason": finish}
        usage = {"completion_tokens": len(text.split())}
        data = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


def of_every_kind(prompt: str, number: int) -> str:
    """Solutions that go well, and steps that are malformed in each way a parser keeps apart."""
    if "number 0" in prompt:
        return three_steps(prompt, number)
    if "number 1" in prompt:
        return "<think>never closed, \\boxed{3}"
    if "number 2" in prompt:
        return f"<think>{CUT} \\boxed{{3}}"
    if "number 3" in prompt:
        return "<think>\n</think>\n\nAn empty block: \\boxed{4}"
    if "number 4" in prompt:
        return "<think>twice</think>x</think>\\boxed{5}"
    return "<think></think>\\boxed{6}"


def served(form: str, mode: Mode) -> list[dict[str, Any]]:
    config = MathConfig(max_steps=4)
    of = [Problem("amc23", f"p{i}", f"Problem number {i}.", "secret") for i in range(6)]
    asked = {SampleKey("amc23", problem.id, mode, 0): problem for problem in of}
    with Served(of_every_kind, form) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}/v1"
            samples = list(solve_stepwise(OpenAIGenerator("m", url, retries=0), asked, config))
        finally:
            server.shutdown()
            thread.join()
    return sorted((asdict(sample) for sample in samples), key=lambda row: row["problem_id"])


@pytest.mark.parametrize("mode", ["greedy", "sampled"])
def test_a_servers_reasoning_parser_changes_no_result(mode: Mode) -> None:
    plain = served("text", mode)
    assert [row["answer"] for row in plain] == ["42", None, None, "4", None, "6"]
    assert [row["malformed"] > 0 for row in plain] == [False, True, True, False, True, False]
    for form in ("reasoning", "reasoning_content"):
        assert served(form, mode) == plain
    opened = served("opened", mode)
    never_closed = {"p1", "p2"}  # no tag is left that would show that the template opened it
    for row, expected in zip(opened, plain, strict=True):
        if expected["problem_id"] in never_closed:
            expected = expected | {"text": expected["text"].replace("<think>", "")}
        assert row == expected


def test_nothing_to_ask() -> None:
    samples, model = solve(three_steps, problems=0)
    assert samples == [] and model.rounds == []


def test_the_end_of_the_prompt_is_asked_for_as_in_training() -> None:
    for settings, format in (
        ({}, ResponseFormat()),
        ({"think_prefilled": True}, ResponseFormat(think_prefilled=True)),
        ({"require_think": False}, ResponseFormat(require_think=False)),
    ):
        config = MathConfig(stepwise=True, **settings)
        assert config.answer_format == format
        key = SampleKey("amc23", "p", "greedy", 0)
        model = ScriptedModel(three_steps)
        list(solve_stepwise(model, {key: Problem("amc23", "p", "Q?", "1")}, config))
        assert {request.format for requests in model.rounds for request in requests} == {format}
    with pytest.raises(ConfigError, match="think_prefilled is True"):
        MathConfig(think_prefilled=True)
