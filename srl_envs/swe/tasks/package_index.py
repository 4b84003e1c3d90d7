"""Fetches a release's source archive from the index that pip is configured for; runs none of it.

``pip download`` will not do: it runs the release's build code to learn its metadata.
"""

from __future__ import annotations

import ast
import base64
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from srl_envs.errors import InfrastructureError

_PYPI = "https://pypi.org/simple"
_TIMEOUT_S = 60.0


def download_sdist(package: str, version: str) -> bytes:
    """The archive ``package-version.tar.gz``.

    The index is read as the Simple Repository API's HTML
    (https://packaging.python.org/specifications/simple-repository-api/). Of pip's
    configuration, ``index-url``, ``extra-index-url`` and ``cert`` count; proxies come
    from the environment.

    Raises:
        InfrastructureError: No index can be reached, or none has the archive.
    """
    settings = pip_settings()
    indexes = [settings.get("index-url", _PYPI), *settings.get("extra-index-url", "").split()]
    name = f"{package}-{version}.tar.gz"
    reasons = []
    for index in (index for index in indexes if urlsplit(index).scheme in ("http", "https")):
        host = urlsplit(index).hostname
        try:
            context = ssl.create_default_context(cafile=settings.get("cert"))
            page_url, page = _get(f"{index.rstrip('/')}/{package}/", index, context)
            links = _Links()
            links.feed(page.decode("utf-8", "replace"))
            link = next(
                (
                    link
                    for link in links.found
                    if unquote(urlsplit(link).path).rsplit("/", 1)[-1] == name
                ),
                None,
            )
            if link is not None:
                return _get(urljoin(page_url, link), index, context)[1]
            reasons.append(f"{host} does not list it")
        # So are URLError, HTTPError, SSLError, time-outs and a missing file of certificates.
        except OSError as error:
            reasons.append(f"{host}: {error}")
    raise InfrastructureError(
        f"The source archive {name} could not be fetched "
        f"({'; '.join(reasons) or 'pip names no http index'}). "
        "Connect to the package index, or point pip at one that has it (pip config set "
        "global.index-url URL)."
    )


def pip_settings() -> dict[str, str]:
    """Pip's options for a download; empty without pip.

    The environment wins over the section ``download``, which wins over ``global``.
    """
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    settings: dict[str, tuple[int, str]] = {}
    for line in listing.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        rank = {"global": 1, "download": 2, ":env:": 3}.get(section, 0)
        if rank > settings.get(option, (0, ""))[0]:
            settings[option] = (rank, str(ast.literal_eval(value)))
    return {option: value for option, (_, value) in settings.items()}


def _get(url: str, index: str, context: ssl.SSLContext) -> tuple[str, bytes]:
    """Final address and content.

    A name and password in the index's address go to the index's host only, as a header.
    """
    parts = urlsplit(url)
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(address, headers={"Accept": "text/html, */*;q=0.1"})
    login = urlsplit(index)
    if login.username and login.hostname == parts.hostname:
        token = base64.b64encode(
            f"{unquote(login.username)}:{unquote(login.password or '')}".encode()
        ).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as answer:
        content: bytes = answer.read()
        return str(answer.geturl()), content


class _Links(HTMLParser):
    """The addresses of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]
