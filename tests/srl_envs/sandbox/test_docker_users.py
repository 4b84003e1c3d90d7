"""Whose rights commands and file calls have: the same, and enough for the work of an agent."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from srl_envs.sandbox import DockerSandbox, SandboxFileError, SandboxLimits
from srl_envs.sandbox.editor import EditTool

pytestmark = pytest.mark.docker

SETUP = (
    "useradd -m dev && useradd -m other && mkdir -p /testbed/pkg && cd /testbed && "
    'printf \'[project]\\nname = "pkg"\\nversion = "1"\\n[tool.setuptools]\\n'
    'packages = ["pkg"]\\n\' > pyproject.toml && touch pkg/__init__.py && '
    "git init -q . && git add -A && git -c user.name=T -c user.email=t@example.org commit -qm one "
    "&& mkdir secret && echo hidden > secret/file && chmod 700 secret && "
    "echo mine > /srv/roots && chmod 600 /srv/roots && chown -R dev:dev /testbed"
)


@pytest.fixture(scope="module")
def image_of_dev(engine: Any, base_image: str) -> Iterator[str]:
    """``/testbed`` belongs to the user dev; ``/srv/roots`` to root alone."""
    name = f"srl-tests-{uuid.uuid4().hex[:12]}:a"
    file = io.BytesIO(f"FROM {base_image}\nRUN {SETUP}\n".encode())
    engine.images.build(fileobj=file, tag=name, network_mode="none", rm=True)
    yield name
    engine.images.remove(name, force=True)


def test_file_calls_act_as_the_shells_user(image_of_dev: str, small_limits: SandboxLimits) -> None:
    with DockerSandbox(image_of_dev, user="dev", limits=small_limits) as sandbox:
        for path in ("/etc/shadow", "/srv/roots", "/root/.bashrc"):
            with pytest.raises(SandboxFileError, match="permission denied"):
                sandbox.read_file(path)
            with pytest.raises(SandboxFileError, match="permission denied"):
                sandbox.write_file(path, "")
        with pytest.raises(SandboxFileError, match="permission denied"):
            sandbox.list_files("/root")
        with pytest.raises(SandboxFileError, match="permission denied"):
            sandbox.write_file("/usr/new/file", "")
        sandbox.write_file("new/file.txt", "one\n")
        tool = EditTool(sandbox)
        tool.run({"command": "create", "path": "/testbed/made.txt", "file_text": "two\n"})
        changed = sandbox.run(
            "stat -c %U new new/file.txt made.txt; echo x >> made.txt && echo y >> new/file.txt && "
            "mv new renamed && rm -r renamed made.txt && git status -s -uno"
        )
        assert changed.output == "dev\ndev\ndev\n" and changed.exit_code == 0
        refused = tool.run({"command": "view", "path": "/etc/shadow"})
        assert "permission denied" in refused and "root:" not in refused
        sandbox.run("echo x > pkg/new.py")
        assert sandbox.diff().count("diff --git") == 1


@pytest.mark.parametrize(
    "command",
    [
        "python3 -c 'from setuptools import setup; setup()' -q develop --no-deps",
        "tar cf /tmp/a.tar pkg && tar xf /tmp/a.tar && tar xf /tmp/a.tar -C /srv",
        "install -m 600 -o other -g other pkg/__init__.py pkg/installed.py",
        "echo x >> pkg/__init__.py && touch new && chmod 644 pkg/__init__.py && rm secret/file",
        "chown -R root:root . && git status && chown -R dev:dev .",
        "sed -i s/one/two/ pyproject.toml && cp -a pkg copied && mv copied moved && rm -r moved",
    ],
)
def test_root_works_in_another_users_repository(
    image_of_dev: str, small_limits: SandboxLimits, command: str
) -> None:
    with DockerSandbox(image_of_dev, limits=small_limits) as sandbox:
        done = sandbox.run(command)
        assert done.exit_code == 0, done.output
        sandbox.write_file("pkg/__init__.py", "changed = 1\n")
        assert sandbox.run("stat -c %a:%U pyproject.toml").output.startswith("644:")
        assert "+changed = 1" in sandbox.diff()


def test_without_capabilities_root_is_like_any_other_user(
    image_of_dev: str, small_limits: SandboxLimits
) -> None:
    with DockerSandbox(image_of_dev, limits=small_limits, capabilities=()) as sandbox:
        assert sandbox.run("echo x >> pkg/__init__.py").exit_code == 1
        assert sandbox.run("cat secret/file").exit_code == 1
        with pytest.raises(SandboxFileError, match="permission denied"):
            sandbox.write_file("pkg/__init__.py", "x")
        with pytest.raises(SandboxFileError, match="permission denied"):
            sandbox.read_file("secret/file")
        assert sandbox.read_file("/srv/roots") == b"mine\n"


def test_what_may_not_be_read_does_not_hide_the_rest(
    image_of_dev: str, small_limits: SandboxLimits
) -> None:
    with DockerSandbox(image_of_dev, user="other", workdir="/tmp", limits=small_limits) as sandbox:
        sandbox.run("mkdir -p a/closed a/open; touch a/closed/x a/open/y; chmod 000 a/closed")
        assert sandbox.list_files("a", 2) == [
            "/tmp/a/",
            "/tmp/a/closed/",
            "/tmp/a/open/",
            "/tmp/a/open/y",
        ]
        assert sandbox.list_files("a/closed", 0) == ["/tmp/a/closed/"]
        with pytest.raises(SandboxFileError, match="permission denied"):
            sandbox.list_files("a/closed")
        shown = EditTool(sandbox).run({"command": "view", "path": "/tmp/a"})
        assert "/tmp/a/closed" in shown and "/tmp/a/open/y" in shown
        assert "/testbed/secret" in sandbox.list_files("/testbed", 1)[-1]


def test_a_patch_of_a_user_who_may_not_read_everything_holds_the_rest(
    image_of_dev: str, small_limits: SandboxLimits
) -> None:
    with DockerSandbox(image_of_dev, user="dev", limits=small_limits) as sandbox:
        sandbox.run(
            "mkdir new other; echo x > new/file; echo y > other/file; "
            "chmod 000 new pkg/__init__.py secret; echo '# changed' >> pyproject.toml"
        )
        patch = sandbox.diff()
        assert patch.count("diff --git") == 2 and "deleted file" not in patch
        assert "+# changed\n" in patch and "+y\n" in patch
        sandbox.run("chmod 755 new; chmod 644 pkg/__init__.py; rm pkg/__init__.py")
        assert "+x\n" in sandbox.diff() and "deleted file" in sandbox.diff()
    with DockerSandbox(image_of_dev, user="other", limits=small_limits) as sandbox:
        assert sandbox.diff() == ""  # secret is dev's alone, and /testbed as well
        assert sandbox.run("echo x >> pyproject.toml").exit_code == 1


@pytest.mark.parametrize("place", ["rm -rf /var/tmp", "rm -rf /var/tmp /tmp", "touch /var/tmp/x"])
def test_a_patch_needs_no_certain_folder(
    image_of_dev: str, small_limits: SandboxLimits, place: str
) -> None:
    with DockerSandbox(image_of_dev, limits=small_limits) as sandbox:
        sandbox.run(f"{place}; echo '# changed' >> pyproject.toml; ln -s /testbed /link")
        assert "+# changed\n" in sandbox.diff()
        assert not any(".srl" in name for name in sandbox.list_files("/", 3))
