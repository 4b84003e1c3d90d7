"""The grammar of search/replace blocks: what is an edit, which file it names, and that a thought
never is one.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.evaluation.swebench.parse_edits import Edit, outside_thoughts, parse_edits

BLOCK = "<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n"
READINGS = ((("old",), ("new",)),)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("src/a.py", "src/a.py"),
        ("  src/a.py  ", "src/a.py"),
        ("setup.cfg", "setup.cfg"),
        ("### src/a.py", "src/a.py"),
        ("`src/a.py`", "src/a.py"),
        ("**src/a.py**", "src/a.py"),
        ("**`src/a.py`**:", "src/a.py"),
        ("### `src/a.py`:", "src/a.py"),
        ("- src/a.py", "src/a.py"),
        ("1. `src/a.py`", "src/a.py"),
        ("File: src/a.py", "src/a.py"),
        ("**File:** `src/a.py`", "src/a.py"),
        ("**File: src/a.py**", "src/a.py"),
        ("## Path: Makefile", "Makefile"),
        ("`Makefile`", "Makefile"),
        ("`docs/a b.txt`", "docs/a b.txt"),
        ('"docs/it\'s.txt"', "docs/it's.txt"),
        ("file: 'a b'", "a b"),
        ("src/café.py", "src/café.py"),
        (".gitignore", ".gitignore"),
        ("/etc/passwd", "/etc/passwd"),
        ("../a.py", "../a.py"),
    ],
)
def test_a_path_line(line: str, path: str) -> None:
    assert parse_edits(f"I change this.\n{line}\n\n```python\n{BLOCK}```\n") == [
        Edit(path, "search", READINGS)
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Here is the fix:",
        "Done.",
        "Makefile",
        "I change src/a.py like this:",
        "```python",
        "x = a.b()",
        "`unclosed",
        "---",
        "**",
    ],
)
def test_a_line_that_names_no_path(line: str) -> None:
    assert parse_edits(f"{line}\n{BLOCK}") == [Edit("", "search", READINGS)]
    assert parse_edits(f"a.py\n{line}\n{BLOCK}") == [Edit("a.py", "search", READINGS)]


def test_several_blocks_share_a_path_until_another_is_named() -> None:
    answer = (
        f"a.py\n```\n{BLOCK}\n{BLOCK}```\nThen the other one.\n\n### b.py\n{BLOCK}And "
        f"again:\n{BLOCK}"
    )
    assert [edit.path for edit in parse_edits(answer)] == ["a.py", "a.py", "b.py", "b.py"]


@pytest.mark.parametrize(
    ("body", "readings"),
    [
        ("=======\n", (((), ()),)),
        ("\n=======\nx\n", ((("",), ("x",)),)),
        ("a\n=======\n", ((("a",), ()),)),
        ("a\n=======\n\n", ((("a",), ("",)),)),
        ("  a\n\n\tb \n======= \n\n c\n", ((("  a", "", "\tb "), ("", " c")),)),
        (
            "a\n ========\n========\n =======\n=======\nb\n",
            ((("a", " ========", "========", " ======="), ("b",)),),
        ),
        (
            "T\n=======\na\n=======\nb\n",
            ((("T",), ("a", "=======", "b")), (("T", "=======", "a"), ("b",))),
        ),
        ("a\f\u2028b\x85\n=======\nc\n", ((("a\f\u2028b\x85",), ("c",)),)),
        ("```\na\n=======\n```\nb.py\n", ((("```", "a"), ("```", "b.py")),)),
    ],
)
def test_what_stands_in_a_block(body: str, readings: object) -> None:
    for ends in ("\n", "\r\n", "\r"):
        answer = f"a.py\n<<<<<<< SEARCH\n{body}>>>>>>> REPLACE".replace("\n", ends)
        assert parse_edits(answer) == [Edit("a.py", "search", readings)]  # type: ignore[arg-type]


def test_a_file_is_removed() -> None:
    assert parse_edits("old.py\n<<<<<<< DELETE\n>>>>>>> DELETE\n") == [Edit("old.py", "delete")]
    assert parse_edits("old.py\n<<<<<<< DELETE\n\n>>>>>>> DELETE") == [Edit("old.py", "delete")]


@pytest.mark.parametrize(
    "block",
    [
        "<<<<<<< SEARCH\nold\n=======\nnew\n",
        "<<<<<<< SEARCH\nold\n=======",
        "<<<<<<< SEARCH",
        "<<<<<<< SEARCH\nold\n>>>>>>> REPLACE\n",
        "<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> DELETE\n",
        "<<<<<<< DELETE\n",
        "<<<<<<< DELETE\nold\n>>>>>>> DELETE\n",
        "<<<<<<< DELETE\n>>>>>>> REPLACE\n",
    ],
)
def test_a_block_that_is_not_closed_takes_no_other_with_it(block: str) -> None:
    assert parse_edits(f"a.py\n{block}") == [Edit("a.py", "unclosed")]
    assert parse_edits(f"a.py\n{block}\n{BLOCK}") == [
        Edit("a.py", "unclosed"),
        Edit("a.py", "search", READINGS),
    ]


@pytest.mark.parametrize(
    "block",
    [
        " <<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE",
        "<<<<<<<SEARCH\nold\n=======\nnew\n>>>>>>>REPLACE",
        "old\n=======\nnew",
    ],
)
def test_what_is_no_block(block: str) -> None:
    assert parse_edits(f"a.py\n{block}\n") == []


EDIT = f"a.py\n{BLOCK}"


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (f"<think>{EDIT}</think>", 0),
        (f"<think>{EDIT}</think>\n{EDIT}", 1),
        (f"{EDIT}</think>\n{EDIT}", 1),
        (f"{EDIT}<think>\n{EDIT}", 1),
        (f"<think>\n{EDIT}", 0),
        (f"<think>a <think>{EDIT}</think>{EDIT}</think>{EDIT}", 1),
        (f"<think>The tag <think> is meant.</think>{EDIT}", 1),
        (f"<think>x</think>{EDIT}<think>{EDIT}</think>{EDIT}", 2),
        (f"{EDIT}</think>{EDIT}</think>", 0),
        (
            "a.py\n<<<<<<< "
            "SEARCH\nold\n<think>\n=======\nx</think>\n=======\nnew\n>>>>>>> REPLACE\n",
            0,
        ),
    ],
)
def test_a_thought_never_becomes_an_edit(answer: str, count: int) -> None:
    assert sum(edit.kind == "search" for edit in parse_edits(answer)) == count


def test_a_path_does_not_reach_over_a_thought() -> None:
    assert parse_edits(f"a.py\n<think>b.py</think>\n{BLOCK}") == [Edit("", "search", READINGS)]


PIECES = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "inside",
            BLOCK,
            "\n",
            "a.py\n",
            "<<<<<<< SEARCH\n",
            "=======\n",
            ">>>>>>> REPLACE\n",
            "x",
        ]
    ),
    max_size=14,
)


@given(PIECES, st.text(max_size=20))
def test_no_text_of_a_thought_stands_in_an_edit(pieces: list[str], secret: str) -> None:
    marked = "§" + secret.replace("<", "").replace("\r", "").replace("\n", "")
    answer = (
        "".join(pieces)
        + f"<think>{marked}\n{BLOCK.replace('old', marked).replace('new', marked)}</think>"
        + "".join(pieces)
    )
    for edit in parse_edits(answer):
        assert "§" not in edit.path
        assert not [
            line
            for search, replacement in edit.readings
            for line in (*search, *replacement)
            if "§" in line
        ]
    assert not [piece for piece in outside_thoughts(answer) if "§" in piece]


TEXT_LINES = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=6
).filter(
    lambda lines: (
        not any(
            line.rstrip()
            in ("=======", "<<<<<<< SEARCH", ">>>>>>> REPLACE", "<<<<<<< DELETE", ">>>>>>> DELETE")
            or "think>" in line
            for line in lines
        )
    )
)


@given(
    st.lists(st.tuples(TEXT_LINES, TEXT_LINES), max_size=4),
    st.sampled_from(["", "```\n", "Then:\n"]),
)
def test_whatever_is_written_is_read_back(
    blocks: list[tuple[list[str], list[str]]], between: str
) -> None:
    answer = "a.py\n"
    for search, replacement in blocks:
        answer += between + "\n".join(
            ["<<<<<<< SEARCH", *search, "=======", *replacement, ">>>>>>> REPLACE", ""]
        )
    assert parse_edits(answer) == [
        Edit("a.py", "search", ((tuple(search), tuple(replacement)),))
        for search, replacement in blocks
    ]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(edit.kind in ("search", "delete", "unclosed") for edit in parse_edits(text))
    assert all(piece in text for piece in outside_thoughts(text))


def test_an_answer_that_goes_round_in_a_circle() -> None:
    """Small models write such; neither takes time or memory that grows with the square of its
    length.
    """
    assert parse_edits("file:" + " " * 300_000 + "!\n" + BLOCK) == [Edit("", "search", READINGS)]
    (edit,) = parse_edits("a.py\n<<<<<<< SEARCH\n" + "=======\n" * 30_000 + ">>>>>>> REPLACE\n")
    assert edit.readings[0] == ((), ("=======",) * 29_999) and len(edit.readings) == 200
