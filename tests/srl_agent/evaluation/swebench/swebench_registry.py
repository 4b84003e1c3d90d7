"""A registry of images on the loopback interface, from which an engine fetches without further
settings: each image is one layer.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry(ThreadingHTTPServer):
    """Serves what an engine asks for when it fetches an image (the pull part of the distribution
    API, version 2).

    Attributes:
        fetched: How often the layer of each image was asked for.
        layers_may_go: Layers are held back while this is not set.
        refusals: So many manifests are refused for the rate limit before one is given.
    """

    daemon_threads = True

    def __init__(self, architecture: str) -> None:
        self.fetched: Counter[str] = Counter()
        self.refusals = 0
        self.layers_may_go = threading.Event()
        self.layers_may_go.set()
        self.contents: dict[str, tuple[str, bytes]] = {}
        self.layers: dict[str, str] = {}
        self._architecture = architecture
        super().__init__(("127.0.0.1", 0), Handler)

    def add(self, name: str, size: int) -> str:
        """A new image of random bytes; returns the name that an engine knows it by."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("random")
            member.size = size
            tar.addfile(member, io.BytesIO(os.urandom(size)))
        return self.add_archive(name, archive.getvalue())

    def add_archive(self, name: str, archive: bytes) -> str:
        """A new image of a tar archive's files; returns the name that an engine knows it by."""
        layer = gzip.compress(archive)
        rootfs = {"type": "layers", "diff_ids": [_digest(archive)]}
        config = json.dumps(
            {
                "architecture": self._architecture,
                "os": "linux",
                "config": {"Cmd": ["true"]},
                "rootfs": rootfs,
            }
        ).encode()
        parts = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _part("application/vnd.docker.container.image.v1+json", config),
        }
        manifest = json.dumps(
            parts | {"layers": [_part("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)]}
        ).encode()
        for content in (config, layer):
            self.contents[f"/v2/{name}/blobs/{_digest(content)}"] = (
                "application/octet-stream",
                content,
            )
        for reference in ("latest", _digest(manifest)):
            self.contents[f"/v2/{name}/manifests/{reference}"] = (MANIFEST, manifest)
        self.layers[name] = f"/v2/{name}/blobs/{_digest(layer)}"
        return f"127.0.0.1:{self.server_address[1]}/{name}:latest"

    def damage(self, name: str) -> None:
        """Let an image's layer be another than its manifest says."""
        self.contents[self.layers[name]] = ("application/octet-stream", gzip.compress(b"damaged"))


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        if "/manifests/" in self.path and self.server.refusals:
            self.server.refusals -= 1
            self._refuse()
            return
        kind, content = (
            ("application/json", b"{}")
            if self.path == "/v2/"
            else self.server.contents.get(self.path, ("", b""))
        )
        if self.path in self.server.layers.values() and self.command == "GET":
            self.server.fetched[self.path.split("/")[2]] += 1
            self.server.layers_may_go.wait()
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", _digest(content))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def _refuse(self) -> None:
        error = {"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}
        content = json.dumps({"errors": [error]}).encode()
        self.send_response(429)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(architecture: str) -> Iterator[Registry]:
    """A registry that answers in the body of the ``with``."""
    registry = Registry(architecture)
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    try:
        yield registry
    finally:
        registry.layers_may_go.set()
        registry.shutdown()
        registry.server_close()


def _part(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
