"""What every sandbox promises about its files, and about its end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from srl_envs.sandbox import Sandbox, SandboxError, SandboxFileError

# -- reading


def test_every_file_is_read_byte_for_byte(used_sandbox: Sandbox, small_repository: Path) -> None:
    for name in (
        "README.md",
        "crlf.txt",
        "latin1.txt",
        "no_newline.txt",
        "picture.bin",
        "src/name with space.txt",
    ):
        assert used_sandbox.read_file(name) == (small_repository / name).read_bytes()
        assert (
            used_sandbox.read_file(f"{used_sandbox.workdir}/{name}")
            == (small_repository / name).read_bytes()
        )


def test_paths_start_at_the_repository_wherever_the_shell_stands(sandbox: Sandbox) -> None:
    sandbox.run("cd /tmp; echo elsewhere > README.md")
    assert sandbox.read_file("README.md") == b"# A project\n"
    assert sandbox.read_file("../tmp/README.md") == b"elsewhere\n"
    assert sandbox.read_file("src/../README.md") == b"# A project\n"


def test_links_are_followed_inside(sandbox: Sandbox, small_repository: Path) -> None:
    sandbox.run(
        "ln -s link second; ln -s /etc absolute; ln -s src/deep folder; "
        "ln -s circle circle; ln -s nowhere broken"
    )
    assert sandbox.read_file("second") == sandbox.read_file("link") == b"# A project\n"
    assert sandbox.read_file("absolute/passwd") == sandbox.run("cat /etc/passwd").output.encode()
    assert sandbox.read_file("folder/module.py") == b"VALUE = 1\n"
    for name in ("circle", "circle/below", "broken", "folder"):
        with pytest.raises(SandboxFileError):
            sandbox.read_file(name)


def test_an_empty_file_and_a_large_one(sandbox: Sandbox) -> None:
    sandbox.run("touch empty; head -c 5000000 /dev/zero > large")
    assert sandbox.read_file("empty") == b""
    assert sandbox.read_file("large") == bytes(5_000_000)


IMPOSSIBLE = [
    "",
    "x" * 300,
    "deep/" * 3000,
    "nul\0character",
    "not utf-8 \udcff",
    "README.md/below",
]


@pytest.mark.parametrize(
    "path", ["missing.txt", "no/such/folder/file", "src", "/", ".", "/proc/nothing", *IMPOSSIBLE]
)
def test_what_cannot_be_read(used_sandbox: Sandbox, path: str) -> None:
    with pytest.raises(SandboxFileError):
        used_sandbox.read_file(path)


@pytest.mark.parametrize("path", ["pipe", "/dev/zero"])
def test_what_is_no_file_is_not_waited_for(sandbox: Sandbox, path: str) -> None:
    sandbox.run("mkfifo pipe")
    with pytest.raises(SandboxFileError):
        sandbox.read_file(path)


# -- writing


@pytest.mark.parametrize(
    "content",
    [b"", b"plain\n", b"\r\n\0\xff\xfe", "é ✓ 😀\n", bytes(range(256)) * 5_000],
    ids=["empty", "text", "binary", "unicode", "megabyte"],
)
@pytest.mark.parametrize(
    "path",
    [
        "new.txt",
        "new folder/and below/-name 'with\" $odd\n parts.txt",
        "/tmp/outside.txt",
        "README.md",
    ],
)
def test_what_is_written_is_read(used_sandbox: Sandbox, path: str, content: str | bytes) -> None:
    used_sandbox.write_file(path, content)
    assert used_sandbox.read_file(path) == (
        content.encode() if isinstance(content, str) else content
    )


def test_commands_see_what_was_written_and_the_other_way_round(sandbox: Sandbox) -> None:
    sandbox.write_file("made/by_us.txt", "first\n")
    assert sandbox.run("cat made/by_us.txt; echo second >> made/by_us.txt").output == "first\n"
    assert sandbox.read_file("made/by_us.txt") == b"first\nsecond\n"


def test_a_replaced_file_keeps_its_mode_and_a_new_one_is_an_ordinary_one(sandbox: Sandbox) -> None:
    sandbox.run("chmod 640 crlf.txt; echo x > short; chmod 4711 short")
    for name in ("script.sh", "crlf.txt", "short", "new.txt", "folder/new.txt"):
        sandbox.write_file(name, "replaced\n")
    assert (
        sandbox.run("stat -c %a script.sh crlf.txt new.txt folder/new.txt folder").output
        == "755\n640\n644\n644\n755\n"
    )
    assert (
        sandbox.run("./script.sh").exit_code == 127
    )  # still executable: what fails is the command in it


def test_writing_through_a_link_keeps_the_link(sandbox: Sandbox) -> None:
    sandbox.write_file("link", "through\n")
    assert sandbox.run("readlink link; cat README.md").output == "README.md\nthrough\n"
    sandbox.run("ln -s src folder; ln -s /tmp/later broken")
    sandbox.write_file("folder/deep/new.txt", "below\n")
    sandbox.write_file("broken", "made\n")
    assert (
        sandbox.run("cat src/deep/new.txt /tmp/later; readlink folder broken").output
        == "below\nmade\nsrc\n/tmp/later\n"
    )


@pytest.mark.parametrize("path", ["/dev/shm/file", "to_shm/file", "/proc/file", "circle/file"])
def test_a_file_is_written_where_commands_see_it_or_not_at_all(sandbox: Sandbox, path: str) -> None:
    """Other file systems may lie over the image's: writing below them must not be lost without a
    word.
    """
    sandbox.run("ln -s /dev/shm to_shm; ln -s circle circle")
    try:
        sandbox.write_file(path, "content\n")
    except SandboxFileError:
        return
    assert sandbox.run(f"cat {path}").output == "content\n"


@pytest.mark.parametrize("path", ["src", "/", ".", *IMPOSSIBLE])
def test_where_nothing_can_be_written(used_sandbox: Sandbox, path: str) -> None:
    with pytest.raises(SandboxFileError):
        used_sandbox.write_file(path, "content")
    assert used_sandbox.run("test -d src -a -f README.md").exit_code == 0


# -- listing


def test_listing_goes_as_deep_as_it_is_told(sandbox: Sandbox) -> None:
    top = f"{sandbox.workdir}/src"
    assert sandbox.list_files("src", 0) == [f"{top}/"]
    assert sandbox.list_files("/", 0) == ["/"]
    assert (
        sandbox.list_files("")
        == sandbox.list_files(".")
        == sandbox.list_files(sandbox.workdir + "//")
    )
    level = [f"{top}/", f"{top}/deep/", f"{top}/name with space.txt", f"{top}/numbers.txt"]
    assert sandbox.list_files("src") == sandbox.list_files(top, 1) == level
    assert (
        sandbox.list_files("src", 2)
        == sandbox.list_files("src", 9)
        == sorted([*level, f"{top}/deep/module.py"])
    )


def test_listing_a_file_gives_the_file(used_sandbox: Sandbox) -> None:
    path = f"{used_sandbox.workdir}/crlf.txt"
    assert used_sandbox.list_files("crlf.txt", 0) == used_sandbox.list_files(path) == [path]


def test_listing_shows_hidden_ignored_and_oddly_named_files_and_links_as_files(
    sandbox: Sandbox,
) -> None:
    sandbox.run(
        "mkdir odd && cd odd && touch .hidden a.log $'new\\nline' -- -dash && ln -s "
        "../src to_folder && ln -s nowhere broken && mkdir empty"
    )
    top = f"{sandbox.workdir}/odd/"
    names = [".hidden", "a.log", "new\nline", "-dash", "to_folder", "broken", "empty/"]
    assert sandbox.list_files("odd/to_folder", 0) == [
        f"{top}to_folder/"
    ]  # named itself, a link is what it leads to
    assert sandbox.list_files("odd/broken", 0) == [f"{top}broken"]
    assert sandbox.list_files("odd", 3) == sorted([top, *(top + name for name in names)])


@pytest.mark.parametrize("path", ["missing", "src/missing", *IMPOSSIBLE[1:]])
def test_listing_what_is_not_there(used_sandbox: Sandbox, path: str) -> None:
    with pytest.raises(SandboxFileError):
        used_sandbox.list_files(path)


# -- reset and close


def test_reset_gives_the_state_of_the_start(sandbox: Sandbox) -> None:
    places = ["/etc", "/root", "/tmp", "/usr/share", "/var", sandbox.workdir]
    before = [sandbox.list_files(place, 2) for place in places]
    sandbox.run(
        "git commit -q --allow-empty -m more; rm -rf src /usr/share/doc; "
        "echo changed > README.md; touch /root/new; lost=yes; cd /; sleep 300 &"
    )
    sandbox.reset()
    assert [sandbox.list_files(place, 2) for place in places] == before
    assert sandbox.read_file("README.md") == b"# A project\n"
    assert sandbox.run('echo "[$lost]"; pwd; git log --oneline | wc -l; jobs').output.split() == [
        "[]",
        sandbox.workdir,
        "1",
    ]
    assert sandbox.diff() == ""


def test_two_sandboxes_do_not_see_each_other(
    used_sandbox: Sandbox, make_sandbox: Callable[[], Sandbox]
) -> None:
    other = make_sandbox()
    try:
        other.run("touch /tmp/mine; only=here; sleep 301 &")
        seen = used_sandbox.run(
            "ls /tmp/mine; echo [$only]; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
        ).output
        assert "[]" in seen and "301" not in seen and "No such file" in seen
    finally:
        other.close()


def test_a_closed_sandbox_is_of_no_more_use(make_sandbox: Callable[[], Sandbox]) -> None:
    sandbox = make_sandbox()
    sandbox.close()
    sandbox.close()
    uses: list[Callable[[], object]] = [
        lambda: sandbox.run("true"),
        lambda: sandbox.read_file("README.md"),
        lambda: sandbox.write_file("README.md", ""),
        lambda: sandbox.list_files("."),
        sandbox.diff,
        sandbox.reset,
    ]
    for use in uses:
        with pytest.raises(SandboxError):
            use()


def test_it_has_every_method_of_the_protocol(used_sandbox: Sandbox) -> None:
    assert isinstance(used_sandbox, Sandbox)


def test_a_large_folder_is_told_from_a_file_at_once(sandbox: Sandbox) -> None:
    sandbox.run(
        "mkdir large; cd large; for i in $(seq 300); do mkdir $i; "
        "head -c 20000 /dev/zero > $i/file; done"
    )
    with pytest.raises(SandboxFileError, match="is a folder"):
        sandbox.read_file("large")
    assert len(sandbox.list_files("large", 2)) == 601


def test_a_file_beyond_the_limit_is_not_read(sandbox: Sandbox) -> None:
    sandbox.run("truncate -s 200M sparse")
    with pytest.raises(SandboxFileError, match="more than") as caught:
        sandbox.read_file("sparse")
    assert caught.value.errno == errno.EFBIG
