"""Edits on files: each one is applied exactly or refused with its reason, and no other byte
changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.evaluation.swebench.apply_edits import AppliedEdits, apply_edits, shown_text
from srl_agent.evaluation.swebench.parse_edits import parse_edits


def block(path: str, search: str, replacement: str) -> str:
    """A block of texts that are empty or end in a line feed."""
    return f"`{path}`\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n"


def delete(path: str) -> str:
    return f"`{path}`\n<<<<<<< DELETE\n>>>>>>> DELETE\n"


def applied(answer: str, files: Mapping[str, bytes], special: tuple[str, ...] = ()) -> AppliedEdits:
    return apply_edits(parse_edits(answer), files, special)


def statuses(result: AppliedEdits) -> list[str]:
    return [report.status for report in result.reports]


@pytest.mark.parametrize(
    ("old", "search", "replacement", "new"),
    [
        (b"a\nb\nc\n", "b\n", "x\n", b"a\nx\nc\n"),
        (b"a\nb\nc\n", "b\n", "", b"a\nc\n"),
        (b"a\nb\nc\n", "b\n", "\n", b"a\n\nc\n"),
        (b"a\nb\nc\n", "a\nb\nc\n", "", b""),
        (b"a\nb\nc\n", "c\n", "c\nd\n", b"a\nb\nc\nd\n"),
        (b"ab\nb\nbc\n", "b\n", "x\n", b"ab\nx\nbc\n"),  # whole lines only
        # no line end at the end of the file
        (b"a\nb", "b\n", "x\n", b"a\nx"),
        (b"a\nb", "b\n", "b\nc\n", b"a\nb\nc"),
        (b"a\nb", "a\n", "x\n", b"x\nb"),
        (b"a\nb", "b\n", "", b"a\n"),
        (b"a", "a\n", "x\ny\n", b"x\ny"),
        # line ends of the file
        (b"a\r\nb\r\nc\r\n", "a\nb\n", "a\nx\ny\n", b"a\r\nx\r\ny\r\nc\r\n"),
        (b"a\r\nb", "b\n", "b\nc\n", b"a\r\nb\r\nc"),
        (b"a\r\nb\nc\r\nd\n", "a\nb\nc\n", "a\nx\nc\n", b"a\r\nx\r\nc\r\nd\n"),
        (b"a\nb\r\nc\n", "a\nb\nc\n", "a\nb\nnew\nc\n", b"a\nb\r\nnew\nc\n"),
        (b"a\rb\rc", "b\n", "x\ny\n", b"a\rx\ry\rc"),
        # tabs and white space count
        (b"\tif a:\n\t\tb\n", "\t\tb\n", "\t\tc\n", b"\tif a:\n\t\tc\n"),
        (b"a \nb\n", "a \n", "a\n", b"a\nb\n"),
        (b"a\n\n\nb\n", "\n\nb\n", "\nb\n", b"a\n\nb\n"),
        # bytes that are not UTF-8, and a byte order mark
        (b"caf\xe9\nb\n", "b\n", "\u00fc\n", b"caf\xe9\n\xfc\n"),
        (b"caf\xe9\nb\n\xff", "café\n", "cafés\n", b"caf\xe9s\nb\n\xff"),
        ("café\n".encode(), "café\n", "thé 茶\n", "thé 茶\n".encode()),
        (b"\xef\xbb\xbfa\nb\n", "a\n", "x\n", b"\xef\xbb\xbfx\nb\n"),
        (b"\xef\xbb\xbfa\nb\n", "a\n", "", b"\xef\xbb\xbfb\n"),
        (b"a\x0cb\n\x0c\nc\n", "\x0c\nc\n", "\x0c\nd\n", b"a\x0cb\n\x0c\nd\n"),
        # a line like the divider
        (b"T\n=======\na\n", "T\n=======\na\n", "T\n=======\nb\n", b"T\n=======\nb\n"),
        (b"T\n-------\n", "T\n-------\n", "T\n=======\n", b"T\n=======\n"),
        (b"=======\nT\n", "=======\nT\n", "=======\nU\n", b"=======\nU\n"),
        # an empty file is filled
        (b"", "", "a\nb\n", b"a\nb\n"),
    ],
)
def test_lines_are_replaced_and_nothing_else(
    old: bytes, search: str, replacement: str, new: bytes
) -> None:
    result = applied(block("f.py", search, replacement), {"f.py": old, "other.py": b"x"})
    assert statuses(result) == ["applied"]
    assert result.contents == {"f.py": new}


@pytest.mark.parametrize(
    ("search", "replacement", "status", "detail"),
    [
        ("absent\n", "x\n", "search_not_found", "does not hold"),
        ("a \n", "x\n", "search_not_found", ""),
        ("A\n", "x\n", "search_not_found", ""),
        ("a\nc\n", "x\n", "search_not_found", ""),
        ("c\n\n", "x\n", "search_not_found", ""),  # what follows the last line end is no line
        ("b\n", "x\n", "search_not_unique", "lines 2, 3"),
        ("a\n", "a\n", "identical", "are the same"),
        ("", "x\n", "file_exists", "is for a file that is not there"),
        ("\n\n", "x\n", "search_not_found", ""),
        ("a\n", "x\0y\n", "not_encodable", "no NUL"),
        ("a\n", "x\ud800\n", "not_encodable", "'\\ud800'"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(
    search: str, replacement: str, status: str, detail: str
) -> None:
    result = applied(block("f.py", search, replacement), {"f.py": b"a\nb\nb\nc\n"})
    assert statuses(result) == [status]
    assert detail in result.reports[0].detail and result.reports[0].path == "f.py"
    assert result.contents == {}


def test_places_that_overlap_are_two_places() -> None:
    assert statuses(applied(block("f.py", "x\nx\n", "y\n"), {"f.py": b"x\nx\nx\n"})) == [
        "search_not_unique"
    ]


def test_a_character_that_the_file_cannot_hold() -> None:
    result = applied(block("f.py", "b\n", "茶\n"), {"f.py": b"caf\xe9\nb\n"})
    assert statuses(result) == ["not_encodable"] and "latin-1" in result.reports[0].detail


@pytest.mark.parametrize(
    "content", [b"a\n\0\n", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"]
)
def test_what_is_no_text_is_not_edited_but_can_be_removed(content: bytes) -> None:
    assert statuses(applied(block("f", "a\n", "b\n"), {"f": content})) == ["not_text"]
    assert applied(delete("f"), {"f": content}).contents == {"f": None}


def test_new_files() -> None:
    files = {"src/a.py": b"x\n", "empty.py": b""}
    result = applied(
        block("new/deep/b.py", "", "y\n\nz\n") + block("new/__init__.py", "\n", ""), files
    )
    assert statuses(result) == ["applied"] * 2
    assert result.contents == {"new/deep/b.py": b"y\n\nz\n", "new/__init__.py": b""}
    assert statuses(applied(block("new.py", "x\n", "y\n"), files)) == ["no_such_file"]
    assert statuses(applied(block("new.py", "", "\ud800\n"), files)) == ["not_encodable"]
    assert statuses(applied(block("empty.py", "", ""), files)) == ["identical"]
    assert statuses(applied(block("empty.py", "x\n", "y\n"), files)) == ["search_not_found"]
    assert statuses(applied(block("new.py", "", "x\n") + block("new.py", "", "y\n"), files)) == [
        "applied",
        "overlapping",
    ]
    assert (
        statuses(applied(block("src", "", "x\n") + block("src/a.py/b.py", "", "x\n"), files))
        == ["not_a_file"] * 2
    )
    assert statuses(applied(block("n", "", "x\n") + block("n/b.py", "", "x\n"), files)) == [
        "applied",
        "not_a_file",
    ]
    assert statuses(applied(block("n/b.py", "", "x\n") + block("n", "", "x\n"), files)) == [
        "applied",
        "not_a_file",
    ]


def test_files_are_removed() -> None:
    files = {"a.py": b"x\ny\n", "b.py": b"x\n"}
    result = applied(delete("a.py") + block("b.py", "x\n", "y\n"), files)
    assert (
        result.contents == {"a.py": None, "b.py": b"y\n"} and result.reports[0].detail == "removed"
    )
    assert statuses(applied(delete("c.py"), files)) == ["no_such_file"]
    for answer in (
        delete("a.py") + block("a.py", "x\n", "z\n"),
        block("a.py", "x\n", "z\n") + delete("a.py"),
        delete("a.py") * 2,
    ):
        assert statuses(applied(answer, files)) == ["applied", "overlapping"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../a.py",
        "src/../../a.py",
        "..",
        ".",
        "src/",
        "src//a.py",
        "src/./a.py",
        ".git/config",
        "src/.GIT/hooks/x",
        "a\\b.py",
        "a\x07.py",
        "x" * 256,
        "d/" * 2100 + "x",
        "\ud800.py",
    ],
)
def test_a_bad_path_is_refused(path: str) -> None:
    assert statuses(applied(block(path, "", "x\n"), {"a.py": b"x\n"})) == ["bad_path"]
    assert statuses(applied(delete(path), {"a.py": b"x\n"})) == ["bad_path"]


def test_links_and_submodules_are_not_edited() -> None:
    for path in ("link.py", "vendor/lib", "vendor/lib/a.py"):
        result = applied(
            block(path, "", "x\n") + delete(path),
            {"a.py": b"x\n"},
            special=("link.py", "vendor/lib"),
        )
        assert statuses(result) == ["not_a_file"] * 2 and not result.contents
    result = applied(block("vendor", "", "x\n"), {"a.py": b"x\n"}, special=("vendor/lib",))
    assert statuses(result) == ["not_a_file"], "a folder that holds nothing else"


def test_paths_have_one_plain_form() -> None:
    result = applied(
        block("./src/a.py", "x\n", "y\n") + block("././src/a.py", "x\n", "z\n"),
        {"src/a.py": b"x\n"},
    )
    assert statuses(result) == ["applied", "overlapping"]
    assert [report.path for report in result.reports] == ["src/a.py"] * 2


def test_blocks_without_path_or_end_are_reported() -> None:
    result = applied(
        "<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\na.py\n<<<<<<< SEARCH\nx\n=======\ny",
        {"a.py": b"x\n"},
    )
    assert statuses(result) == ["no_path", "unclosed"] and not result.contents


def test_edits_see_the_file_as_it_was_shown() -> None:
    files = {"f.py": b"a\nb\nc\nd\n"}
    result = applied(
        block("f.py", "c\n", "b\n")
        + block("f.py", "b\n", "c\n")
        + block("f.py", "c\nd\n", "x\n")
        + block("f.py", "a\n", "a\na\n"),
        files,
    )
    assert statuses(result) == ["applied", "applied", "overlapping", "applied"]
    assert result.contents == {"f.py": b"a\na\nc\nb\nd\n"}
    assert [report.detail for report in result.reports] == [
        "lines 3 to 3",
        "lines 2 to 2",
        "block 1 of 4 in the answer changes the same lines",
        "lines 1 to 1",
    ]


def test_edits_that_leave_the_file_as_it_was() -> None:
    result = applied(
        block("f.py", "a\n", "") + block("f.py", "b\n", "a\nb\n") + block("g.py", "x\n", "y\n"),
        {"f.py": b"a\nb\n", "g.py": b"x\n"},
    )
    assert statuses(result) == ["no_change", "no_change", "applied"]
    assert result.contents == {"g.py": b"y\n"}


LINES = st.lists(st.sampled_from(["a", "b", "c", "", " ", "\tx", "é"]), min_size=1, max_size=8)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(LINES, ENDS, st.booleans(), st.sampled_from(["utf-8", "latin-1"]), st.data())
def test_an_applied_edit_is_the_replacement_of_the_only_place(
    lines: list[str], end: str, ended: bool, encoding: str, data: st.DataObject
) -> None:
    ended = ended or lines[-1] == ""  # else what looks like a last line is none
    first = data.draw(st.integers(0, len(lines) - 1))
    last = data.draw(st.integers(first + 1, len(lines)))
    replacement = data.draw(LINES | st.just([]))
    old = (end.join(lines) + end * ended).encode(encoding)
    if "é" not in lines:
        encoding = "utf-8"  # a file of ASCII alone is UTF-8
    if old == lines[0].encode(encoding):
        end = "\n"  # a file without any line end
    search = lines[first:last]
    places = [at for at in range(len(lines)) if lines[at : at + len(search)] == search]
    result = applied(
        block(
            "f.py",
            "".join(f"{line}\n" for line in search),
            "".join(f"{line}\n" for line in replacement),
        ),
        {"f.py": old},
    )
    [status] = statuses(result)
    if not old:
        assert status == ("applied" if replacement else "identical")
    elif len(places) > 1:
        assert status == "search_not_unique"
    elif search == replacement:
        assert status == "identical"
    else:
        assert status == "applied"
        new = result.contents["f.py"]
        assert new is not None
        wanted = [*lines[:first], *replacement, *lines[last:]]
        text = new.decode(encoding)
        assert text.rstrip("\r\n") == end.join(wanted).rstrip("\r\n")
        if wanted and last < len(lines):
            assert text == end.join(wanted) + end * ended


@given(st.binary(max_size=40), st.data())
def test_any_bytes_outside_the_edit_stay(content: bytes, data: st.DataObject) -> None:
    shown = shown_text(content).split("\n")
    chosen = data.draw(st.sampled_from(shown))
    result = applied(block("f.py", f"{chosen}\n", "new line\n"), {"f.py": content})
    if statuses(result) == ["applied"] and content:
        new = result.contents["f.py"]
        assert new is not None
        before, after = new.split(b"new line")
        assert content.startswith(before) and content.endswith(after)
        assert len(content) - len(before) - len(after) in (
            len(chosen.encode("latin-1", "replace")),
            len(chosen.encode()),
        )


@given(
    st.text(max_size=60),
    st.dictionaries(st.sampled_from(["a.py", "b/c.py"]), st.binary(max_size=10)),
)
def test_any_answer_is_taken(text: str, files: dict[str, bytes]) -> None:
    result = applied(
        f"a.py\n<<<<<<< SEARCH\n{text}\n=======\n{text}x\n>>>>>>> REPLACE\n{text}", files
    )
    assert set(result.contents) <= {
        report.path for report in result.reports if report.status == "applied"
    }


def test_blank_lines_are_a_search_text_like_any_other() -> None:
    files = {"a.py": b"a\n\n\nb\n"}
    result = applied(block("a.py", "\n\n", "\n"), files)
    assert statuses(result) == ["applied"] and result.contents["a.py"] == b"a\n\nb\n"
    assert statuses(applied(block("a.py", "\n", "x\n"), files)) == ["search_not_unique"]


def test_a_diffs_prefix_never_makes_a_new_folder() -> None:
    files = {"src/a.py": b"x\n"}
    assert statuses(applied(block("a/src/b.py", "", "x\n"), files)) == ["bad_path"]
    assert statuses(applied(block("a/src/b.py", "", "x\n"), files | {"a/c.py": b""})) == ["applied"]
