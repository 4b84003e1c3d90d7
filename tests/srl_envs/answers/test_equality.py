"""Which answers are the same: pairs of every kind, in both orders, and what holds for all pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srl_envs.answers.grading import Grader

RIGHT = [
    (r"4.5\times 10^{33}", "4.5e33"),
    (r"4.5 \cdot 10^{33} \text{ erg/s}", "4.5e33"),
    (r"3 \times 10^8 meters", "3e8"),
    ("0.00001", "1e-5"),
    (r"-\frac{1}{3}", "-1./3"),
    (r"\arcsin(10/13)", "np.arcsin(10/13)"),
    ("E_1, E_2", "E_{1},E_{2}"),
    (r"1.6 \text{ cm}", "1.6"),
    ("18 dollars", "18"),
    (r"\$18.00", "18"),
    ("42.", "42"),
    ("**42**", "42"),
    (r"\(42\)", "42"),
    ("4.4721", "4.472136"),
    ("10,000", "10{,}000"),
    ("11111111100", r"11,\! 111,\! 111,\! 100"),
    (r"50\%", "50"),
    ("027", "27"),
    (r"x \in [2,5)", "[2,5)"),
    ("2, 1", "1,2"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    (r"\text{Evelyn}", "Evelyn"),
    ("(C)", r"\text{(C)}"),
    ("90", r"90^\circ"),
    (r"\frac34", "0.75"),
    ("1-2x", "-2x + 1"),
    (r"-2 \le x < 7", "[-2,7)"),
    (r"-2 \leq x \leq 7", r"x \in [-2,7]"),
    ("6-5i", "6 - 5 i"),
    (r"-8 - 8i\sqrt{3}", r"-8-8 \sqrt{3} i"),
    (r"\frac{e^{2it}}{2+2i}", r"\frac{e^{2 i t}}{(2+2 i)}"),
    (r"\text{MR} = \text{SRMC}", "MR=SRMC"),
    (r"E_1 \text{ and } E_2", "E_{1},E_{2}"),
    (r"35.0\%", "35"),
    ("x > 3", r"(3,\infty)"),
    ("x<-1 or x>3", r"(-\infty,-1)\cup(3,\infty)"),
    ("45°", "45"),
    ("45°", r"45^\circ"),
    ("€25", "25"),
    (r"0.\overline{3}", r"\frac{1}{3}"),
    ("2 1/2", r"\frac{5}{2}"),
    ("2 1/2", "2.5"),
    ("½", "0.5"),
    ("½", r"\frac12"),
    ("√2", r"\sqrt{2}"),
    (r"\varnothing", r"\emptyset"),
    ("5,", "5"),
    (r"5\text{ million}", "5000000"),
    (r"\frac{1}{3}", "0.333333"),
    (r"2\frac{1}{2}", "2.5"),
    (r"137 \frac{1}{2}", "137.5"),
    ("x=5", "5"),
    ("y = 2x+1", "2x+1"),
    ("y=2x+1", "y = 1+2x"),
    ("2x - y + 1 = 0", "y = 2x+1"),
    ("1.234.567", "1234567"),
    ("1 234 567", "1234567"),
    (r"1\,234\,567", "1,234,567"),
    ("1{,}234", "1234"),
    ("1'234", "1234"),
    (r"1.5 \times 10^{-3}", "0.0015"),
    ("1.5e-3", r"1.5\cdot 10^{-3}"),
    ("10^{6}", "1000000"),
    (r"1 \pm \sqrt{2}", r"1-\sqrt2, 1+\sqrt2"),
    (r"\pm 3", "3, -3"),
    (r"\pm 3", r"\{-3, 3\}"),
    ("x^2+2x+1", "1+x^2+2x"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\sin^2 x + \cos^2 x", "1"),
    (r"\ln 4", r"2\ln 2"),
    (r"\log_2 8", "3"),
    ("Tuesday", r"\text{Tuesday}"),
    ("tuesday", "Tuesday"),
    ("odd", r"\text{odd}"),
    (r"\text{ellipse}", "an ellipse"),
    ("3:30 PM", "3:30 p.m."),
    ("3:30", r"3:30 \text{ PM}"),
    ("5 PM", "5:00 p.m."),
    ("May 5", "5 May"),
    ("May 5th", "May 5"),
    (r"\$18.90", "18.90"),
    (r"\$18.90", r"18.9 \text{ dollars}"),
    (r"\$32,\!348", "32348"),
    ("$5.00", "5"),
    ("(B)", "B"),
    (r"\text{(B)}", "B"),
    (r"\textbf{(B)}\ 7", "B"),
    ("(B) 7", "(B)"),
    ("B.", "(B)"),
    (r"10\text{ cm}", "10"),
    (r"10\text{ cm}", r"10 \text{ centimeters}"),
    (r"1\text{ m}", r"100\text{ cm}"),
    (r"15\mbox{ cm}^2", r"15 \text{ square centimeters}"),
    (r"864 \mbox{ inches}^2", "864"),
    (r"864 \mbox{ inches}^2", "864 square inches"),
    (r"[2,\infty)", r"x \ge 2"),
    (r"x\in [2,\infty)", r"x \geq 2"),
    (r"(-\infty, 2) \cup (3, \infty)", r"x<2 \text{ or } x>3"),
    (r"(-\infty, 2) \cup (3, \infty)", r"x \in (3,\infty) \cup (-\infty,2)"),
    (r"x\neq 3", r"(-\infty,3)\cup(3,\infty)"),
    (r"\mathbb{R}\setminus\{3\}", r"(-\infty,3)\cup(3,\infty)"),
    (r"(-\infty,\infty)", r"\mathbb{R}"),
    ("all real numbers", r"\mathbb{R}"),
    ("3 < x", "x>3"),
    ("x > 3 and x < 5", "(3,5)"),
    (
        r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}",
        r"\begin{bmatrix} -1 & 0 \\ 0 & -1 \end{bmatrix}",
    ),
    (r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix}"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"),
    (r"\{1,2,3\}", "3,2,1"),
    (r"\{1,2,3\}", "1, 2 and 3"),
    ("x=1, y=2", "y=2, x=1"),
    ("x=1, y=2", "(1,2)"),
    ("(x,y)=(3,2)", "(3,2)"),
    ("x=1 or x=2", "1,2"),
    ("a=4,-8,-10", "-10,-8,4"),
    ("1011_2", "1011_{2}"),
    ("1011_2", r"1011_{\text{two}}"),
    ("6-5i", "6 - 5i"),
    ("-5i+6", "6-5i"),
    (r"\frac{1}{i}", "-i"),
    ("100,200,300", "100, 200, 300"),
    ("(11,7)or(7,11)", r"(7,11),\ (11,7)"),
    ("(0;0;0),(0;-2;0)", "(0, -2, 0), (0,0,0)"),
    ("p=5,q=2;p=7,q=2", "(5,2),(7,2)"),
    ("three", "3"),
    ("m+n=113", "113"),
    ("m + n = 113", "113"),
    ("3+4=7", "7"),
    ("S_{ABC}=12", "12"),
    (r"\text{Area} = 12\pi", r"12\pi"),
    (r"\angle ABC = 30^\circ", "30"),
    (r"\sqrt{2} \approx 1.414", r"\sqrt{2}"),
    (r"x \approx 3.14", "3.14"),
    ("5²", "25"),
    ("2^{10}", "1024"),
    (r"\dfrac{1}{2}", r"\frac{1}{2}"),
    (r"\tfrac12", "0.5"),
    ("1/2", "0.5"),
    ("-1/2", r"-\frac{1}{2}"),
    (r"\frac{-1}{2}", r"-\frac{1}{2}"),
    ("no solution", r"\emptyset"),
    (r"\{\}", r"\varnothing"),
    ("∅", r"\varnothing"),
    (r"25\%", "25 percent"),
    ("0.5", "50%"),
    (r"25\%", "0.25"),
    ("7 apples", "7"),
    ("7 apples", "7 red apples"),
    ("f(x) = x^2", "x^2"),
    ("f^{-1}(x) = x^2", "x^2"),
    ("2k", r"2 \cdot k"),
    ("e^{x}", "e^x"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"),
    (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt3}{3}"),
    (r"3\sqrt{13}", r"\sqrt{117}"),
    ("5x - 7y + 11z + 4 = 0", "-5x+7y-11z-4=0"),
    ("2:3", "2 : 3"),
    (r"\boxed{7}", "7"),
    ("−5", "-5"),
    (r"5 \text{ or } 6", "5,6"),
    ("5 or 6", "6 or 5"),
    ("1,2,...,n", r"1, 2, \ldots, n"),
    (r"\frac{\sqrt{21}}{5}", r"\sqrt{21}/5"),
    (r"\frac{20000}{\pi}", r"20000/\pi"),
    (r"5.4 \text{ cents}", "5.4"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}^\circ"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}"),
    ("(1 - 3e^{-2t} + 2e^{-5t}) u(t)", "u(t)(1+2e^{-5t}-3e^{-2t})"),
    (r"x^{\prime}+\frac{r}{V} x-r c=0", r"x' + \frac{r x}{V} = r c"),
    (r"\frac{d x}{d t}=k x-a", r"\frac{dx}{dt} = kx - a"),
    ("2.0", "2"),
    ("0.10", "0.1"),
    (".5", "0.5"),
    ("+2", "2"),
    ("1.0e3", "1000"),
    (r"0.333\ldots", r"\frac13"),
    ("3, 5, 7", r"\{7,5,3\}"),
    ("(3,4]", r"3 < x \le 4"),
    ("x=5", "x = 5.0"),
    (r"5\,\text{cm}", "5"),
    (r"120 \text{ km/h}", r"120 \text{ kilometers per hour}"),
    (r"0.5 \text{ hours}", r"30 \text{ minutes}"),
    (r"$\$5$ million", "5000000"),
    ("3 dozen", "36"),
    ("1.5 million dollars", "1500000"),
]
WRONG = [
    ("10000", "10001"),
    ("4.5e32", "4.5e33"),
    ("0.49", "0.5"),
    ("5 million", "5"),
    ("1,2", "12"),
    ("1 2", "12"),
    ("2x", "2"),
    ("(3,4)", "(4,3)"),
    ("(2,5]", "[2,5)"),
    ("5,6", "5"),
    ("3.14", r"\pi"),
    ("", "5"),
    (r"-\infty", r"\infty"),
    ("-2 < x < 7", "[-2,7]"),
    ("6+5i", "6 - 5i"),
    ("1" * 2000, "1"),
    ("1e" + "9" * 900, "3"),
    (r"5\text{ million}", "5"),
    (r"3\text{ dozen}", "3"),
    ("2^{-60}", "2.88e-19"),
    ("2^{-60}", "2^{-61}"),
    ("1e-7", "2e-7"),
    ("0.0000001", "0.0000002"),
    (r"1, 2, \ldots, n", r"1, 3, \ldots, 2n-1"),
    ("1011_2", "1011_3"),
    (r"10\text{ cm}", r"10\text{ m}"),
    ("2", "x_2 + foo( 2"),
    ("2", r"\frac{2 \pi c^{2} R^{2}}{\lambda^{5}\left[e^{h c /(\lambda k T)}-1\right] d^{2}}"),
    ("2", r"\frac{d^{2} v_{o}}{d t^{2}}+\frac{v_{o}}{L C}=\frac{v_{i}}{L C}"),
    ("0", r"y^{\prime}+r y-r x(t)=0"),
    ("f", r"m \frac{d v}{d t}+b v=f"),
    ("LRAC", "SRAC=LRAC"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    ("12:00", "1:00"),
    (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}"),
    ("2x = 10", "10"),
    ("x=5", "y=5"),
    ("x=5", "x=6"),
    ("x > 3", r"[3,\infty)"),
    ("x>3", "x<3"),
    ("x>3", "3"),
    ("x>3", "y>3"),
    ("(B)", "(C)"),
    ("B", "7"),
    ("Tuesday", "Wednesday"),
    ("east", "west"),
    ("odd", "even"),
    ("May 5", "May 6"),
    ("3:30 PM", "3:30 AM"),
    ("5!", "5"),
    ("5 squared", "5"),
    ("5 thousand", "5"),
    ("5 hundred", "5"),
    ("2 billion", "2 million"),
    (r"\{1,2\}", "(1,2)"),
    ("1,2,3", "1,2"),
    ("1,2,2", "1,1,2"),
    ("(1,2)", "(2,1)"),
    (r"\$5", "5 cents"),
    ("€5", r"\$5"),
    ("5 kg", "5 g"),
    ("5 cm", "5 cm^2"),
    (r"5 \text{ cm}^2", r"5\text{ cm}^3"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"0.\overline{3}", "0.3"),
    ("0.3", r"\frac13"),
    ("1.2345", "1.2346"),
    ("0.5613", "0.5614"),
    ("14903", "1.4904e4"),
    ("1/3", "2/3"),
    ("2 1/2", "21/2"),
    (r"2\frac12", r"\frac{2}{2}"),
    (r"\sqrt{2}", "2"),
    (r"2\sqrt{3}", "2"),
    ("x^2", "x"),
    ("2x+1", "2x-1"),
    ("x+y", "x-y"),
    (r"\sin x", r"\cos x"),
    (r"\pi", "3"),
    ("1.41", r"\sqrt2"),
    ("5%", "500"),
    ("50%", "5"),
    ("1 or 2", "1"),
    (r"\pm 3", "3"),
    ("3 or more", "3"),
    ("n", "n+1"),
    ("2^n", "2^{n+1}"),
    ("No", "Yes"),
    ("10^{-20}", "10^{-21}"),
    ("10^{20}", "10^{20}+1"),
    ("12345678901234567890", "12345678901234567891"),
    ("3:2", "2:3"),
    ("x = 1, y = 2", "x=2, y=1"),
    (r"\emptyset", "0"),
    ("no solution", "0"),
    (r"(-\infty,3)", r"(-\infty,3]"),
    (r"\mathbb{R}", r"\mathbb{Z}"),
    ("5m", "5"),
    (r"\frac{37}{4} m", r"\frac{37}{4}"),
    (r"\frac{1}{m} t", r"\frac{1}{m}"),
    (r"\frac{1}{\sqrt{2}}c", r"\frac{1}{\sqrt2}"),
    ("7.6 Z", "7.6"),
    ("3R^2", "3R^3"),
    ("10 000", "10"),
    ("1e400", "1e401"),
    ("a_1", "a_2"),
    ("x_1", "x"),
    ("E_1", "1"),
]
WORDS = [text for pair in (*RIGHT, *WRONG) for text in pair if len(text) < 100]


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(timeout=5, processes=2) as grader:
        yield grader


@pytest.mark.parametrize("one, other", RIGHT)
def test_the_same_in_another_notation(grader: Grader, one: str, other: str) -> None:
    assert grader.grade([(one, other), (other, one)]) == [True, True]


@pytest.mark.parametrize("one, other", WRONG)
def test_what_is_not_the_same(grader: Grader, one: str, other: str) -> None:
    assert grader.grade([(one, other), (other, one)]) == [False, False]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WORDS), st.sampled_from(WORDS))
def test_equality_is_symmetric(grader: Grader, one: str, other: str) -> None:
    assert len(set(grader.grade([(one, other), (other, one)]))) == 1
    assert grader.same(one, other) == grader.same(other, one) == grader.grade([(one, other)])[0]


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30),
    st.text("0123456789.,-+=e\\ times^_{}()[]$*%abnpix<textfracorlds", max_size=40),
)
def test_any_text_is_taken_and_is_the_same_as_itself(grader: Grader, wild: str, near: str) -> None:
    assert grader.grade([(wild, wild), (near, near), (near + " ", near)]) == [True] * 3
    assert isinstance(grader.same(wild, near), bool)


def references(shared_data: Path) -> list[str]:
    """Every reference of the benchmarks, of the labelled solutions and of GSM8K's test set."""
    files = [
        *(shared_data / "math_bench").glob("*.jsonl"),
        shared_data / "math_expert" / "qwen25math_cot100x8.jsonl",
        shared_data / "gsm8k" / "test.jsonl",
    ]
    answers = {
        str(json.loads(line)["answer"]).rpartition("#### ")[2].strip()
        for file in files
        for line in file.read_text().splitlines()
    }
    return sorted(answers)


def rewritten(reference: str) -> set[str]:
    """A reference as models write it."""
    forms = {
        reference,
        f"$ {reference} $.",
        f"\\({reference}\\)",
        f"**{reference}**",
        f"{reference},",
    }
    forms |= {reference.replace("\\frac", "\\dfrac"), reference.replace("\\left", "")}
    if not re.search(r"[=,:]|\\(?:in|text|mbox)(?![a-z])", reference):
        forms |= {f"x = {reference}", f"\\left({reference}\\right)"}
    if reference.isalpha():
        forms.add(f"\\text{{{reference}}}")
    return forms


def changed(reference: str) -> set[str]:
    """A reference with another sign, or with one of its numbers changed."""
    found = {reference[1:] if reference.startswith("-") else f"-{reference}"}
    for match in re.finditer(r"\d+(?:\.\d+)?|\.\d+", reference):
        text, numbers = match[0], {match[0][:-1] + str((int(match[0][-1]) + 1) % 10)}
        numbers |= {f"{round(value, 9):.12g}" for value in _changed_values(float(text))}
        for at in range(len(text) - 1):
            if text[at : at + 2].isdigit() and text[at] != text[at + 1]:
                numbers.add(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
        if not re.search(r"\\frac\s*\d?$", reference[: match.start()]):  # \frac34 to \frac68
            found |= {
                reference[: match.start()] + new + reference[match.end() :] for new in numbers
            }
    return {text for text in found if not re.search(r",0(?!\d)|,0,", text)} - {reference, "-0"}


def _changed_values(value: float) -> list[float]:
    return [value + 1, value - 1, 2 * value, 10 * value] if value else [1.0]


@pytest.mark.shared_data
def test_every_reference_is_met_by_its_usual_spellings(shared_data: Path, grader: Grader) -> None:
    pairs = [(form, answer) for answer in references(shared_data) for form in rewritten(answer)]
    verdicts = grader.grade(pairs)
    assert len(pairs) > 5000
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if not verdict] == []


@pytest.mark.shared_data
def test_a_reference_with_a_changed_number_is_never_met(shared_data: Path, grader: Grader) -> None:
    pairs = [(form, answer) for answer in references(shared_data) for form in changed(answer)]
    verdicts = grader.grade(pairs)
    assert len(pairs) > 5000
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict] == []
