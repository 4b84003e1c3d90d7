"""``python -m srl_agent.evaluate swebench`` without Docker: patches of a real tiny model on a
local git repository, kills, resumes, mistakes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from swebench_clones import instance_at
from transformers import AutoTokenizer

from srl_agent.evaluate import main
from srl_agent.evaluation.swebench.instances import SweBenchInstance, connects_to, instance_of
from srl_agent.evaluation.swebench.judgement import Judgement
from srl_agent.evaluation.swebench.records import Records
from srl_agent.evaluation.swebench.results import InstanceResult, SweBenchResults, summarize
from srl_agent.evaluation.swebench.tables import terminal_text, unjudged_line
from srl_envs.errors import DataError

sys.path.append(str(Path(__file__).parents[3] / "conformance"))
from chat_completions_server import ModelServer

ROW_KEYS = ("instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch")


@pytest.fixture
def dataset(clones: Path, tmp_path: Path) -> Path:
    clone = clones / "acme" / "tool"
    rows = []
    for number, revision in enumerate(["HEAD~1", "HEAD", "HEAD"], 1):
        instance = instance_at(clone, revision, instance_id=f"acme__tool-{number}")
        rows.append(
            {key: getattr(instance, key) for key in ROW_KEYS}
            | {"FAIL_TO_PASS": ["t.py::t"], "PASS_TO_PASS": [], "difficulty": "easy"}
        )
    rows[2]["base_commit"] = "0" * 40  # no such commit
    path = tmp_path / "instances.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(dataset: Path, clones: Path, model: Path, folder: Path, *more: str) -> list[str]:
    return [
        *(
            "swebench",
            "--dataset",
            str(dataset),
            "--repositories",
            str(clones),
            "--repository_cache",
            str(dataset.parent / "cache"),
        ),
        *(
            "--model",
            str(model),
            "--device",
            "cpu",
            "--backend",
            "transformers",
            "--max_new_tokens",
            "8",
            "--max_prompt_tokens",
            "2000",
        ),
        *("--output_dir", str(folder), "--judge", "false", *more),
    ]


@pytest.mark.parametrize("mode", ["oracle", "end-to-end"])
def test_patches_are_written_and_a_missing_commit_is_told(
    mode, dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    folder = tmp_path / "run"
    asked = command(
        dataset, clones, tiny_model_dir, folder, "--mode", mode, "--instances_at_once", "1"
    )
    assert main(asked) == 1
    shown = capsys.readouterr()
    assert (
        "1 of 3 instances have no patch: acme__tool-3" in shown.err
        and "paper: SRL" in shown.out
        and "14.8" in shown.out
    )
    assert f"{tiny_model_dir.name}, on instances.jsonl" in shown.out, (
        "the paper's rows are of another data set"
    )
    predictions = [
        json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()
    ]
    assert [row["instance_id"] for row in predictions] == ["acme__tool-1", "acme__tool-2"]
    assert all(
        row.keys() == {"instance_id", "model_name_or_path", "model_patch"} for row in predictions
    )
    answer = json.loads((folder / "answers" / "acme__tool-1.json").read_text())
    assert (
        answer["repair"]["samples"][0]["tokens"] >= 1
        and "VALUE should be 3." in answer["repair"]["messages"][-1]["content"]
    )
    assert ("localize" in answer) == (mode == "end-to-end")
    results = json.loads((folder / "results.json").read_text())
    assert (
        results["instances"] == 3
        and results["counts"]["error"] == 1
        and results["by_repository"]["acme/tool"]["instances"] == 3
    )
    page = (folder / "report.html").read_text()
    assert page.count("<article") == 3 and "VALUE should be 3." in page

    before = {
        path: path.read_bytes()
        for path in [folder / "predictions.jsonl", *(folder / "answers").iterdir()]
    }
    assert main(asked) == 1, "what is finished is not asked again, what failed is tried again"
    assert {path: path.read_bytes() for path in before} == before


def test_a_cut_line_is_mended_and_only_its_patch_is_written_again(
    dataset, clones, tiny_model_dir, tmp_path
) -> None:
    folder = tmp_path / "run"
    asked = command(dataset, clones, tiny_model_dir, folder, "--limit", "2")
    assert main(asked) == 0
    path = folder / "predictions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    answers = {answer.name: answer.stat().st_mtime_ns for answer in (folder / "answers").iterdir()}
    assert main(asked) == 0
    assert path.read_bytes() == whole
    assert (folder / "answers" / "acme__tool-1.json").stat().st_mtime_ns == answers[
        "acme__tool-1.json"
    ]


def test_changed_settings_are_named(dataset, clones, tiny_model_dir, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    assert main(command(dataset, clones, tiny_model_dir, folder, "--limit", "1")) == 0
    assert (
        main(
            command(
                dataset,
                clones,
                tiny_model_dir,
                folder,
                "--limit",
                "1",
                "--mode",
                "end-to-end",
                "--seed",
                "3",
            )
        )
        == 1
    )
    error = capsys.readouterr().err
    assert "mode was 'oracle', is 'end-to-end'" in error and "seed was 0, is 3" in error


def test_several_samples_are_kept_and_one_is_chosen(
    dataset, clones, tiny_model_dir, tmp_path
) -> None:
    folder = tmp_path / "run"
    assert (
        main(
            command(
                dataset,
                clones,
                tiny_model_dir,
                folder,
                "--limit",
                "1",
                "--num_samples",
                "3",
                "--temperature",
                "1.0",
            )
        )
        == 0
    )
    repair = json.loads((folder / "answers" / "acme__tool-1.json").read_text())["repair"]
    assert [sample["number"] for sample in repair["samples"]] == [0, 1, 2] and repair["chosen"] == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--judge", "true"], "does not know version None of acme/tool"),
        (["--num_samples", "2"], "temperature is 0"),
        (["--gold", "true"], "there would be nothing to do"),
        (["--instance_ids", "acme__tool-9"], "did you mean"),
        (["--jobs", "0"], "jobs is 0"),
    ],
)
def test_mistakes_are_told_in_one_line(
    more, message, dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    assert main(command(dataset, clones, tiny_model_dir, tmp_path / "run", *more)) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error


def test_a_verdict_counts_for_its_own_patch_only(tmp_path) -> None:
    records = Records(tmp_path)
    records.add_prediction("a__b-1", "model", "patch")
    records.add_judgement(Judgement("a__b-1", "infrastructure_failure", "engine"))
    records.add_judgement(Judgement("a__b-1", "unresolved", failing=("t",)))
    again = Records(tmp_path)
    assert again.judgements == {"a__b-1": Judgement("a__b-1", "unresolved", failing=("t",))}
    path = tmp_path / "predictions.jsonl"
    path.write_text(path.read_text().replace('"patch"', '"another"'))
    assert Records(tmp_path).judgements == {}


def lengthened(dataset: Path) -> None:
    """Make the first issue longer than the tiny model's context."""
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    rows[0]["problem_statement"] = "VALUE should be 3. " * 1000
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("mode", ["oracle", "end-to-end"])
def test_prompts_leave_room_for_the_answer_in_the_models_context(
    mode, dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    lengthened(dataset)
    folder = tmp_path / "run"
    asked = command(
        dataset,
        clones,
        tiny_model_dir,
        folder,
        "--limit",
        "2",
        "--mode",
        mode,
        "--max_prompt_tokens",
        "60000",
        "--max_new_tokens",
        "24",
    )
    assert main(asked) == 0
    for name in ("acme__tool-1", "acme__tool-2"):
        answer = json.loads((folder / "answers" / f"{name}.json").read_text())
        for part in answer.keys() & {"localize", "repair"}:
            assert answer[part]["prompt_tokens"] <= answer[part]["max_prompt_tokens"] < 2048 - 24
    assert (
        f"Prompts have {answer['repair']['max_prompt_tokens']} tokens at most, "
        "not 60000: the model's context (2048)" in capsys.readouterr().err
    )


def test_a_context_without_room_is_told_at_once(
    dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    assert (
        main(command(dataset, clones, tiny_model_dir, tmp_path / "run", "--max_new_tokens", "2040"))
        == 1
    )
    assert "holds 2048 tokens, max_new_tokens 2040 of them" in capsys.readouterr().err


class FilteringServer(ModelServer):
    """Refuses the prompts of long issues, for a reason of its own."""

    def answer(self, asked: dict) -> tuple[int, dict]:
        if len(asked["messages"][-1]["content"]) > 5000:
            return 400, {"error": {"message": "a filter of contents was triggered"}}
        return super().answer(asked)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            ModelServer,
            "its prompt leaves no room in the model's context: lower --max_prompt_tokens",
        ),
        (FilteringServer, "a filter of contents was triggered"),
    ],
)
def test_a_prompt_that_a_server_refuses_is_told_with_its_instance(
    kind, reason, dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    lengthened(dataset)
    folder = tmp_path / "run"
    server = kind(tiny_model_dir)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked = command(
        dataset, clones, Path("served"), folder, "--limit", "2", "--max_prompt_tokens", "60000"
    )
    asked += [
        "--backend",
        "openai",
        "--base_url",
        server.base_url,
        "--retries",
        "0",
        "--concurrency",
        "1",
    ]
    try:
        assert main(asked) == 1
        error = capsys.readouterr().err
        assert "1 of 2 instances have no patch: acme__tool-1" in error and reason in error
        assert Records(folder).predictions.keys() == {"acme__tool-2"}
        assert main(asked) == 1
        assert server.answered == 1, "what was answered is not asked again"
    finally:
        server.shutdown()
        server.server_close()


def test_a_model_that_refuses_everything_ends_the_run(
    dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    server = ModelServer(tiny_model_dir)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = server.base_url.removesuffix("/v1")
    try:
        asked = command(
            dataset,
            clones,
            Path("served"),
            tmp_path / "run",
            "--backend",
            "openai",
            "--base_url",
            address,
        )
        assert main(asked) == 1
        assert (
            capsys.readouterr()
            .err.splitlines()[-1]
            .startswith(f"error: {address}/chat/completions does not know this address")
        )
    finally:
        server.shutdown()
        server.server_close()


class AnswersOnce(BaseHTTPRequestHandler):
    """Answers the first request, and lets all others wait."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.release()  # type: ignore[attr-defined]
        if not self.server.first.acquire(blocking=False):  # type: ignore[attr-defined]
            self.server.ends.wait()  # type: ignore[attr-defined]
            return
        self.answer()

    def answer(self) -> None:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "No edit."},
            "finish_reason": "stop",
        }
        body = json.dumps({"choices": [choice], "usage": {"completion_tokens": 3}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class FirstAnswersLast(BaseHTTPRequestHandler):
    """Answers the first request once five others are answered."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.first.acquire(blocking=False):  # type: ignore[attr-defined]
            for _ in range(5):
                self.server.answered.acquire()  # type: ignore[attr-defined]
        AnswersOnce.answer(self)  # type: ignore[arg-type]
        self.server.answered.release()  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


def test_a_slow_answer_holds_up_no_other_instance(dataset, clones, tmp_path) -> None:
    row = json.loads(dataset.read_text().splitlines()[0])
    rows = [row | {"instance_id": f"acme__tool-{number}"} for number in range(10, 16)]
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = ThreadingHTTPServer(("127.0.0.1", 0), FirstAnswersLast)
    server.daemon_threads = True
    server.first, server.answered = threading.Lock(), threading.Semaphore(0)  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    folder = tmp_path / "run"
    asked = command(dataset, clones, Path("served"), folder, "--concurrency", "2")
    try:
        assert main([*asked, "--backend", "openai", "--base_url", address]) == 0
    finally:
        server.shutdown()
        server.server_close()
    written = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert len(written) == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupt_while_the_model_writes_keeps_what_was_answered(
    number, dataset, clones, tmp_path
) -> None:
    folder = tmp_path / "run"
    server = ThreadingHTTPServer(("127.0.0.1", 0), AnswersOnce)
    server.daemon_threads = True
    server.asked, server.first, server.ends = (
        threading.Semaphore(0),
        threading.Lock(),
        threading.Event(),
    )  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked = command(
        dataset, clones, Path("served"), folder, "--limit", "2", "--instances_at_once", "1"
    )
    asked += [
        "--backend",
        "openai",
        "--base_url",
        f"http://127.0.0.1:{server.server_address[1]}/v1",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "srl_agent.evaluate", *asked],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        for _ in range(2):
            server.asked.acquire()  # type: ignore[attr-defined]
        os.kill(process.pid, number)
        _, shown = process.communicate()
    finally:
        server.ends.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
    assert process.returncode == 130
    assert (
        shown.splitlines()[-1]
        == "interrupted: what was answered is kept. Rerun the same command to resume."
        and "Traceback" not in shown
    )
    assert Records(folder).predictions == {"acme__tool-1": ""}


def test_a_data_set_that_changed_under_its_name_is_noticed(
    dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    folder = tmp_path / "run"
    assert main(command(dataset, clones, tiny_model_dir, folder, "--limit", "1")) == 0
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    rows[0] |= {
        "problem_statement": "VALUE should be 4.",
        "hints_text": "a hint",
        "FAIL_TO_PASS": json.dumps(rows[0]["FAIL_TO_PASS"]),
    }
    rows[1] |= {"problem_statement": "VALUE should be 5."}  # nobody was asked about it
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert main(command(dataset, clones, tiny_model_dir, folder, "--limit", "2")) == 1
    error = capsys.readouterr().err
    assert (
        "on 1 instances that have changed in the data set since: acme__tool-1 (problem_statement)."
        in error
        and "Put the rows back" in error
    )


def test_a_verdict_binds_how_it_was_judged_and_a_failure_of_the_machinery_does_not(
    clones, tmp_path
) -> None:
    instance = instance_at(clones / "acme" / "tool", "HEAD")
    records = Records(tmp_path)
    records.add_prediction(instance.instance_id, "model", "patch")
    records.require_same([with_image(instance, "first")])
    records.add_judgement(
        Judgement(instance.instance_id, "infrastructure_failure", "no such image")
    )
    records.require_same([with_image(instance, "second")])
    records.add_judgement(Judgement(instance.instance_id, "unresolved"))
    with pytest.raises(DataError, match=rf"{instance.instance_id} \(image\)"):
        records.require_same([with_image(instance, "third")])
    records.require_same([with_image(instance, "second")])


def with_image(instance: SweBenchInstance, image: str) -> SweBenchInstance:
    row = {key: getattr(instance, key) for key in ROW_KEYS} | {"image": image}
    return replace(instance, image=image, row=row)


def test_what_was_not_judged_has_no_rate(dataset, clones, tiny_model_dir, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    assert main(command(dataset, clones, tiny_model_dir, folder, "--limit", "2")) == 0
    shown = capsys.readouterr().out
    assert "not judged" in shown and "0.0" not in shown
    results = json.loads((folder / "results.json").read_text())
    assert results["resolved_rate"] is None and results["resolved_interval"] is None


def test_a_relative_cache_of_repositories(
    dataset, clones, tiny_model_dir, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = command(dataset, clones, tiny_model_dir, tmp_path / "run", "--limit", "2")
    asked[asked.index("--repository_cache") + 1] = "relative/cache"
    assert main(asked) == 0
    assert any((tmp_path / "relative" / "cache").iterdir())


def test_many_failures_are_one_short_line() -> None:
    failed = [
        InstanceResult(
            f"acme__tool-{number}",
            "acme/tool",
            "",
            "error",
            f"git fetch of acme__tool-{number} failed: " + "no route to host, " * 50,
        )
        for number in range(500)
    ]
    line = unjudged_line(SweBenchResults("m", "oracle", "d", tuple(failed)))
    assert len(line) < 600 and "acme__tool-4 and 495 more" in line
    assert "500 of 500 instances" in line


@pytest.mark.parametrize(
    ("repo", "test", "goal"),
    [
        ("psf/requests", "test_requests.py::RequestsTestCase::test_HTTP_200_OK_PUT", "httpbin.org"),
        (
            "psf/requests",
            "tests/test_requests.py::TestTimeout::test_connect_timeout[t0]",
            "answers",
        ),
        ("psf/requests", "tests/test_requests.py::TestRequests::test_HTTP_200_OK_PUT[x]", ""),
        ("psf/requests", "test_requests.py::RequestsTestCase::test_basic_building", ""),
        ("sphinx-doc/sphinx", "tests/test_build_linkcheck.py::test_defaults", "links"),
        ("django/django", "test_connect_timeout (x.Y)", ""),
    ],
)
def test_instances_whose_tests_connect_out_are_marked(dataset, repo, test, goal) -> None:
    row = json.loads(dataset.read_text().splitlines()[0])
    instance = instance_of(row | {"repo": repo, "FAIL_TO_PASS": json.dumps([test])}, "row 1")
    assert goal in connects_to(instance) and bool(goal) == bool(connects_to(instance))
    one = InstanceResult("a", repo, "", "unresolved", connects_to=connects_to(instance))
    closed = SweBenchResults("m", "oracle", "d", (one,), network="none")
    assert closed.unresolved_without_network == bool(goal)
    assert ("connect out" in terminal_text(closed)) == bool(goal)
    assert "connect out" not in terminal_text(replace(closed, network="default"))


class ListedServer(ModelServer):
    """Lists its model with a context, as vLLM does."""

    context = 2048


def test_a_server_says_its_context_and_a_local_tokenizer_counts(
    dataset, clones, tiny_model_dir, tmp_path, capsys
) -> None:
    lengthened(dataset)
    server = ListedServer(tiny_model_dir)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = tmp_path / "run"
    asked = command(
        dataset, clones, tiny_model_dir, folder, "--limit", "1", "--max_prompt_tokens", "60000"
    )
    try:
        assert main([*asked, "--backend", "openai", "--base_url", server.base_url]) == 0
        shown = capsys.readouterr().err
        assert "not 60000: the model's context (2048)" in shown
        repair = json.loads((folder / "answers" / "acme__tool-1.json").read_text())["repair"]
        tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
        counted = sum(
            len(tokenizer(message["content"], add_special_tokens=False)["input_ids"])
            for message in repair["messages"]
        )
        assert repair["prompt_tokens"] == counted <= repair["max_prompt_tokens"] < 2048
    finally:
        server.shutdown()
        server.server_close()


def test_pass_at_k_over_judged_samples(dataset, tmp_path) -> None:
    row = json.loads(dataset.read_text().splitlines()[0])
    instances = [instance_of(row | {"instance_id": f"a__b-{number}"}, "") for number in (1, 2)]
    (tmp_path / "run").mkdir()
    records = Records(tmp_path / "run")
    patches = {"a__b-1": ["p", "q", "p", ""], "a__b-2": ["p", "", "", ""]}
    for name, of_samples in patches.items():
        samples = [{"patch": patch, "problems": []} for patch in of_samples]
        records.write_answer(name, {"repair": {"samples": samples}})
        records.add_prediction(name, "m", "p")
        for patch in dict.fromkeys(of_samples):
            outcome = "resolved" if (name, patch) == ("a__b-1", "p") else "unresolved"
            records.add_judgement(Judgement(name, outcome if patch else "empty_patch"), patch)
    for read in (records, Records(tmp_path / "run")):
        results = summarize("m", "oracle", "d", instances, read, {}, "none")
        assert results.pass_at == {1: 0.25, 4: 0.5} and results.resolved == 1
        assert "pass@4" in terminal_text(results)
    records.add_judgement(Judgement("a__b-2", "infrastructure_failure"), "")
    results = summarize("m", "oracle", "d", instances, records, {}, "none")
    assert results.pass_at == {}, "not of samples without a verdict"


def test_an_empty_patch_says_why(dataset, tmp_path) -> None:
    row = json.loads(dataset.read_text().splitlines()[0])
    edits = {
        "a__b-1": [],
        "a__b-2": [],
        "a__b-3": [{"status": "no_path"}, {"status": "no_path"}, {"status": "unread"}],
    }
    instances = [instance_of(row | {"instance_id": name}, "") for name in edits]
    (tmp_path / "run").mkdir()
    records = Records(tmp_path / "run")
    for name, of_sample in edits.items():
        finish = "length" if name == "a__b-3" else "stop"
        sample = {"patch": "", "problems": [], "edits": of_sample, "finish": finish}
        records.write_answer(name, {"repair": {"samples": [sample]}})
        records.add_prediction(name, "m", "")
    results = summarize("m", "oracle", "d", instances, records, {}, "none")
    assert [one.reason for one in results.instances] == [
        "no edit in the answer",
        "no edit in the answer",
        "no path (2), unread, cut off at max_new_tokens",
    ]
    assert "most often: no edit in the answer 2" in " ".join(terminal_text(results).split())
