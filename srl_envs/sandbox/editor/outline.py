"""A Python file without its long function bodies: what SWE-agent shows of a large file."""

from __future__ import annotations

import io
import tokenize
from itertools import takewhile

MIN_ELIDED_LINES = 6
"""A function body of at least this many lines is left out."""


def outline(source: str) -> str | None:
    """The numbered lines of a Python file; one line replaces each long function body.

    The body of a function inside such a body has its own line, as in the recordings.
    Class bodies, module code and docstrings outside functions are kept.

    Args:
        source: The file's text, its lines ended by a line feed.

    Returns:
        Lines of number, space, text; None if the source cannot be split into Python's
        tokens.
    """
    try:
        bodies = [
            (first, last)
            for first, last in function_bodies(source)
            if last - first + 1 >= MIN_ELIDED_LINES
        ]
    except (tokenize.TokenError, SyntaxError):
        return None
    hidden = {number for first, last in bodies for number in range(first, last + 1)}
    lines = source.removesuffix("\n").split("\n")
    shown = [(number, text) for number, text in enumerate(lines, start=1) if number not in hidden]
    notes = [(first, f"... eliding lines {first}-{last} ...") for first, last in bodies]
    return "\n".join(f"{number:6d} {text}" for number, text in sorted(notes + shown))


def function_bodies(source: str) -> list[tuple[int, int]]:
    """First and last line, counted from 1, of every function body, nested ones and methods too.

    A body begins with its first statement and ends with its last, or with the comments
    below that are indented as the body is. Tokens, not a syntax tree: the file may come
    from a model, and a hostile one can overflow the stack of Python's parser; and a
    file with a syntax error somewhere still has an outline.

    Raises:
        tokenize.TokenError: An open bracket or string at the end of the file.
        SyntaxError: Indentation that fits no block.
    """
    bodies: list[tuple[int, int]] = []
    blocks: list[
        tuple[int, int | None]
    ] = []  # the open blocks: column, and the first line if it is a function's
    comments: list[tuple[int, int]] = []  # row and column of the comments since the last code
    last_row = 0
    at_start, in_header, after_colon = True, False, False
    one_line_body: int | None = None
    brackets = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        match token.type:
            case tokenize.NL | tokenize.ENDMARKER:
                continue
            case tokenize.COMMENT:
                comments.append((token.start[0], _width(token.line[: token.start[1]])))
            case tokenize.INDENT:
                blocks.append((_width(token.string), token.start[0] if after_colon else None))
                after_colon = False
            case tokenize.DEDENT:
                column, first = blocks.pop()
                if first is not None:
                    bodies.append((first, _last_row_inside(column, comments, last_row)))
            case tokenize.NEWLINE:
                if one_line_body is not None:
                    bodies.append((one_line_body, last_row))
                at_start, in_header, one_line_body, brackets = True, False, None, 0
            case _:
                if after_colon:
                    one_line_body, after_colon = token.start[0], False
                elif at_start and token.string != "async":
                    at_start, in_header = False, token.string == "def"
                elif in_header and token.type == tokenize.OP:
                    brackets += (token.string in "([{") - (token.string in ")]}")
                    if token.string == ":" and brackets == 0:
                        in_header, after_colon = False, True
                last_row = token.end[0]
                comments.clear()
    return sorted(bodies)


def _last_row_inside(column: int, comments: list[tuple[int, int]], last_row: int) -> int:
    """The last row of a block, with the comments below it that are indented as much."""
    inside = takewhile(lambda comment: comment[1] >= column, comments)
    return max([last_row, *(row for row, _ in inside)])


def _width(indentation: str) -> int:
    return len(indentation.expandtabs())
