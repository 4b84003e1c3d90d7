"""Images made of programs of this machine, without a registry and without a package manager."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOOLS = ("bash", "find", "grep", "head", "mkdir", "mktemp", "sleep", "stat", "tar")
"""What a sandbox needs, and a program to wait with."""

_ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndev:x:1000:1000::/home/dev:/bin/sh\n",
    "etc/group": "root:x:0:\ndev:x:1000:\n",
}


def import_image(
    client: Any,
    image: str,
    programs: Sequence[str],
    busybox: Path | None = None,
    changes: Sequence[str] = (),
) -> str:
    """Make an image of a few programs, and the libraries that they need, and nothing more.

    Args:
        client: Of the engine.
        image: Its name, without a tag.
        programs: Names of programs of this machine.
        busybox: Stands for every program that is not among them; None for none.
        changes: Lines of a Dockerfile.

    Returns:
        The image's name with its tag.
    """
    paths = [str(shutil.which(name)) for name in programs]
    libraries = subprocess.run(["ldd", *paths], capture_output=True, text=True).stdout
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for path in {*paths, *re.findall(r"(/\S+) \(0x", libraries)}:
            tar.add(path)
        for folder, mode in (("tmp", 0o1777), ("testbed", 0o755), ("root", 0o700)):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, mode
            tar.addfile(member)
        for name, text in _ACCOUNTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        if busybox is not None:
            tar.add(busybox, "bin/busybox")
        for name in _applets(busybox) if busybox else ["sh"] * ("bash" in programs):
            if name not in programs and name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox" if busybox else "bash"
                tar.addfile(link)
    client.api.import_image_from_data(
        archive.getvalue(), repository=image, tag="latest", changes=list(changes)
    )
    return f"{image}:latest"


def _applets(busybox: Path) -> list[str]:
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return listed.stdout.split()
