"""The viewer on what evaluations, collections and replays keep."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_viewer import Server, tags
from viewer_runs import agent_run, collect_run, math_run, replay_report, swebench_run

from srl_agent.evaluation.math.samples import SampleStore
from srl_agent.reports.viewer.export import export
from srl_agent.reports.viewer.queries import GroupFilter
from srl_agent.reports.viewer.runs import find_runs
from srl_agent.view import main


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("kinds")
    return [
        math_run(root / "math"),
        swebench_run(root / "issues"),
        collect_run(root / "collected"),
        replay_report(root / "replayed.jsonl"),
        agent_run(root / "agents"),
    ]


@pytest.fixture(scope="module")
def server(folders: list[Path]) -> Iterator[Server]:
    made = Server(*folders)
    yield made
    made.close()


def keys_of(server: Server, run: str) -> dict[tuple[str, str], str]:
    """The addresses of a run's groups, by part and instance."""
    server.runs[run].index.refresh()
    rows = server.runs[run].index.groups(GroupFilter(sort="step")).rows
    return {(row.source, row.id): f"/run/{run}/group/{row.key}" for row in rows}


def test_each_kind_is_recognized(server: Server) -> None:
    text = server.get("/").text
    for kind in ("math evaluation", "SWE-bench evaluation", "collection", "replays", "agent eval"):
        assert kind in text


def test_every_page_opens_and_holds_no_html_of_a_model(folders: list[Path], tmp_path: Path) -> None:
    written = export(find_runs(folders), tmp_path / "out", 200)
    assert written.pages > 25 and written.left_out == 0
    for page in (tmp_path / "out").glob("*.html"):
        seen = tags(page.read_text(encoding="utf-8"))
        assert "img" not in seen.names and seen.names.count("script") == 1, page


def test_a_math_evaluation_shows_answers_by_benchmark_and_mode(server: Server) -> None:
    found = keys_of(server, "math")
    assert set(found) == {("amc23, greedy", "p1"), ("amc23, sampled", "p1")}
    text = server.get(found["amc23, greedy", "p1"]).text
    assert "The reference answer" in text and "What is 6 × 3?" in text
    assert "Its final answer" in text and "1 of 1 answers are correct." in text
    sampled = server.get(found["amc23, sampled", "p1"]).text
    assert "truncated" in sampled and "not graded" not in sampled
    assert "1 of 2 answers are correct." in sampled and ">open<" in sampled
    assert server.get("/run/math/groups?part=amc23,+greedy").text.count("<tr data-item") == 1
    assert server.get("/run/math/groups?kind=truncated").text.count("<tr data-item") == 1
    assert server.get("/run/math/groups?text=It+is+18").text.count("<tr data-item") == 2


def test_an_issue_shows_its_patches_and_an_agents_way(server: Server) -> None:
    found = keys_of(server, "issues")
    assert set(found) == {("patches", "b__b-1")}
    text = server.get(found["patches", "b__b-1"]).text
    assert "Unresolved. 1 tests fail: test_b." in text
    assert "diff --git" in text and "no patch" in text
    (row,) = server.runs["issues"].index.episodes().rows
    assert (row.task, row.outcome) == ("c__c-2", "solved")
    assert "c.py" in server.get(f"/run/issues/episode/{row.number}").text


def test_a_collection_shows_what_became_of_each_answer(server: Server) -> None:
    found = keys_of(server, "collected")
    assert {id for _, id in found} == {"kept", "rejected", "refused", "open"}
    assert "1 of 2 answers passed." in server.get(found["answers", "kept"]).text
    rejected = server.get(found["answers", "rejected"]).text
    assert "Rejected: no numbered steps." in rejected and "no step" in rejected
    assert "It was not asked: proof." in server.get(found["answers", "refused"]).text
    assert "Not judged yet." in server.get(found["answers", "open"]).text
    assert server.get("/run/collected/groups?fate=kept").text.count("<tr data-item") == 1


def test_a_replay_shows_where_it_drifts(server: Server) -> None:
    server.runs["replayed"].index.refresh()
    rows = {row.task: row for row in server.runs["replayed"].index.episodes().rows}
    assert (rows["drifts"].outcome, rows["drifts"].drift) == ("failed", 0.45)
    text = server.get(f"/run/replayed/episode/{rows['drifts'].number}").text
    assert "drift 0.900" in text and "print(1)" in text and "test_a" in text
    older = server.get(f"/run/replayed/episode/{rows['older'].number}").text
    assert "of an earlier version" in older
    both = f"/run/replayed/episode/{rows['drifts'].number}?beside={rows['older'].number}"
    assert server.get(both).status == 200


def test_a_replay_report_in_a_json_file_is_read_by_its_lines(tmp_path: Path) -> None:
    (found,) = find_runs([replay_report(tmp_path / "replays.json")]).values()
    found.index.refresh()
    assert {row.task for row in found.index.episodes().rows} == {"drifts", "older"}


def test_what_is_added_or_written_anew_is_followed(tmp_path: Path) -> None:
    index = find_runs([math_run(tmp_path / "run")])["run"].index
    index.refresh()
    (greedy,) = index.groups(GroupFilter(part="amc23, greedy")).rows
    with SampleStore(tmp_path / "run" / "samples.jsonl") as store:
        open_one = next(key for key, one in store.samples.items() if one.correct is None)
        store.grade({open_one: True})
    index.refresh(at_most_every=0)
    (sampled,) = index.groups(GroupFilter(part="amc23, sampled")).rows
    assert (sampled.fate, sampled.mean) == ("partly solved", pytest.approx(2 / 3))
    assert index.groups(GroupFilter(part="amc23, greedy")).rows == [greedy]
    (tmp_path / "run" / "samples.jsonl").unlink()
    index.refresh(at_most_every=0)
    assert index.groups(GroupFilter()).total == 0


def test_damaged_records_do_not_stop_the_pages(tmp_path: Path) -> None:
    runs = [math_run(tmp_path / "math"), collect_run(tmp_path / "collected")]
    runs.append(swebench_run(tmp_path / "issues"))
    for run, name in zip(
        runs, ("samples.jsonl", "drafts.jsonl", "answers/x.json", "judgements.jsonl"), strict=False
    ):
        with (run / name).open("a") as file:
            file.write('[1]\n{"benchmark": 3}\n{"id": "kept", "number": "x"}\nnot json\n{"id": ')
    server = Server(*runs)
    try:
        for run in ("math", "collected", "issues"):
            for page in ("", "/groups"):
                assert server.get(f"/run/{run}{page}").status == 200
    finally:
        server.close()


def test_a_run_of_an_unknown_kind_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    math_run(tmp_path / "math")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text("task: poetry\nidentity: {}\n")
    assert main([str(other)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "'poetry'" in said and "cannot show" in said
    with caplog.at_level(logging.WARNING):
        assert list(find_runs([tmp_path])) == ["math"]
    assert "'poetry'" in caplog.text
    (tmp_path / "source" / "rollouts").mkdir(parents=True)
    (tmp_path / "source" / "samples").mkdir()
    assert main([str(tmp_path / "source")]) == 2
    assert "holds no run" in capsys.readouterr().err
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": "a", "prompt": "b"}) + "\n")
    assert main([str(rows)]) == 2
    assert "is not a report of srl_envs.replay" in capsys.readouterr().err
