"""``collect curate``: each filter on rows that it must and must not drop, and the whole command."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from srl_agent.collect import main
from srl_agent.collection.curate import curate
from srl_agent.collection.curate_config import CurateConfig
from srl_envs import ExpertStep, StepInstances, Trajectory, load_trajectories
from srl_envs.data.jsonl import read_header, save_trajectories
from srl_envs.errors import ConfigError, DataError
from srl_envs.replay import Replay
from srl_envs.trajectory import as_one_step

PROMPT = "Ann has 3 red apples and buys 4 green ones at the market. How many apples has she now?"
STEPS = ("Start with the 3 red apples.", "Add the green ones: 3 + 4 = 7.", "So she has \\boxed{7}.")


def math(id: str, prompt: str = PROMPT, steps: tuple[str, ...] = STEPS, **more: str) -> Trajectory:
    return Trajectory(id, prompt, tuple(map(ExpertStep, steps)), **more)  # type: ignore[arg-type]


def swe(id: str, **metadata: object) -> Trajectory:
    step = ExpertStep("<function=bash>\n<parameter=command>ls</parameter>\n</function>")
    return Trajectory(id, "Fix it.", (step, step), domain="swe", metadata=metadata)


def dropped(trajectories: list[Trajectory], **settings: object) -> dict[str, str]:
    _, results = curate(trajectories, CurateConfig(**settings))  # type: ignore[arg-type]
    return {one.id: one.reason for result in results for one in result.dropped}


def test_length() -> None:
    rows = [
        math("ok"),
        math("short", steps=("7.",)),
        math("long", steps=("x",) * 5),
        math("wordy", prompt="How " * 100),
        math("step", steps=("A" * 50, "B", "C")),
    ]
    found = dropped(
        rows,
        filters=["length"],
        max_steps=4,
        max_prompt_characters=200,
        max_step_characters=40,
    )
    assert found == {
        "short": "1 steps, fewer than 2",
        "long": "5 steps, more than 4",
        "wordy": "a prompt of 400 characters, more than 200",
        "step/1": "50 characters, more than 40",
    }


def test_language() -> None:
    pytest.importorskip("py3langid", reason="the extra collect is not installed")
    german = "Anna hat drei rote Äpfel und kauft noch vier grüne dazu. Wie viele Äpfel hat sie?"
    rows = [
        math("en"),
        math("de", prompt=german),
        math(
            "solution", steps=("Zuerst zählen wir die roten Äpfel, die sie schon hat.", "Dann 7.")
        ),
        math("formula", prompt="Solve $x^2 + 3x = 4$.", steps=("$x = 1$", "$x = -4$")),
        math("chinese", prompt="小明有三个苹果"),
        swe("commands"),
    ]
    assert set(dropped(rows, filters=["language"], languages=["en"])) == {
        "de",
        "solution",
        "chinese",
    }
    assert "de" not in dropped(rows, filters=["language"], languages=["en", "de"])


def test_near_duplicates_keep_the_first_and_other_solutions() -> None:
    pytest.importorskip("datasketch", reason="the extra collect is not installed")
    other = ("Count up from three: four, five, six, seven.", "That is \\boxed{7}.")
    long = tuple(f"Step {i} of the solution adds {i} to the sum that we have." for i in range(30))
    rows = [
        math("a", steps=long),
        math("same", steps=long),
        math("nearly", steps=(*long[:-1], "And so we are done.")),
        math("another way", steps=other),
        math("other question", prompt="Bob sells 9 pears. How many are left of 20?", steps=other),
    ]
    found = dropped(rows, filters=["near_duplicates"])
    assert set(found) == {"same", "nearly"} and found["same"] == "100% the same as 'a'"
    assert set(dropped(rows, filters=["near_duplicates"], duplicate_share=1.0)) == {"same"}


def test_overlap_with_every_benchmark() -> None:
    rows = [
        math("ok"),
        math("gsm", prompt=GSM8K_TEST),
        swe("smith", instance_id="arrow-py__arrow.1d70d009.lm_rewrite__nuz"),
        swe("verified", instance_id="django__django-11095"),
        swe("sympy__sympy-20590"),
    ]
    assert dropped(rows, filters=["benchmark_overlap"]) == {
        "gsm": "gsm8k",
        "verified": "swe_bench_verified",
        "sympy__sympy-20590": "swe_bench_verified",
    }


GSM8K_TEST = (  # the first of its test set
    "Janet\u2019s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes"
    " muffins for her friends every day with four. She sells the remainder at the farmers' market"
    " daily for $2 per fresh duck egg. How much in dollars does she make every day at the farmers'"
    " market?"
)


def test_steps_that_only_repeat_the_prompt_stay_as_context() -> None:
    repeating = "Ann has 3 red apples and buys 4 green ones at the market."
    rows = [
        math("ok"),
        math("one", steps=(repeating, "3 + 4 = 7.", "\\boxed{7}")),
        math("all", steps=(repeating, "\\boxed{7}")),
        math("short", steps=("3", "3 + 4 = 7.", "\\boxed{7}")),
    ]
    kept, results = curate(rows, CurateConfig(filters=["repeats_prompt"]))
    assert [one.id for one in results[0].dropped] == ["one/1", "all/1", "short/1"]
    assert [one.id for one in kept] == ["ok", "one", "short"]
    instances = StepInstances(kept)
    assert [one.id for one in instances] == ["ok/1", "ok/2", "one/2", "short/2"]
    assert repeating in instances[2].messages[-1]["content"]  # still context


def test_replay_verdicts(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    verdicts = [
        Replay("good", True, 0.1, 5),
        Replay("bad", False, 0.0, 5),
        Replay("drifts", None, 0.7, 5),
    ]
    report.write_text("".join(json.dumps(asdict(one)) + "\n" for one in verdicts))
    rows = [math("ok"), swe("good"), swe("bad"), swe("drifts")]
    settings = {"filters": ["replay"], "replay_report": str(report), "max_drift": 0.5}
    assert dropped(rows, **settings) == {
        "bad": "its commands do not solve the task any more",
        "drifts": "drift 0.70, above 0.5",
    }
    with pytest.raises(DataError, match="no verdict on 1 trajectories, such as 'new': run python"):
        dropped([*rows, swe("new")], **settings)


def test_teachers_agree_on_equal_answers_in_any_notation(tmp_path: Path) -> None:
    half = ("Halve it.", "So \\boxed{\\frac{1}{2}}.")
    others = tmp_path / "others.jsonl"
    save_trajectories([math("x", steps=("Halve it.", "\\boxed{0.5}"))], others)
    rows = [
        math("a", steps=half),
        math("b", steps=("Halve it.", "\\boxed{1/2}")),
        math("wrong", steps=("Halve it.", "\\boxed{2}")),
        math("alone", prompt="What is 2 + 3?", steps=("Add.", "\\boxed{9}")),
    ]
    assert dropped(rows, filters=["teacher_agreement"]) == {"wrong": "1 of 3 solutions end in '2'"}
    settings = {"filters": ["teacher_agreement"], "agreement_share": 0.7}
    assert set(dropped(rows, **settings)) == {"a", "b", "wrong"}
    found = dropped(rows, **settings, other_solutions=[str(others)])
    assert set(found) == {"wrong"}


def test_the_command_writes_file_page_and_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    save_trajectories(
        [math("ok"), math("gsm", prompt=GSM8K_TEST), math("<b>", steps=("7",))], source
    )
    order = ["benchmark_overlap", "length"]
    assert main(["curate", str(source), str(target), "--filters", *order]) == 0
    assert "1 of 3 trajectories kept, with 2 steps to train on." in capsys.readouterr().out
    header = read_header(target)
    assert [one["filter"] for one in header["filters"]] == order
    assert header["filters"][1]["settings"]["min_steps"] == 2
    assert [one["dropped"] for one in header["filters"]] == [{"trajectories": 1, "steps": 0}] * 2
    assert [one.id for one in load_trajectories(str(target))] == ["ok"]
    page = (tmp_path / "out.html").read_text()
    assert "&lt;b&gt;" in page and "fewer than 2" in page and "Janet" in page
    listed = [
        json.loads(line) for line in (tmp_path / "out.dropped.jsonl").read_text().splitlines()
    ]
    assert [(one["filter"], one["id"]) for one in listed] == [
        ("benchmark_overlap", "gsm"),
        ("length", "<b>"),
    ]
    again = tmp_path / "again.jsonl"
    assert main(["curate", str(target), str(again), "--filters", "length"]) == 0
    assert read_header(again)["before"] == header


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": ["lenght"]}, "filters is 'lenght': it must be of length, language"),
        ({"filters": ["language"]}, "The filter language needs --languages"),
        ({"filters": ["length", "length"]}, "each named once"),
        ({"filters": ["length"], "repeat_share": 0.5}, "repeat_share has no effect"),
        ({"max_drift": 0.5}, "max_drift has no effect: the filter replay does not run"),
        ({"duplicate_share": 0.0}, "duplicate_share is 0.0: it must be in"),
        ({"languages": ["English"]}, "languages is 'English'"),
        ({"min_steps": 0}, "min_steps is 0"),
        ({"targets": "some"}, "targets is 'some'"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CurateConfig(**settings)  # type: ignore[arg-type]


def test_the_command_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["curate"], "name what to curate and the file to write: curate IN OUT"),
        (["curate", "builtin", str(tmp_path)], "name a file in a folder that exists"),
        (["curate", str(tmp_path / "no.jsonl"), str(tmp_path / "o.jsonl")], "does not exist"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["in.jsonl", "./in.jsonl", "link.jsonl"])
def test_the_file_to_curate_is_never_written_over(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.jsonl"
    save_trajectories([math("a"), math("b", steps=("7",))], source)
    (tmp_path / "link.jsonl").symlink_to(source)
    before = source.read_bytes()
    assert main(["curate", str(source), f"{tmp_path}/{name}", "--filters", "length"]) == 2
    assert "is the file to curate: name another OUT" in capsys.readouterr().err
    named = ("--dataset_path", str(source), "--filters", "length")
    assert main(["curate", "jsonl", f"{tmp_path}/{name}", *named]) == 2
    assert source.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def test_a_language_that_cannot_be_told_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_trajectories([math("a")], tmp_path / "in.jsonl")
    files = (str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
    assert main(["curate", *files, "--languages", "en", "xx"]) == 2
    assert "languages is 'xx': it must be of ace, af" in capsys.readouterr().err


def test_rows_of_another_kind_are_read_by_their_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs that do not say whether they solved their issue are taken if that is asked for."""
    run = tmp_path / "chats.jsonl"
    said = (
        "Fix it.",
        "THOUGHT: I look.\n\n```bash\nls\n```",
        "a.py",
        "Done.\n\n```bash\nrm a\n```",
    )
    roles = ("user", "assistant", "user", "assistant")
    messages = [{"role": role, "content": one} for role, one in zip(roles, said, strict=True)]
    run.write_text(json.dumps({"instance_id": "x__y-1", "messages": messages}) + "\n")
    target = str(tmp_path / "out.jsonl")
    assert main(["curate", str(run), target]) == 2
    assert "needs the name of its source (such as agent" in capsys.readouterr().err
    flags = ("--dataset_path", str(run), "--filters", "length")
    assert main(["curate", "agent", target, *flags]) == 2
    assert "no verdict in the row" in capsys.readouterr().err
    assert main(["curate", "agent", target, *flags, "--resolved_only", "false"]) == 0
    assert len(load_trajectories(target)) == 1


def test_left_out_steps_are_checked_and_headers_alone_refused(tmp_path: Path) -> None:
    wrong = replace(math("a"), metadata={"left_out_steps": "1"})
    with pytest.raises(DataError, match="left_out_steps in the metadata is '1': give a list"):
        StepInstances([wrong])
    for number in (0, 4):
        wrong = replace(math("a"), metadata={"left_out_steps": [number]})
        with pytest.raises(DataError, match="give a list of numbers of its 3 steps, from 1"):
            StepInstances([wrong])
    marked = replace(math("a"), metadata={"left_out_steps": [1], "kind": "sum"})
    whole = as_one_step(marked)
    assert whole.target_indices("all") == [0] and whole.metadata == {"kind": "sum"}
    save_trajectories([], tmp_path / "none.jsonl", {"made_by": "hand"})
    with pytest.raises(DataError, match="holds a header record and no trajectory"):
        load_trajectories(str(tmp_path / "none.jsonl"))
