import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from srl_envs.answers.verifier import AnswerVerifier, final_answer


@pytest.fixture(scope="module")
def verifier():
    verifier = AnswerVerifier(timeout=4.0)
    yield verifier
    verifier.close()
    verifier.close()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{1} but \boxed{2", "1"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{a \boxed{b}}", "b"),
        (r"} x \\boxed {3} {", "3"),
        ("5 + 5\n#### 10 ", "10"),
        ("the answer is 10", None),
        ("", None),
    ],
)
def test_final_answers_are_found(text, answer):
    assert final_answer(text) == answer


def test_a_flood_of_boxes_is_read_once():
    assert final_answer("\\boxed{" * 200_000 + "3}") == "3"


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("0.5", r"\frac{1}{2}", True),
        ("1,000", "1000", True),
        ("3", "4", False),
        ("", "4", False),
        ("\ud800\0", "4", False),
        ("9" * 5000, "4", False),
    ],
)
def test_verification(verifier, answer, reference, right):
    assert verifier.verify(answer, reference) is right


def test_an_answer_that_would_hang_is_wrong_and_the_next_is_verified(verifier):
    assert verifier.verify("9^{9^{9^{9}}}", "4") is False
    assert verifier.verify("2+2", "4") is True


def test_only_processor_time_counts(verifier):
    """The child is stopped for longer than an answer may take, as on a busy machine."""
    with_little = AnswerVerifier(timeout=1.0)
    assert with_little.verify(r"\frac{10}{5}", "2")
    child = with_little._child.pid
    os.kill(child, signal.SIGSTOP)
    threading.Timer(2.0, os.kill, (child, signal.SIGCONT)).start()
    assert with_little.verify(r"\frac{12}{4}", "3") and not with_little.timed_out
    assert with_little._child.pid == child
    with_little.close()


@pytest.mark.parametrize("name", ["math_verify.py", "selectors.py", "srl_envs.py"])
def test_modules_in_the_working_directory_are_not_taken_for_the_installed_ones(
    name, tmp_path, monkeypatch
):
    (tmp_path / name).write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    verifier = AnswerVerifier()
    assert verifier.verify(r"\frac{6}{2}", "3")
    verifier.close()


def test_time_that_is_used_up_is_told(verifier):
    assert verifier.verify("9^{9^{9^{8}}}", "4") is False and verifier.timed_out
    assert verifier.verify("3+1", "4") is True and not verifier.timed_out


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the child's processor time in /proc")
def test_a_child_at_work_does_not_outlive_its_parent_for_long():
    script = """
from srl_envs.answers.verifier import AnswerVerifier
verifier = AnswerVerifier(timeout=3.0)
verifier.verify(r"\\frac{4}{2}", "2")
print(verifier._child.pid, flush=True)
verifier.verify("9^{9^{9^{9}}}", "3")
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = Path("/proc") / parent.stdout.readline().strip() / "stat"
        before = _ticks(child)
        while _ticks(child) < before + 30:  # it works on the second answer
            time.sleep(0.01)
        parent.kill()
    while _is_running(child):  # without an end this test hangs
        time.sleep(0.01)


def _ticks(stat):
    """Hundredths of a second of processor time."""
    return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))


def _is_running(stat):
    """Whether there is such a process that is no zombie."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
