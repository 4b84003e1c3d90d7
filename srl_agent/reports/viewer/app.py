"""The pages over HTTP, on this machine only.

Nothing that a model wrote is HTML or script: templates escape it, and a
Content-Security-Policy allows one script, known by its digest. An address names runs and
groups, never files, so no path leads out of a run. A request must name this machine as
its host: another site's page cannot reach the viewer by pointing its own name here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from srl_agent.reports.viewer.pages import Pages
from srl_agent.reports.viewer.queries import GroupFilter
from srl_agent.reports.viewer.runs import ShownRun
from srl_envs.errors import MissingDependencyError, install_command

HOST = "127.0.0.1"

_FOLLOW = 3.0  # seconds after which an open page looks for what is new


class ServedLinks:
    """Addresses of a server."""

    def home(self) -> str:
        """See :class:`~srl_agent.reports.viewer.pages.Links`, as all of these."""
        return "/"

    def run(self, run: str, sort: str = "-gain", page: int = 1, search: str = "") -> str:
        """A run's page."""
        asked = {"sort": "" if sort == "-gain" else sort, "search": search, "page": page}
        return _address("run", run, asked) + ("#instances" if page > 1 or sort != "-gain" else "")

    def groups(self, run: str, chosen: GroupFilter, text: str = "", before: int = 0) -> str:
        """A list of groups."""
        asked: dict[str, Any] = {
            "text": text,
            "fate": chosen.fate,
            "part": chosen.part,
            "kind": chosen.kind,
            "id": chosen.id,
            "search": chosen.search,
            "first": "" if chosen.first is None else str(chosen.first),
            "last": "" if chosen.last is None else str(chosen.last),
            "sort": "" if chosen.sort == "-step" else chosen.sort,
            "page": chosen.page,
            "before": before or "",
        }
        return _address("run", run, asked, "groups")

    def group(self, run: str, key: str) -> str:
        """A group."""
        return _address("run", run, {}, "group", key)

    def episodes(self, run: str, outcome: str = "", task: str = "", page: int = 1) -> str:
        """A list of episodes."""
        return _address("run", run, {"outcome": outcome, "task": task, "page": page}, "episodes")

    def episode(self, run: str, number: int, beside: int | None = None) -> str:
        """An episode, and one beside it."""
        asked = {"beside": "" if beside is None else str(beside)}
        return _address("run", run, asked, "episode", str(number))


def _address(first: str, run: str, asked: Mapping[str, Any], *parts: str) -> str:
    path = "/".join(quote(part, safe="") for part in (first, run, *parts))
    query = urlencode({key: value for key, value in asked.items() if value not in ("", 1)})
    return f"/{path}?{query}" if query else f"/{path}"


def make_app(runs: Mapping[str, ShownRun]) -> Any:
    """The Starlette application.

    Args:
        runs: By name.

    Raises:
        MissingDependencyError: starlette or jinja2 is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.requests import Request
        from starlette.responses import RedirectResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise MissingDependencyError(
            f"The viewer needs starlette: {install_command('view')}"
        ) from error
    pages = Pages(runs, ServedLinks(), _FOLLOW)
    headers = _headers(pages.policy)

    def answer(page: str | None) -> Response:
        if page is None:
            raise HTTPException(404, "There is no such page: the run does not have it (any more).")
        # A model may have written lone surrogates.
        content = page.encode("utf-8", "replace")
        return Response(content, media_type="text/html; charset=utf-8", headers=headers)

    def home(request: Request) -> Response:
        if len(runs) == 1:
            return RedirectResponse(pages.links.run(next(iter(runs))), headers=headers)
        return answer(pages.home())

    def run(request: Request) -> Response:
        asked = _Asked(request.query_params)
        return answer(
            pages.run(
                request.path_params["run"],
                asked.text("sort") or "-gain",
                asked.number("page", 1),
                asked.text("search"),
            )
        )

    def groups(request: Request) -> Response:
        asked = _Asked(request.query_params)
        name, text = request.path_params["run"], asked.text("text")
        return answer(pages.groups(name, asked.filter(), text, asked.number("before", 0)))

    def group(request: Request) -> Response:
        return answer(pages.group(request.path_params["run"], request.path_params["key"]))

    def episodes(request: Request) -> Response:
        asked = _Asked(request.query_params)
        name, page = request.path_params["run"], asked.number("page", 1)
        return answer(pages.episodes(name, asked.text("outcome"), asked.text("task"), page))

    def episode(request: Request) -> Response:
        beside = _Asked(request.query_params).number("beside", None)
        name, number = request.path_params["run"], request.path_params["number"]
        return answer(pages.episode(name, number, beside))

    def failed(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        words = error.detail if isinstance(error, HTTPException) else str(error)
        text = f"<!doctype html><title>{status}</title><p>{escape(words)}</p>"
        return Response(text, status, media_type="text/html; charset=utf-8", headers=headers)

    return Starlette(
        routes=[
            Route("/", home),
            Route("/run/{run}", run),
            Route("/run/{run}/groups", groups),
            Route("/run/{run}/group/{key}", group),
            Route("/run/{run}/episodes", episodes),
            Route("/run/{run}/episode/{number:int}", episode),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)
        ],
        exception_handlers={HTTPException: failed, BadAddress: failed},
    )


class BadAddress(ValueError):
    """A part of an address that cannot be read."""


class _Asked:
    """The query of an address."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query

    def text(self, name: str) -> str:
        return self._query.get(name, "").strip()

    def number(self, name: str, default: Any) -> Any:
        value = self.text(name)
        if not value:
            return default
        if not (value.isascii() and value.isdecimal() and len(value) < 16):
            raise BadAddress(f"{name} is {value[:40]!r}: it must be a whole number, 0 or more.")
        return int(value)

    def filter(self) -> GroupFilter:
        return GroupFilter(
            fate=self.text("fate"),
            part=self.text("part"),
            kind=self.text("kind"),
            id=self.text("id"),
            search=self.text("search"),
            first=self.number("first", None),
            last=self.number("last", None),
            sort=self.text("sort") or "-step",
            page=self.number("page", 1),
        )


def _headers(policy: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def read_in_background(runs: Mapping[str, ShownRun]) -> None:
    """Begin to index all runs, so that the first page need not."""

    def read() -> None:
        for run in runs.values():
            run.index.refresh()

    threading.Thread(target=read, daemon=True, name="index").start()
