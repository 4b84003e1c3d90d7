"""``collect math`` with a scripted teacher behind a real server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from srl_agent.collect import main
from srl_agent.collection.asking import Asking
from srl_agent.collection.budget import BudgetConfig
from srl_agent.collection.drafts import DraftStore
from srl_agent.inference.generator import GenerationSettings, Request
from srl_agent.inference.openai_generator import OpenAIGenerator
from srl_envs.data import load_trajectories

sys.path.append(str(Path(__file__).parents[2] / "conformance"))
from teacher_server import Reply, Script, teacher_server

NUMBERS = re.compile(r"What is (\d+) \* (\d+)\?")


def good(question: str, filler: str = "") -> str:
    match = NUMBERS.search(question)
    assert match is not None
    one, other = int(match[1]), int(match[2])
    return (
        f"1. **Name the factors**: They are {one} and {other}.{filler}\n\n"
        f"2. **Multiply**: ${one} \\cdot {other} = {one * other}$, so \\boxed{{{one * other}}}."
    )


def write_csv(path: Path, count: int) -> Path:
    rows = [f"What is {number} * 7?,{number * 7}" for number in range(11, 11 + count)]
    path.write_text("\n".join(["problem,answer", *rows]) + "\n", encoding="utf-8")
    return path


def run(script: Script, tmp_path: Path, *flags: str, count: int = 4) -> tuple[int, Counter[str]]:
    """The exit status, and how often each question was asked."""
    problems = write_csv(tmp_path / "mine.csv", count)
    with teacher_server(script) as server:
        status = main(
            [
                *("math", "--problems", str(problems), "--model", "teacher"),
                *("--base_url", server.url, "--retries", "0"),
                *("--output_dir", str(tmp_path / "run"), "--log_level", "error", *flags),
            ]
        )
    return status, server.asked


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_parses_and_verifies_is_kept_and_trains(tmp_path: Path) -> None:
    status, asked = run(lambda question, before: Reply(good(question)), tmp_path, "--tries", "2")
    assert status == 0 and set(asked.values()) == {2}
    kept = load_trajectories(str(tmp_path / "run" / "trajectories.jsonl"))
    assert [one.answer for one in kept] == ["77", "84", "91", "98"]
    assert [step.title for step in kept[0].steps] == ["Name the factors", "Multiply"]
    assert kept[0].metadata["teacher"] == "teacher" and kept[0].metadata["passed"] == 2
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["kept"], results["answers"], results["rejected"]) == (4, 8, {})
    assert results["spent"] == {"requests": 8, "prompt": 88, "answer": 56}


BAD = {
    "wrong answer": lambda text: Reply(re.sub(r"boxed{\d+}", "boxed{5}", text)),
    "no final answer": lambda text: Reply(text.replace("\\boxed", "")),
    "no numbered steps": lambda text: Reply("It is simple. " + text.split("so ")[1]),
    "a step without a title": lambda text: Reply(text.replace("**Multiply**: ", "")),
    "cut off": lambda text: Reply(text, finish="length"),
    "no text": lambda text: Reply(""),
    "nothing after the thought": lambda text: Reply("", thought=text),
    "the solution is written twice": lambda text: Reply(f"{text}\n\n{text}"),
    "a lone surrogate": lambda text: Reply(text.replace("They", "\ud800")),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_answer_is_counted_by_reason_and_can_be_read(reason: str, tmp_path: Path) -> None:
    """The second try is good, so each problem has a trajectory in the end."""

    def script(question: str, before: int) -> Reply:
        return Reply(good(question)) if before else BAD[reason](good(question))

    status, _ = run(script, tmp_path, "--tries", "2", "--concurrency", "1", count=2)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert status == 0 and results["kept"] == 2 and results["rejected"] == {reason: 2}
    rejects = lines(tmp_path / "run" / "rejects.jsonl")
    assert [one["reason"] for one in rejects] == [reason] * 2
    assert {"id", "try", "detail", "problem", "answer", "text"} <= set(rejects[0])


OTHER_FORMATS = {
    "headings": lambda text: Reply(re.sub(r"(\d)\. \*\*(.*?)\*\*:", r"### Step \1: \2\n\n", text)),
    "thought apart": lambda text: Reply(text, thought="Let me see."),
    "thought inside": lambda text: Reply(f"<think>\nLet me see.\n</think>\n\n{text}"),
    "fence": lambda text: Reply(f"```markdown\n{text}\n```"),
    "preamble": lambda text: Reply(f"Here is the solution.\n\n{text}"),
    "tail": lambda text: Reply(f"{text}\n\n**Final answer**: the one in the box"),
}


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_other_formats_are_read(name: str, tmp_path: Path) -> None:
    def script(question: str, before: int) -> Reply:
        return OTHER_FORMATS[name](good(question))

    assert run(script, tmp_path, "--tries", "1", count=1)[0] == 0
    (kept,) = load_trajectories(str(tmp_path / "run" / "trajectories.jsonl"))
    assert [step.title for step in kept.steps] == ["Name the factors", "Multiply"]
    assert ("reasoning_trace" in kept.metadata) == ("thought" in name)


def test_of_several_good_answers_the_one_of_median_length_is_kept(tmp_path: Path) -> None:
    def script(question: str, before: int) -> Reply:
        return Reply(good(question, " Long." * [0, 9, 3][before]))

    run(script, tmp_path, "--tries", "3", "--concurrency", "1", count=1)
    (kept,) = load_trajectories(str(tmp_path / "run" / "trajectories.jsonl"))
    assert kept.steps[0].action.count("Long") == 3


def test_a_problem_with_enough_is_not_asked_again(tmp_path: Path) -> None:
    def script(question: str, before: int) -> Reply:
        return Reply(good(question) if before or "11 *" in question else "I do not know.")

    flags = ("--tries", "3", "--enough", "1")
    _, asked = run(script, tmp_path, *flags, count=2)
    assert asked == {"What is 11 * 7?": 1, "What is 12 * 7?": 2}


def test_a_killed_run_asks_nothing_twice(tmp_path: Path) -> None:
    drafts = tmp_path / "run" / "drafts.jsonl"
    flags = ("--tries", "2")
    run(lambda question, before: Reply(good(question)), tmp_path, *flags)
    whole = drafts.read_bytes()
    ended = whole.splitlines(keepends=True)
    drafts.write_bytes(b"".join(ended[:5]) + ended[5][:30])
    status, asked = run(lambda question, before: Reply(good(question)), tmp_path, *flags)
    assert status == 0 and asked.total() == 3
    assert sorted(drafts.read_bytes().splitlines()) == sorted(whole.splitlines())
    assert run(lambda question, before: Reply(status=500), tmp_path, *flags) == (0, Counter())


def test_late_broken_and_missing_answers_do_not_hold_up_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = {
        "11": Reply(status=500),
        "12": Reply(hang_up=True),
        "13": Reply(delay=3.0),
        "14": Reply(body=b"{}"),
        "15": Reply(status=400),
    }

    def script(question: str, before: int) -> Reply:
        match = NUMBERS.search(question)
        assert match is not None
        return replies.get(match[1], Reply(good(question)))

    flags = ("--tries", "1", "--timeout", "0.5", "--concurrency", "2")
    status, _ = run(script, tmp_path, *flags, count=9)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (status, results["kept"], results["open"]) == (1, 4, 5)
    assert "5 requests have no answer" in capsys.readouterr().err
    status, asked = run(lambda question, before: Reply(good(question)), tmp_path, *flags, count=9)
    assert status == 0 and asked.total() == 5
    assert len(lines(tmp_path / "run" / "trajectories.jsonl")) == 9


def test_a_server_that_never_answers_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = run(lambda question, before: Reply(status=503), tmp_path)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == 2 and error.startswith("error: ") and "Is the server running?" in error


@pytest.mark.parametrize(
    "status, said",
    [(401, "refuses the API key"), (404, "this model"), (400, "refuses the request")],
)
def test_what_the_server_refuses_is_one_line_and_not_sent_again(
    status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--tries", "1", "--retries", "6", "--log_level", "info", "--concurrency", "1")
    ended, asked = run(lambda question, before: Reply(status=status), tmp_path, *flags)
    words = [line for line in capsys.readouterr().err.splitlines() if "scripted" in line]
    assert ended == 2 and len(words) == 1 and words[0].startswith("error: ") and said in words[0]
    assert set(asked.values()) == {1}


def test_a_server_that_fails_at_first_is_named_while_it_is_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(question: str, before: int) -> Reply:
        return Reply(good(question)) if before else Reply(status=429)

    flags = ("--tries", "1", "--retries", "1", "--log_level", "warning")
    ended, _ = run(script, tmp_path, *flags)
    words = [line for line in capsys.readouterr().err.splitlines() if "HTTP 429" in line]
    assert ended == 0 and len(words) == 1 and "sent again, up to 1 times each" in words[0]


def test_an_answer_without_its_tokens_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":null}'
    ended, _ = run(lambda question, before: Reply(body=body), tmp_path)
    assert ended == 2 and "usage does not say completion_tokens" in capsys.readouterr().err


def test_no_more_tokens_than_the_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each answer takes 18 tokens, and might take its prompt and 100."""
    flags = ("--tries", "1", "--max_new_tokens", "100", "--max_tokens_total")
    status, asked = run(
        lambda question, before: Reply(good(question)), tmp_path, *flags, "700", count=40
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert status == 0 and results["open"] == 40 - asked.total() > 0
    assert 0 < sum(results["spent"][name] for name in ("prompt", "answer")) <= 700
    assert asked.total() > 3  # as answers turn out short, further ones are asked
    status, more = run(
        lambda question, before: Reply(good(question)), tmp_path, *flags, "100000", count=40
    )
    assert status == 0 and more.total() == 40 - asked.total()


def test_a_cost_is_bounded_at_the_prices_given(tmp_path: Path) -> None:
    prices = ("--price_prompt", "1000", "--price_answer", "10000", "--max_cost", "5")
    flags = ("--tries", "1", "--max_new_tokens", "100", *prices)
    run(lambda question, before: Reply(good(question)), tmp_path, *flags, count=60)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    requests = results["spent"]["requests"]
    assert 0 < requests < 60
    assert results["cost"] == pytest.approx(requests * (11 * 1000 + 7 * 10000) / 1e6)
    assert results["cost"] <= 5


def test_a_dry_run_asks_nothing_and_says_what_is_to_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--tries", "3", "--max_new_tokens", "100", "--price_answer", "5")
    status, asked = run(
        lambda question, before: Reply(), tmp_path, *flags, "--dry_run", "true", count=5
    )
    said = capsys.readouterr().out
    assert status == 0 and not asked and not (tmp_path / "run").exists()
    assert "at most 15 requests" in said and "1500 tokens of answers" in said and "Cost" in said


def test_requests_run_side_by_side(tmp_path: Path) -> None:
    problems = write_csv(tmp_path / "mine.csv", 8)
    flags = ("--problems", str(problems), "--model", "teacher", "--output_dir", str(tmp_path / "r"))
    with teacher_server(lambda question, before: Reply(good(question), delay=0.2)) as server:
        assert main(["math", *flags, "--base_url", server.url, "--concurrency", "8"]) == 0
    assert 1 < server.most_open <= 8


def test_benchmarks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    janet = (
        "Janet\u2019s ducks lay 16 eggs per day. She eats three for breakfast every morning and"
        " bakes muffins for her friends every day with four. She sells the remainder at the"
        " farmers' market daily for $2 per fresh duck egg. How much in dollars does she make every"
        " day at the farmers' market?"
    )
    file = tmp_path / "stolen.jsonl"
    file.write_text(json.dumps({"problem": janet, "answer": 18}) + "\n")
    flags = ("--model", "teacher", "--base_url", "http://127.0.0.1:9/v1")
    assert main(["math", "--problems", str(file), *flags]) == 2
    assert "the question is in a benchmark: gsm8k" in capsys.readouterr().err
    assert main(["math", "--source", "aime24", *flags]) == 2
    assert "aime24 is a benchmark" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, said",
    [
        ((), "--problems FILE"),
        (("--source", "builtin_swe"), "choose a source of math"),
        (("--source", "builtin", "--tries", "0"), "tries is 0"),
        (("--source", "builtin", "--temperature", "0"), "tries is 4"),
        (("--source", "builtin", "--max_cost", "3"), "--price_prompt"),
        (("--source", "builtin", "--enough", "5"), "enough is 5"),
        (("--problems", "/no/such.csv"), "is not a file"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(
    flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ("--model", "teacher", "--base_url", "http://127.0.0.1:9/v1")
    assert main(["math", *flags, *server]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and said in error[-1]


def test_another_problem_under_an_old_id_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(question: str, before: int) -> Reply:
        return Reply(good(question))

    run(script, tmp_path, count=1)
    with teacher_server(script) as server:
        (tmp_path / "mine.csv").write_text("problem,answer\nWhat is 99 * 7?,693\n")
        flags = ("--problems", str(tmp_path / "mine.csv"), "--output_dir", str(tmp_path / "run"))
        assert main(["math", *flags, "--model", "teacher", "--base_url", server.url]) == 2
    assert "has another text now" in capsys.readouterr().err


def test_a_full_disk_is_not_a_failure_of_the_model(tmp_path: Path) -> None:
    """It ends the run at once: nothing is asked that cannot be kept."""
    from srl_envs.errors import InfrastructureError

    with teacher_server(lambda question, before: Reply("x")) as server:
        generator = OpenAIGenerator("teacher", server.url, concurrency=1)
        with DraftStore(Path("/dev/full")) as store:
            asking = Asking(generator, GenerationSettings(), store, BudgetConfig())
            wanted = {
                (str(n), 0): Request(({"role": "user", "content": str(n)},)) for n in range(9)
            }
            with pytest.raises(InfrastructureError, match="cannot be written"):
                asking.ask(wanted)
    assert server.asked.total() < 9


def test_ctrl_c_keeps_what_was_answered(tmp_path: Path) -> None:
    """The process says so and ends; the next one asks for the rest."""
    problems, drafts = write_csv(tmp_path / "mine.csv", 6), tmp_path / "run" / "drafts.jsonl"
    held = threading.Event()

    def script(question: str, before: int) -> Reply:
        if NUMBERS.search(question)[1] in ("14", "15", "16"):  # type: ignore[index]
            held.wait(60)
        return Reply(good(question))

    with teacher_server(script) as server:
        flags = [
            *("math", "--problems", str(problems), "--model", "teacher", "--tries", "1"),
            *("--base_url", server.url, "--output_dir", str(tmp_path / "run")),
        ]
        command = [sys.executable, "-m", "srl_agent.collect", *flags]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and not (
                drafts.is_file() and len(drafts.read_bytes().splitlines()) == 3
            ):
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            said = process.communicate()[1]
        assert process.returncode == 130 and "what was answered is kept" in said
        held.set()
        before = server.asked.total()
        assert main(flags) == 0 and server.asked.total() == before + 3
    assert len(lines(tmp_path / "run" / "trajectories.jsonl")) == 6
