from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from srl_envs.data import load_trajectories, s1k, save_trajectories
from srl_envs.data.jsonl import load_jsonl
from srl_envs.data.splits import split_by_question
from srl_envs.errors import ConfigError, DataError, InfrastructureError
from srl_envs.trajectory import ExpertStep, Trajectory


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ---------------------------------------------------------------- s1K

PREAMBLE = "Let us solve it in steps.\n\n"
TAIL = "**Final Answer**\n\\boxed{\\frac{1}{2}}"


def attempt(*steps: str, preamble: str = PREAMBLE, tail: str = TAIL) -> str:
    return preamble + "\n\n".join(steps) + ("\n\n" + tail if tail else "")


def s1k_row(text: str, **columns: str) -> dict[str, str]:
    return {
        "question": "What is 1/2?",
        "solution": "0.5",
        "deepseek_attempt": text,
        "deepseek_grade": "Yes",
        **columns,
    }


def parse(text: str) -> Trajectory:
    rejected: Counter[str] = Counter()
    [trajectory] = list(s1k.read([s1k_row(text)], rejected))
    assert not rejected
    assert trajectory.solution == text, "no text may be lost"
    return trajectory


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1. **Coprime Pairs**: We count them.", "2. **Sum**: We add."),
        ("1. **Coprime Pairs:** We count them.", "2. **Sum:** We add."),
        ("**1. Coprime Pairs** We count them.", "**2. Sum** We add."),
        ("### 1. Coprime Pairs\nWe count them.", "### 2. Sum\nWe add."),
        ("### Step 1: Coprime Pairs\nWe count them.", "### Step 2: Sum\nWe add."),
        ("**Step 1: Coprime Pairs**\nWe count them.", "**Step 2: Sum**\nWe add."),
        ("1. Coprime Pairs: We count them.", "2. Sum: We add."),
    ],
)
def test_titled_steps_in_many_styles(first: str, second: str) -> None:
    trajectory = parse(attempt(first, second))
    assert [(step.title, step.action) for step in trajectory.steps] == [
        ("Coprime Pairs", "We count them."),
        ("Sum", "We add."),
    ]
    assert (trajectory.preamble, trajectory.tail) == (PREAMBLE, TAIL)


def test_lists_latex_and_enumerations_stay_inside_their_step() -> None:
    body = (
        "We see:\n   1. indented one\n   2. indented two\n- a bullet\n\\[\n x = 1.\n\\]\n1. "
        "a list that starts again\n\nmore text"
    )
    trajectory = parse(attempt(f"1. **First**: {body}", "2. **Second**: Done."))
    assert [step.title for step in trajectory.steps] == ["First", "Second"]
    assert trajectory.steps[0].action == body


def test_without_preamble_and_tail() -> None:
    trajectory = parse(attempt("1. **A**: x", "2. **B**: y", preamble="", tail=""))
    assert (trajectory.preamble, trajectory.tail, len(trajectory.steps)) == ("", "", 2)


@pytest.mark.parametrize(
    "text", ["No steps at all.", "1. **Only one**: step", "2. **B**: x\n\n3. **C**: y"]
)
def test_what_has_no_steps_is_counted(text: str) -> None:
    rejected: Counter[str] = Counter()
    assert list(s1k.read([s1k_row(text)], rejected)) == []
    assert rejected == {"no numbered steps": 1}


def test_hint_shows_the_title_and_asks_for_the_rest() -> None:
    from srl_envs.instances import StepInstance
    from srl_envs.prompts.step import PromptSettings

    trajectory = parse(attempt("1. **A**: x", "2. **B**: y"))
    hinted, plain = (
        StepInstance(trajectory, 0),
        StepInstance(trajectory, 0, PromptSettings(title_hint=False)),
    )
    assert "Next step: A" in hinted.messages[-1]["content"] and hinted.expert_action == "x"
    assert "Next step" not in plain.messages[-1]["content"] and plain.expert_action == "1. **A**: x"


# ---------------------------------------------------------------- real data


@pytest.mark.shared_data
def test_gsm8k(shared_data: Path) -> None:
    train = load_trajectories("gsm8k", path=shared_data / "gsm8k", split="train")
    validation = load_trajectories("gsm8k", path=shared_data / "gsm8k", split="validation")
    assert (len(train), len(validation)) == (7413, 60)
    assert not {one.prompt for one in train} & {one.prompt for one in validation}
    assert all("<<" not in step.action for trajectory in train for step in trajectory.steps)
    socratic = load_trajectories("gsm8k", path=shared_data / "gsm8k" / "test_socratic.jsonl")
    assert all(step.title for step in socratic[0].steps)
    assert socratic[0].answer == "18"


@pytest.mark.shared_data
def test_numbered_loses_no_text(shared_data: Path) -> None:
    path = shared_data / "math_expert" / "qwen25math_cot100x8.jsonl"
    solutions = {
        json.loads(line)["solution"] for line in path.read_text(encoding="utf-8").splitlines()
    }
    trajectories = load_trajectories("numbered", path=path)
    assert len(trajectories) > 300
    assert trajectories.rejected["marked as not correct"] == 72
    assert len(trajectories) + trajectories.rejected.total() == 800
    assert all(trajectory.solution in solutions for trajectory in trajectories)


# ---------------------------------------------------------------- splits


def test_a_question_never_stands_on_both_sides() -> None:
    steps = (ExpertStep("a"), ExpertStep("b"))
    trajectories = [
        Trajectory(f"{i}", f"Question  {i % 30}".upper() if i % 2 else f"question {i % 30}", steps)
        for i in range(90)
    ]
    train, held = split_by_question(trajectories, 10, seed=3)
    key = [{" ".join(one.prompt.split()).casefold() for one in side} for side in (train, held)]
    assert not key[0] & key[1] and len(key[1]) == 10 and len(train) + len(held) == 90
    assert split_by_question(trajectories[::-1], 10, seed=3)[1] == held[::-1], (
        "order of rows does not matter"
    )
    assert split_by_question(trajectories, 10, seed=4)[1] != held


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match="held_out is 85"):
        load_trajectories("builtin", split="train", count=85, held_out=85)


# ---------------------------------------------------------------- our JSONL


def test_jsonl_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    trajectories = list(load_trajectories("builtin", count=20))
    save_trajectories(trajectories, path)
    assert list(load_jsonl(path)) == trajectories
    assert list(load_trajectories(str(path))) == trajectories


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "p", "steps": ["a"', "line 2: not valid JSON.*cut off"),
        ("[1]\n", "line 2: a line must be a JSON object"),
        ('{"prompt": "p", "steps": []}\n', "line 2: 'steps' must be a non-empty list"),
        ('{"steps": ["a"]}\n', "line 2: 'prompt' is missing"),
        (
            '{"prompt": "p", "steps": ["a", {"title": "t"}]}\n',
            "line 2, step 2: 'action' is missing",
        ),
        (
            '{"prompt": "p", "steps": ["a"], "promt": 1}\n',
            "line 2: unknown key 'promt'. Valid keys: id, prompt",
        ),
        (
            '{"prompt": "p", "steps": [{"action": 3}]}\n',
            "line 2, step 1: 'action' must be text, not int",
        ),
        ('{"id": "1", "prompt": "p", "steps": ["a"]}\n', "line 2: the id '1' was used before"),
    ],
)
def test_jsonl_errors_name_line_and_key(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": "1", "prompt": "p", "steps": ["a"]}\n' + line, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(load_jsonl(path))


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_trajectories("jsonl", path=tmp_path / "none.jsonl")
    empty = write(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="is empty"):
        load_trajectories("jsonl", path=empty)
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"prompt": "\xe9"}\n')
    with pytest.raises(DataError, match="not UTF-8"):
        load_trajectories("jsonl", path=latin)
    other = write(tmp_path / "other.jsonl", {"text": "x"}, {"text": "y"})
    with pytest.raises(DataError, match=r"none of 2 rows is usable \(2 no question or answer\)"):
        load_trajectories("gsm8k", path=other)
    with pytest.raises(
        DataError, match=r"must hold one file for the split 'test'.*holds .*other.jsonl"
    ):
        load_trajectories("gsm8k", path=tmp_path, split="test")


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="Unknown source 'gsm9k': use one of builtin, s1k, gsm8k"):
        load_trajectories("gsm9k")
    with pytest.raises(ConfigError, match="split is 'dev'"):
        load_trajectories("builtin", split="dev")  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["builtin", "builtin_swe"])
def test_a_path_is_refused_by_sources_that_take_none(tmp_path: Path, source: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"'{source}' reads no file: say with source=.*'/nope' holds, one of s1k, gsm8k",
    ):
        load_trajectories(source, path="/nope")
    with pytest.raises(
        ConfigError, match=r"'a.jsonl' is a file already, so that path='b.jsonl' has no place"
    ):
        load_trajectories("a.jsonl", path="b.jsonl")


def test_a_path_or_a_copy_as_source_is_told_what_it_needs(tmp_path: Path) -> None:
    other = write(tmp_path / "rows.json")
    for path in (tmp_path, other):
        with pytest.raises(
            ConfigError, match=f"'{path}' is a path.*give both, like source='s1k', path='{path}'"
        ):
            load_trajectories(str(path))
    with pytest.raises(
        ConfigError, match=r"Unknown source 'somebody/s1K-copy': .*source='s1k' .*path=FOLDER"
    ):
        load_trajectories("somebody/s1K-copy")


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"count is {count}: give a whole number of at least 1"):
        load_trajectories("builtin", count=count)


def test_without_the_hub_one_line_says_what_would_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises((InfrastructureError, DataError), match="--dataset_path") as caught:
        load_trajectories("simplescaling/s1K-1.1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("held_out", [-1, 0, 1.5, 2.0, "3", True, None])
@pytest.mark.parametrize("split", [None, "train", "validation"])
def test_held_out_is_a_whole_number(held_out: object, split: str | None) -> None:
    with pytest.raises(ConfigError, match=r"^held_out is .*: give a whole number of at least 1"):
        load_trajectories("builtin", count=9, held_out=held_out, split=split)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("limit", "3"),
        ("limit", 2.5),
        ("seed", "x"),
        ("count", 2.5),
        ("resolved_only", "no"),
        ("drop_benchmark_overlap", "no"),
    ],
)
def test_options_of_another_type_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{option} is {value!r}: give "):
        load_trajectories("builtin", **{option: value})  # type: ignore[arg-type]


def test_rows_marked_as_not_correct_in_words_are_left_out(tmp_path: Path) -> None:
    row = {"problem": "Q?", "solution": "1. we add.\n2. we halve."}
    marks = [False, "False", "no", "incorrect", 0, True, "yes", None]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({**row, "correct": mark}) + "\n" for mark in marks)
    )
    loaded = load_trajectories("numbered", path=tmp_path / "rows.jsonl")
    assert len(loaded) == 3 and loaded.rejected == {"marked as not correct": 5}


def test_an_answer_that_is_not_text_is_read_or_counted(tmp_path: Path) -> None:
    solution = "1. **Add**: 2 + 2 = 4.\n2. **Double**: 4 * 2 = 8."
    answers: list[object] = ["8", 8, ["8"], [8], None, [], ["4", "8"], {"value": 8}, [["8"]]]
    rows = [{"question": f"q{i}", "solution": solution, "answer": a} for i, a in enumerate(answers)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_trajectories("numbered", path=file)
    assert [t.answer for t in loaded] == ["8", "8", "8", "8", "", ""]
    assert loaded.rejected == {"an answer that is neither text nor a number": 3}


@pytest.mark.parametrize("place", ["https://a.org/rows.jsonl", "file:///a.jsonl", "hf://data/a"])
def test_a_url_is_not_a_path(place: str) -> None:
    with pytest.raises(ConfigError, match=r"is a URL.*fetch"):
        load_trajectories("numbered", path=place)
    with pytest.raises(ConfigError, match=r"is a URL.*fetch"):
        load_trajectories("numbered", path=Path(place))
