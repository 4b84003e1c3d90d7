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
        "  <<<<<<< DELETE\n  >>>>>>> DELETE",
        "> <<<<<<< SEARCH\n> old\n> =======\n> new\n> >>>>>>> REPLACE",
        "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-old\n+new",
        "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-old\n+new\n@@ -9 +9 @@\n-old\n+new",
        "```diff\n@@ -1,2 +1,2 @@\n-old\n+new\n\n same\n```",
        "*** Update File: a.py\n@@\n-old\n+new\n*** End Patch",
        "<<<<<<< SEARCH here\nold\n=======\nnew\n>>>>>>> REPLACE",
        "<<<<<<< ORIGINAL\nold\n=======\nnew\n>>>>>>> UPDATED",
        "<<<<<<< HEAD\nold\n=======\nnew\n>>>>>>> fix",
        "<<<< SEARCH\nold\n====\nnew\n>>>> REPLACE",
        "------- SEARCH\nold\n=======\nnew\n+++++++ REPLACE",
        "<search>\nold\n</search>\n<replace>\nnew\n</replace>",
        "<parameter=old_str>old</parameter>\n<parameter=new_str>new</parameter>",
        '{"old_str": "old", "new_str": "new"}',
        "```python\nnew\n```\nThat is all.",
    ],
)
def test_what_looks_like_an_edit_and_is_not_is_reported(block: str) -> None:
    assert parse_edits(f"a.py\n{block}\n") == [Edit("a.py", "unread")]


def test_lines_without_markers_are_prose() -> None:
    assert parse_edits("a.py\nold\n=======\nnew\n") == []


@pytest.mark.parametrize(
    ("opening", "divider", "closing"),
    [
        ("<<<<< SEARCH", "=====", ">>>>> REPLACE"),
        ("<<<<<<<< SEARCH", "========", ">>>>>>>> REPLACE"),
        ("<<<<<< SEARCH", "=======", ">>>>>>>> REPLACE"),
        ("<<<<<<<SEARCH", "=======", ">>>>>>>REPLACE"),
        ("<<<<<<< SEARCH (line 8)", "=======", ">>>>>>> REPLACE"),
        ("<<<<<<< SEARCH (lines 8-10)", "=======", ">>>>>>> REPLACE"),
        ("<<<<<<< SEARCH:8", "=======", ">>>>>>> REPLACE"),
        ("<<<<<<< SEARCH line 8", "=======", ">>>>>>> REPLACE"),
        ("<<<<<<< search", "=======", ">>>>>>> Replace"),
        ("<<<<<<< SEARCH a.py", "=======", ">>>>>>> REPLACE"),
        ("<<<<<<< SEARCH: `a.py`", "=======", ">>>>>>> REPLACE a.py"),
    ],
)
def test_spellings_of_markers(opening: str, divider: str, closing: str) -> None:
    answer = f"a.py\n{opening}\nold\n{divider}\nnew\n{closing}\n"
    assert parse_edits(answer) == [Edit("a.py", "search", READINGS)]


FILES = ("pkg/a.py", "pkg/b.py", "Makefile", "docs/a b.txt", "setup.py")
SPELLINGS = [
    "In `P`:",
    "In P:",
    "In `P`, replace this:",
    "Now in `P`:",
    "Then, in `P`:",
    "Changes to `P`:",
    "Edit the file `P`:",
    "File `P`:",
    "File 2: P",
    "### File 2: `P`",
    "### 2. `P` ",
    "**2. P**",
    "## `P` (new)",
    "--- P",
    "+++ b/P",
    "--- a/P",
    "=== P ===",
    "# P",
    "// P",
    "# File: P",
    "<!-- P -->",
    "/* P */",
    "P:1",
    "`P:10-20`",
    "P#L10-L20",
    "P (lines 3-9)",
    "`P` lines 3-9",
    "/testbed/P",
    "./P",
    "a/P",
    "**P:**",
    "__P__",
    "> `P`",
    "```python P",
    "```python:P",
    "``` P",
    '```python title="P"',
    "```py filename=P",
    '<file path="P">',
    "<file name='P'>",
    "<path>P</path>",
    "<filename> P </filename>",
    "[start of P]",
    "**File path**: `P`",
    "Filename - P",
    "[P](https://example.org/P)",
    "### [`P`](P)",
    "### Fix in `P`",
    "Here's the change for `P`:",
    "The fix to P:",
    "\N{PAGE FACING UP} `P`",
    "\N{BULLET} P",
    "-- P",
    "; P",
    "`P` \N{EM DASH} the guard",
    "1) **P** - the guard",
    "```python:P:12",
    "```{.python file=P}",
    "*P*",
    "[P]",
    "<P>",
    "----- P -----",
    "*** P ***",
    "| P |",
    "\N{LEFT DOUBLE QUOTATION MARK}P\N{RIGHT DOUBLE QUOTATION MARK}",
    "``P``",
    "P:L12",
    "`P`::Thing.method",
    "/workspace/P",
    "文件：P",
    "文件路径: `P`",
    "Fichier : P",
    "Файл: `P`",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_a_path_line(spelling: str) -> None:
    answer = f"`pkg/a.py`\n{BLOCK}\n{spelling.replace('P', 'pkg/b.py')}\n{BLOCK}"
    edits = parse_edits(answer, FILES)
    named = edits[1].path
    if spelling == "In `P`, replace this:":  # more than a path: its reach ends, nothing is guessed
        assert named == ""
    else:
        assert named == "pkg/b.py"
    assert edits[0].path == "pkg/a.py"


@pytest.mark.parametrize(
    "line",
    [
        "The same goes for pkg/b.py, which calls it.",
        "As in `pkg/a.py`, `pkg/b.py` needs the guard.",
        "b.py has the same fault.",
        "I also looked at setup.py (nothing to do).",
        "</file>",
        "[end of pkg/a.py]",
        "`pkg/a.py` - the same as in `pkg/b.py`",
        "Now the Makefile:",
        "Create `pkg/new.py` with this content:",
        "In the file pkg/zzz.py, change this:",
        "And for the tests (tests/test_a.py) I add:",
        "A new test_a.py goes with it:",
        "In the `pkg.b` module:",
        "And in the other file:",
        "See https://github.com/o/r/blob/main/pkg/b.py for it.",
    ],
)
def test_a_line_that_names_another_file_ends_the_reach_of_a_path(line: str) -> None:
    answer = f"`pkg/a.py`\n{BLOCK}\n{line}\n{BLOCK}"
    assert [edit.path for edit in parse_edits(answer, FILES)] == ["pkg/a.py", ""]


@pytest.mark.parametrize(
    "line",
    [
        "Again in pkg/a.py, further down:",
        "Next, the other method of a.py.",
        "Use os.path here.",
        "Call response.json and/or self.text, as https://example.org/b.py says (e.g. there).",
        "Python 3.8/3.9 and HTTP/1.1 differ.",
        "The error is in /workspace/pkg/a.py, as above.",
        "Call pkg.a and self.b.x.",
    ],
)
def test_a_line_that_names_no_other_file_changes_nothing(line: str) -> None:
    answer = f"`pkg/a.py`\n{BLOCK}\n{line}\n{BLOCK}"
    assert [edit.path for edit in parse_edits(answer, FILES)] == ["pkg/a.py", "pkg/a.py"]


@pytest.mark.parametrize(
    "opening",
    ["<<<<<<< SEARCH pkg/b.py", "<<<<<<< SEARCH (pkg/b.py)", "<<<<<<< SEARCH: `pkg/b.py` "],
)
def test_a_path_in_a_blocks_first_line_counts(opening: str) -> None:
    answer = f"`pkg/a.py`\n{BLOCK.replace('<<<<<<< SEARCH', opening)}{BLOCK}"
    assert [edit.path for edit in parse_edits(answer, FILES)] == ["pkg/b.py", "pkg/b.py"]
    doubt = BLOCK.replace("SEARCH", "SEARCH (as in pkg/b.py)")
    assert [edit.path for edit in parse_edits(f"`pkg/a.py`\n{doubt}", FILES)] == [""]


def test_each_file_of_a_diff_is_reported_and_blocks_below_it_have_no_path() -> None:
    diff = "".join(
        f"diff --git a/{path} b/{path}\nindex 1..2 100644\n--- a/{path}\n+++ b/{path}\n"
        "@@ -1 +1 @@\n-old\n+new\n\n same\n"
        for path in ("pkg/a.py", "pkg/b.py")
    )
    assert parse_edits(f"setup.py\n{diff}So much for the diff.\n{BLOCK}", FILES) == [
        Edit("pkg/a.py", "unread"),
        Edit("pkg/b.py", "unread"),
        Edit("", "search", READINGS),
    ]


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
    kinds = ("search", "delete", "unclosed", "unread")
    assert all(edit.kind in kinds for edit in parse_edits(text))
    assert all(piece in text for piece in outside_thoughts(text))


def test_an_answer_that_goes_round_in_a_circle() -> None:
    """Small models write such; neither takes time or memory that grows with the square of its
    length.
    """
    for line in ("file:" + " " * 300_000 + "!", " " * 300_000, "> " * 150_000, "a - " * 1200):
        assert parse_edits(f"{line}\n{BLOCK}") == [Edit("", "search", READINGS)]
    (edit,) = parse_edits("a.py\n<<<<<<< SEARCH\n" + "=======\n" * 30_000 + ">>>>>>> REPLACE\n")
    assert edit.readings[0] == ((), ("=======",) * 29_999) and len(edit.readings) == 200
