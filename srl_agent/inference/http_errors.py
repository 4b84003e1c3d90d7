"""Reads what a failed HTTP request says: its cause, its message, when to come again."""

from __future__ import annotations

import email.utils
import json
import re
import time


def first_cause(error: BaseException) -> BaseException:
    """The error of the operating system or of TLS below those of the libraries."""
    while True:
        several = getattr(error, "exceptions", None)  # one for each address of a host
        below = several[0] if several else error.__cause__ or error.__context__
        if below is None:
            return error
        error = below


def message_in(body: bytes) -> str:
    """An error body's message in one line of at most 300 characters; of a web page, its text."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = re.sub(r"<style.*?</style>|<[^<>]*>", " ", text, flags=re.DOTALL)
    for key in ("error", "message", "detail"):  # servers write several forms
        if isinstance(found, dict) and key in found:
            found = found[key]
    return " ".join(str(found).split())[:300]


def retry_after(header: str | None) -> float:
    """Seconds to wait, from a header that holds seconds or a date; 0 without one."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0
