"""Archives from a package index: a real server on this machine."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from srl_envs.errors import InfrastructureError
from srl_envs.swe.tasks.package_index import download_sdist, pip_settings

PAGES = {
    "/simple/demo/": (
        '<a href="../../files/demo-1.0-py3-none-any.whl#sha256=00">w</a> <a '
        'href="/files/demo-1.0.tar.gz#sha256=00" data-x="1">s</a>'
    ),
    "/files/demo-1.0.tar.gz": "archive",
    "/login/demo/": '<a href="demo-1.0.tar.gz">s</a>',
    "/login/demo/demo-1.0.tar.gz": "secret archive",
}
LOGIN = "Basic " + base64.b64encode(b"me@here:s:3cret").decode()


class Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/login/") and self.headers.get("Authorization") != LOGIN:
            self.send_error(401)
        elif self.path not in PAGES:
            self.send_error(404)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGES[self.path].encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in ("PIP_EXTRA_INDEX_URL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    host = f"127.0.0.1:{server.server_port}"
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{host}/simple/")
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_archive_that_the_page_links_to_is_fetched(index: str) -> None:
    assert download_sdist("demo", "1.0") == b"archive"


def test_a_release_without_an_archive_is_one_clear_error(index: str) -> None:
    with pytest.raises(
        InfrastructureError,
        match=r"demo-2\.0\.tar\.gz could not be fetched \(127\.0\.0\.1 does not list it\)",
    ):
        download_sdist("demo", "2.0")


def test_an_unknown_package_and_an_absent_server_are_one_clear_error(
    index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1: HTTP Error 404"):
        download_sdist("absent", "1.0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(
        InfrastructureError, match="Connect to the package index, or point pip at one"
    ):
        download_sdist("demo", "1.0")


def test_the_next_index_is_asked(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file:///somewhere http://{index}/simple")
    assert download_sdist("demo", "1.0") == b"archive"


def test_a_login_reaches_its_index_and_no_message(
    index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me%40here:s%3A3cret@{index}/login")
    assert download_sdist("demo", "1.0") == b"secret archive"
    with pytest.raises(InfrastructureError) as caught:
        download_sdist("absent", "1.0")
    assert "3cret" not in str(caught.value)


def test_the_environment_comes_before_the_file(
    index: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("pip") / "pip.conf"
    file.write_text(
        "[global]\nindex-url = http://global.invalid/simple\ncert = "
        "global.pem\n[download]\ncert = download.pem\n[install]\ncert = no.pem\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.delenv("PIP_CERT", raising=False)
    settings = pip_settings()
    assert settings["index-url"] == f"http://{index}/simple/"
    assert settings["cert"] == "download.pem"
