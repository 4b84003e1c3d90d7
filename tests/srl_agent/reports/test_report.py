"""The report of whole, killed, resumed, damaged and hostile run folders."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srl_agent.intervals import paired_difference
from srl_agent.reports.comparison import comparisons, match_of
from srl_agent.reports.training_report import write_report
from srl_agent.runs.reading import read_run
from srl_agent.runs.records import RunRecords
from srl_envs.errors import DataError

pytest.importorskip("matplotlib", reason="needs the extra srl-lm[train]")
pytest.importorskip("jinja2", reason="needs the extra srl-lm[train]")

pytestmark = pytest.mark.filterwarnings(
    "error::UserWarning"
)  # matplotlib's way to say that a figure's layout failed

REASONS = ("no_think_block", "unclosed_think_block", "empty_action", "text_before")
PLOTS = {
    "reward",
    "similarity",
    "format",
    "groups",
    "lengths",
    "mean_length",
    "seconds",
    "optimization",
    "warmup_loss",
}


def make_run(folder: Path, steps: int = 24, held_out: int = 64, finished: bool = True) -> Path:
    """A run's folder with the figures that a quick start gives; the same every time."""
    random = np.random.default_rng(7)
    (folder / "samples").mkdir(parents=True)
    log: list[dict[str, Any]] = [
        {"kind": "warmup", "step": step, "loss": 0.5 + 2.6 * 0.75**step} for step in range(1, 13)
    ]
    rewards = {}
    for stage, level, closed, step in (
        ("base", 0.25, 0.02, 0),
        ("warmup", 0.36, 0.84, 0),
        ("srl", 0.5, 0.985, steps),
    ):
        rows = make_samples(random, held_out, level, closed)
        write_lines(folder / "samples" / f"{stage}-{step}.jsonl", rows)
        log.append(evaluation(stage, step, rows))
        rewards[stage] = rows
    for step in range(1, steps + 1):
        done = 1 - 0.9 ** (24 * step / steps)
        closed = float(np.clip(0.86 + 0.13 * done + random.normal(0, 0.02), 0, 1))
        shares = random.dirichlet([4, 2, 1, 0.5]) * (1 - closed)
        similarity = 0.37 + 0.13 * done + random.normal(0, 0.025)
        dropped = int(random.poisson(1.5 + done))
        log.append(
            {
                "kind": "train",
                "step": step,
                "time": 31.0 * step,
                "loss": random.normal(0, 0.01),
                "grad_norm": 0.9 + random.gamma(2, 0.15),
            }
            | {
                "learning_rate": 2e-5 * min(1, step / 3),
                "reward": similarity * closed - (1 - closed),
                "reward_std": 0.3,
            }
            | {
                "reward_all": similarity * closed - (1 - closed) + random.normal(0.02, 0.01),
                "similarity": similarity,
            }
            | {
                "format_rate": closed,
                "groups_kept": 4,
                "groups_dropped": dropped,
                "groups_surplus": dropped % 2,
            }
            | {
                "rounds": 1 + (dropped > 2),
                "completions/mean_length": 52 + 4 * done + random.normal(0, 3),
                "data_epoch": step / 100,
            }
            | {
                f"malformed/{reason}": float(share)
                for reason, share in zip(REASONS, shares, strict=True)
            }
            | {
                "time/generation": random.normal(15, 2),
                "time/reward": 0.02,
                "time/forward": random.normal(4, 1),
                "time/backward": 9.0,
                "time/other": 0.3,
            }
        )
        if step % max(steps // 5, 1) == 0 and step < steps:
            log.append(
                evaluation(
                    "srl",
                    step,
                    make_samples(random, held_out, 0.36 + 0.14 * done, 0.86 + 0.12 * done),
                )
            )
    write_lines(folder / "metrics.jsonl", log)
    (folder / "config.yaml").write_text(
        "method: srl\nmodel:\n  model_name_or_path: quickstart\n  dtype: "
        "float32\n  hub_token: hf_verysecret\ndata:\n  source: builtin\n"
        "training:\n  num_generations: 8\n  learning_rate: "
        "2.0e-05\n  max_completion_length: 96\n  seed: 0\n"
    )
    environment = {
        "versions": {"python": "3.11.2", "torch": "2.13.0", "trl": "1.16.0"},
        "git": {"commit": "acd7b28", "dirty": False},
    }
    (folder / "environment.json").write_text(
        json.dumps(environment | {"hardware": {"cpu_count": 2, "memory_gb": 24}})
    )
    if finished:
        (folder / "summary.json").write_text(json.dumps(summary(log, rewards, steps)))
    return folder


def make_samples(
    random: np.random.Generator, count: int, level: float, closed: float
) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        apples, price = 3 + number % 9, 2 + number % 5
        expert = (
            f"Multiply the {apples} apples by ${price} each: "
            f"{apples} * {price} = ${apples * price}."
        )
        words = np.array(
            f"To find the cost, multiply {apples} by {price}. "
            f"{apples} * {price} = {apples * price}".split()
        )
        action = (
            expert
            if random.random() < level / 3
            else " ".join(words[random.random(len(words)) < 0.5 + level / 2])
        )
        well_formed = random.random() < closed and bool(action)
        similarity = (
            float(np.clip(random.normal(level, 0.15), 0.02, 1)) if action != expert else 1.0
        )
        thought = "I need the price of all apples."
        rows.append(
            {
                "instance_id": f"builtin-{number:03d}/2",
                "title": "How much do the apples cost?",
                "expert": expert,
            }
            | {
                "prompt": (
                    f"Problem:\nMia buys {apples} apples for ${price} each and pays with a "
                    "$100 bill. What change does she get?"
                )
            }
            | {
                "completion": f"<think>{thought}</think>{action}"
                if well_formed
                else f"First we think. {action}"
            }
            | {"thought": thought if well_formed else "", "action": action if well_formed else ""}
            | {
                "error": None if well_formed else REASONS[number % 4],
                "reward": similarity if well_formed else -1.0,
            }
            | {
                "similarity": similarity if well_formed else None,
                "tokens": int(np.clip(random.gamma(9, 6), 8, 96)) if well_formed else 96,
            }
        )
    return rows


def evaluation(stage: str, step: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    similar = [row["similarity"] for row in rows if row["error"] is None]
    return {
        "kind": "eval",
        "stage": stage,
        "step": step,
        "eval_reward": float(np.mean([row["reward"] for row in rows])),
        "eval_similarity": float(np.mean(similar)) if similar else None,
        "eval_format_rate": len(similar) / len(rows),
        "eval_mean_length": float(np.mean([row["tokens"] for row in rows])),
        **{
            f"eval_malformed/{reason}": sum(row["error"] == reason for row in rows) / len(rows)
            for reason in REASONS
        },
    }


def summary(
    log: list[dict[str, Any]], samples: dict[str, list[dict[str, Any]]], steps: int
) -> dict[str, Any]:
    last = {
        row["stage"]: row
        for row in log
        if row["kind"] == "eval" and (row["stage"] != "srl" or row["step"] == steps)
    }
    stages = [
        {
            "stage": stage,
            "step": row["step"],
            "reward": row["eval_reward"],
            "similarity": row["eval_similarity"],
            "count": len(samples[stage]),
        }
        | {"format_rate": row["eval_format_rate"]}
        for stage, row in last.items()
    ]
    differences = []
    for before, after in (("base", "warmup"), ("warmup", "srl"), ("base", "srl")):
        for metric in ("reward", "similarity"):
            pairs = [
                (a[metric], b[metric]) for a, b in zip(samples[before], samples[after], strict=True)
            ]
            pairs = [pair for pair in pairs if None not in pair]
            if not pairs:
                continue
            interval = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
            differences.append(
                {"from": before, "to": after, "metric": metric, "difference": interval.value}
                | {"low": interval.low, "high": interval.high, "count": interval.count}
            )
    return {
        "stages": stages,
        "differences": differences,
        "seconds": {"warmup": 171.2, "srl": 31.0 * steps, "evaluation": 96.5},
    }


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class Page(HTMLParser):
    """What a browser would load, run and show of a page."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), "no event handlers"
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of the whole run, to damage."""
    return Path(
        shutil.copytree(
            whole_run, tmp_path / "run", ignore=shutil.ignore_patterns("plots", "report.html")
        )
    )


@pytest.fixture(scope="module")
def page(whole_run: Path) -> Page:
    assert write_report(whole_run) == whole_run / "report.html"
    return Page(whole_run / "report.html")


def test_all_plots_are_drawn_twice(whole_run: Path, page: Page) -> None:
    files = {path.stem: path.read_bytes() for path in (whole_run / "plots").iterdir()}
    assert set(files) == PLOTS
    assert all(
        content.startswith(b"\x89PNG") and len(content) > 10_000 for content in files.values()
    )
    assert page.tags.count("svg") == len(PLOTS)


def test_page_is_self_contained(page: Page) -> None:
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert page.links and all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_plots_follow_the_theme(whole_run: Path, page: Page) -> None:
    drawings = "".join(
        part.split("</svg>")[0]
        for part in (whole_run / "report.html").read_text().split("<svg")[1:]
    )
    assert "var(--blue)" in drawings and "var(--ink)" in drawings
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", drawings), "no colour is fixed"


def test_headline_states_difference_and_interval(whole_run: Path, page: Page) -> None:
    rows = json.loads((whole_run / "summary.json").read_text())["differences"]
    beyond = next(
        row
        for row in rows
        if (row["from"], row["to"], row["metric"]) == ("warmup", "srl", "reward")
    )
    stated = (
        f"by +{beyond['difference']:.3f} beyond the warm-up (95 % interval "
        f"+{beyond['low']:.3f} to +{beyond['high']:.3f}, 64 held-out"
    )
    assert beyond["low"] > 0
    assert stated in page.text
    assert "has not finished" not in page.text and "includes 0" not in page.text


def test_settings_and_versions_are_listed_without_secrets(page: Page) -> None:
    for text in (["training.max_completion_length", "96"], ["versions.trl", "1.16.0"]):
        assert all(word in page.text for word in text)
    assert "hf_verysecret" not in page.text


def test_interval_around_zero_is_called_no_change(run: Path) -> None:
    content = json.loads((run / "summary.json").read_text())
    for row in content["differences"]:
        row |= {"difference": 0.01, "low": -0.05, "high": 0.07}
    (run / "summary.json").write_text(json.dumps(content))
    text = Page(write_report(run)).text
    assert "interval \N{MINUS SIGN}0.050 to +0.070" in text and "does not show a change" in text


def test_one_instance_has_no_interval(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=2, held_out=1)
    assert "Infinity" in (run / "summary.json").read_text()
    assert (
        "no interval from one instance, 1 held-out instance, paired" in Page(write_report(run)).text
    )


def test_killed_run_reports_what_it_has(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", finished=False)
    text = Page(write_report(run)).text
    assert "has not finished" in text
    before, after = (
        read_samples(run / "samples" / name) for name in ("warmup-0.jsonl", "srl-24.jsonl")
    )
    interval = paired_difference(
        [row["reward"] for row in before], [row["reward"] for row in after]
    )
    assert f"by +{interval.value:.3f} beyond the warm-up" in text


def read_samples(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "kept", ["metrics.jsonl", "samples", "config.yaml", "environment.json", "summary.json"]
)
def test_any_one_file_is_enough(run: Path, kept: str) -> None:
    for path in run.iterdir():
        if path.name != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    Page(write_report(run))


def test_every_prefix_of_a_log_is_a_log(run: Path) -> None:
    """A kill cuts the log at any byte: the cut line is ignored, and what stands before it is
    shown.
    """
    (run / "summary.json").unlink()
    log = (run / "metrics.jsonl").read_bytes()
    whole = read_run(run).train
    for cut in range(len(log) - 1, len(log) - 3000, -311):
        (run / "metrics.jsonl").write_bytes(log[:cut])
        records = read_run(run)
        assert records.notes == []
        assert dict(records.train.rows) == {
            step: row for step, row in whole.rows.items() if step in records.train.rows
        }
    for lines in (1, 13, 16, 17):
        write_lines(run / "metrics.jsonl", [json.loads(line) for line in log.splitlines()[:lines]])
        Page(write_report(run))


def test_damaged_lines_are_counted(run: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_bytes(b'{"kind": "train", "st\n\xff\xfe\x00\n[1, 2]\nnull\n' + path.read_bytes())
    assert read_run(run).notes == ["metrics.jsonl: 2 unreadable lines were skipped."]
    assert "2 unreadable lines" in Page(write_report(run)).text


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "summary.json"])
@pytest.mark.parametrize(
    "content", ["", "[1, 2]", "{'a': ", "!!python/object/apply:os.system ['true']", "\x00"]
)
def test_damaged_files_are_told(run: Path, name: str, content: str) -> None:
    (run / name).write_text(content)
    assert read_run(run).notes == [f"{name}: not readable, skipped."]


def test_values_of_the_wrong_kind_are_left_out(run: Path) -> None:
    odd = [
        {
            "kind": "train",
            "step": 25,
            "reward": None,
            "loss": float("nan"),
            "grad_norm": "0.5",
            "format_rate": True,
            "similarity": [1],
        },
        {"kind": "train", "step": "26", "reward": 1.0},
        {"kind": "train", "reward": 1.0},
        {"kind": ["train"], "step": 27},
        {"kind": "eval", "stage": "no such stage", "step": 1, "eval_reward": 3.0},
    ]
    with (run / "metrics.jsonl").open("a") as log:
        log.writelines(json.dumps(row) + "\n" for row in odd)
    write_lines(
        run / "samples" / "srl-24.jsonl",
        [
            {"instance_id": 5},
            {"expert": "x"},
            {"instance_id": "a", "reward": "high", "tokens": None},
        ],
    )
    summary = {
        "stages": [{"stage": "srl"}, {"stage": "other", "reward": 1}, 7],
        "differences": [{"from": "base"}, None],
        "seconds": [3],
    }
    (run / "summary.json").write_text(json.dumps(summary))
    assert dict(read_run(run).train.rows[25]) == {"step": 25.0}
    Page(write_report(run))


def test_later_line_of_a_step_wins(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as log:
        log.write(
            '{"kind": "train", "step": 3, "reward": 0.125}\n{"kind": "eval", "stage": '
            '"warmup", "step": 0, "eval_reward": 0.75}\n'
        )
    records = read_run(run)
    assert records.train.steps == tuple(range(1, 25))
    assert dict(records.train.rows[3]) == {"step": 3.0, "reward": 0.125}
    assert records.evaluations["warmup"].series("eval_reward").values == (0.75,)


@pytest.mark.parametrize("as_counts", [False, True])
def test_malformed_answers_as_counts_or_shares_give_the_same_plot(
    run: Path, as_counts: bool
) -> None:
    from srl_agent.reports.plots import _malformed_shares

    rows = [
        {
            "kind": "train",
            "step": 1,
            "format_rate": 0.75,
            "malformed/empty_action": 3 / 16,
            "malformed/text_before": 1 / 16,
        }
    ]
    if as_counts:
        rows = [
            {
                "kind": "train",
                "step": 1,
                "format_rate": 0.75,
                "malformed/empty_action": 6,
                "malformed/text_before": 2,
            }
        ]
    write_lines(run / "metrics.jsonl", rows)
    records = read_run(run)
    assert records.train.names("malformed/") == ["empty_action", "text_before"]
    assert _malformed_shares(records, ["empty_action", "text_before"]) == (
        (1,),
        [("empty action", [3 / 16]), ("text before", [1 / 16])],
    )


def test_hostile_text_is_shown_not_run(run: Path) -> None:
    attack = (
        "</pre><script>alert(1)</script><img src=x onerror=alert(2)>&lt;$\\frac{1}{$ "
        "\ud800\x00{{ 7*7 }}"
    )
    rows = read_samples(run / "samples" / "srl-24.jsonl")
    for row in rows:
        row |= {
            "prompt": attack,
            "title": attack,
            "expert": attack,
            "completion": attack,
            "thought": attack,
            "action": attack[5:],
        }
        row |= {"error": None, "similarity": 0.9}
    rows[0] |= {"error": attack, "instance_id": attack, "reward": -1}
    write_lines(run / "samples" / "srl-24.jsonl", rows)
    with (run / "metrics.jsonl").open("a") as log:
        log.write(
            json.dumps(
                {
                    "kind": "train",
                    "step": 3,
                    "format_rate": 0.5,
                    "malformed/<script>$x_{$": 9,
                    "time/<b>$\\alpha$": 2,
                }
            )
            + "\n"
        )
    (run / "config.yaml").write_text("'<script>': '<script>alert(3)</script>'\nmethod: '<b>'\n")
    page = Page(write_report(run))
    assert not {"script", "img", "b>"} & set(page.tags)
    assert (
        "<script>alert(1)</script>" in page.text
        and "{{ 7*7 }}" in page.text
        and "<script>alert(3)</script>" in page.text
    )


def test_samples_are_spread_from_worst_to_best(whole_run: Path) -> None:
    records: RunRecords = read_run(whole_run)
    ranked = sorted(sample.reward or -1 for sample in records.final_samples("srl"))
    shown = comparisons(records, 8)
    rewards = [comparison.sample.reward for comparison in shown]
    assert len(shown) == 8 and rewards == sorted(rewards, key=lambda reward: reward or -1)
    assert (rewards[0], rewards[-1]) == (ranked[0], ranked[-1])
    for comparison in shown:
        assert [answer.stage for answer in comparison.answers] == ["base", "warmup", "srl"]
        assert {answer.sample.instance_id for answer in comparison.answers} == {
            comparison.sample.instance_id
        }
    assert len(comparisons(records, 1)) == 1 and len(comparisons(records, 1000)) == 64


def test_best_checkpoint_is_shown_rather_than_the_last(run: Path) -> None:
    rows = read_samples(run / "samples" / "srl-24.jsonl")
    write_lines(run / "samples" / "srl-30.jsonl", [row | {"action": "later"} for row in rows])
    assert read_run(run).final_samples("srl")[0].action == rows[0]["action"]
    (run / "summary.json").unlink()
    (run / "metrics.jsonl").unlink()
    assert read_run(run).final_samples("srl")[0].action in ("later", "")


@pytest.mark.parametrize(
    ("model", "expert"),
    [
        ("3 * 4 = 12", "4 * 3 = 12"),
        ("", "x"),
        ("x", ""),
        ("same", "same"),
        ("aXbXc", "abc"),
        ("\ud800", "\x00"),
    ],
)
def test_marked_characters_are_those_that_the_reward_counts(model: str, expert: str) -> None:
    from difflib import SequenceMatcher

    match = match_of(model, expert)
    ours, theirs = match.action, match.expert
    assert ("".join(s.text for s in ours), "".join(s.text for s in theirs)) == (model, expert)
    matching = [sum(len(s.text) for s in side if s.matches) for side in (ours, theirs)]
    ratio = SequenceMatcher(None, model, expert, autojunk=False).ratio()
    assert (
        matching[0] == matching[1] and 2 * matching[0] / len(model + expert) == ratio == match.ratio
    )


def test_long_run_stays_a_small_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=2000)
    assert write_report(run).stat().st_size < 1_500_000


def test_report_is_the_same_each_time(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


@pytest.mark.parametrize("missing", [True, False])
def test_no_run_folder(tmp_path: Path, missing: bool) -> None:
    with pytest.raises(
        DataError, match="There is no run folder" if missing else "is not a run's folder"
    ):
        write_report(tmp_path / "nowhere" if missing else tmp_path)


def test_command_line(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "srl_agent.reports.training_report"]
    done = subprocess.run([*command, str(run)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(run / "report.html"), "")
    done = subprocess.run(
        [*command, str(tmp_path / "nowhere")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"error: There is no run folder {tmp_path / 'nowhere'}.\n",
    )
