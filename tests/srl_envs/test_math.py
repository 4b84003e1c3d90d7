import pytest

from srl_envs.answers import AnswerVerifier, final_answer


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
    [("0.5", r"\frac{1}{2}", True), ("1,000", "1000", True), ("3", "4", False), ("", "4", False), ("\ud800\0", "4", False), ("9" * 5000, "4", False)],
)
def test_verification(verifier, answer, reference, right):
    assert verifier.verify(answer, reference) is right


def test_an_answer_that_would_hang_is_wrong_and_the_next_is_verified(verifier):
    assert verifier.verify("9^{9^{9^{9}}}", "4") is False
    assert verifier.verify("2+2", "4") is True
