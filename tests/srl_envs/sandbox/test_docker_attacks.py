"""What commands in a Docker sandbox may try, by malice or by mistake, and what must come of it."""

from __future__ import annotations

import re
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from srl_envs.errors import ConfigError
from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxFileError, SandboxLimits
from srl_envs.sandbox.images import image_of_tree

pytestmark = pytest.mark.docker


def next_command_works(sandbox: DockerSandbox) -> None:
    after = sandbox.run("echo next; (exit 9)", timeout=30)
    assert (after.output, after.exit_code, after.restarted) == ("next\n", 9, False)


# -- using things up


@pytest.mark.parametrize(
    "bomb",
    [
        ":(){ :|:& };:",
        "bomb() { while :; do bomb & done; }; bomb",
        "for i in $(seq 1000); do sleep 300 & done",
    ],
)
def test_fork_bombs_stay_within_their_bound_and_end(contained: Any, bomb: str) -> None:
    sandbox = contained.sandbox
    hit = sandbox.run(f"({bomb}) 2>/dev/null", timeout=3)
    assert sandbox.list_files("/srv", 0) == [
        "/srv/"
    ]  # that no process is left for this is no failure of the machinery
    sandbox.run("exit")
    next_command_works(sandbox)
    assert hit.restarted or hit.exit_code == 0
    assert len(contained.container.top()["Processes"]) <= 3


@pytest.mark.parametrize(
    "bomb",
    [
        "python3 -c 'x = b\"x\" * 10**10'",
        "python3 -c 'x = b\"x\" * 10**9'",
        "x=$(head -c 600000000 /dev/zero | tr '\\0' x)",
        "tail /dev/zero",
        "cat /dev/zero > /dev/shm/fill; python3 -c 'x = b\"x\" * 250 * 2**20'",
    ],
)
def test_memory_bombs_are_killed(contained: Any, bomb: str) -> None:
    hit = contained.sandbox.run(bomb, timeout=60)
    assert hit.exit_code in (1, 137) and not hit.timed_out
    next_command_works(contained.sandbox)


def test_what_fills_the_disk_is_killed_and_can_be_cleared(base_image: str) -> None:
    with DockerSandbox(
        base_image, workdir="/tmp", limits=SandboxLimits(cpus=0.5, memory_mib=256, disk_mib=50)
    ) as sandbox:
        filled = sandbox.run(
            "i=0; while :; do i=$((i + 1)); head -c 1M /dev/zero > f$i; sleep 0.005; done",
            timeout=600,
        )
        assert (filled.exit_code, filled.disk_full, filled.restarted, filled.timed_out) == (
            137,
            True,
            True,
            False,
        )
        next_command_works(sandbox)
        assert sandbox.run("rm f*; sleep 1.2").exit_code == 0
        assert not sandbox.run("sleep 1.2").disk_full


def test_one_file_does_not_grow_beyond_its_bound(base_image: str) -> None:
    with DockerSandbox(
        base_image, workdir="/tmp", limits=SandboxLimits(cpus=0.5, memory_mib=256, file_mib=5)
    ) as sandbox:
        assert sandbox.run("head -c 100M /dev/zero > large").exit_code == 128 + 25  # SIGXFSZ
        assert sandbox.run("stat -c %s large").output == f"{5 * 2**20}\n"
        assert len(sandbox.read_file("large")) == 5 * 2**20
        with pytest.raises(SandboxFileError, match="more than"):
            sandbox.write_file("larger", bytes(5 * 2**20 + 1))
        next_command_works(sandbox)


def test_the_limit_of_what_is_read_can_be_raised(base_image: str) -> None:
    limits = SandboxLimits(cpus=0.5, memory_mib=512, read_mib=130)
    with DockerSandbox(base_image, workdir="/tmp", limits=limits) as sandbox:
        sandbox.run("truncate -s 120M large; truncate -s 131M larger")
        assert len(sandbox.read_file("large")) == 120 * 2**20
        with pytest.raises(SandboxFileError, match="137363456 bytes are more than"):
            sandbox.read_file("larger")


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="the kernel does not tell the largest size of a process",
)
@pytest.mark.parametrize("flood", ["yes", "cat /dev/zero", "yes & yes & yes"])
def test_a_flood_of_output_does_not_grow_our_memory(contained: Any, flood: str) -> None:
    before = largest_size_kib()
    flooded = contained.sandbox.run(flood, timeout=2)
    assert flooded.timed_out and flooded.truncated
    assert len(flooded.output) < 300 * 1024
    assert int(re.findall(r"(\d+) bytes left out", flooded.output)[0]) > 10 * 2**20
    assert largest_size_kib() - before < 8 * 1024
    next_command_works(contained.sandbox)


def largest_size_kib() -> int:
    """Of this process since the last call."""
    size = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])
    Path("/proc/self/clear_refs").write_text("5")
    return size


def test_a_flood_that_goes_on_in_the_background(contained: Any) -> None:
    assert not contained.sandbox.run("yes & flood=$!", timeout=30).timed_out
    assert contained.sandbox.run("echo next; (exit 9)", timeout=30).exit_code == 9
    contained.sandbox.run("kill $flood; wait", timeout=30)
    next_command_works(contained.sandbox)


def test_endless_names_and_lines_are_no_trouble_for_listing(contained: Any) -> None:
    contained.sandbox.run("mkdir many && cd many && seq 20000 | xargs touch", timeout=60)
    assert len(contained.sandbox.list_files("many")) == 20_001


# -- processes


def test_nothing_is_left_after_a_time_out_as_the_engine_sees_it(contained: Any) -> None:
    assert contained.sandbox.run(
        "set -m; sleep 300 & setsid sleep 301 & sleep 302", timeout=1
    ).timed_out
    container = contained.container
    assert sorted(process[-1].split()[0] for process in container.top()["Processes"]) == [
        "bash",
        "bash",
    ]


@pytest.mark.parametrize(
    "kill",
    [
        "kill -9 -1",
        "bash -c 'kill -9 -1'",
        "kill -9 1",
        "kill -TERM 1",
        "kill -STOP 1",
        "bash -c 'kill -KILL -- -1 1'",
        "pkill -9 .",
    ],
)
def test_killing_everything_ends_no_more_than_the_shell(contained: Any, kill: str) -> None:
    container = contained.container
    hit = contained.sandbox.run(f"sleep 300 & {kill}", timeout=5)
    assert not hit.timed_out
    contained.sandbox.run(
        "sleep 0.2; jobs >/dev/null"
    )  # bash tells of the killed job when it learns of it
    next_command_works(contained.sandbox)
    assert contained.container.id == container.id


def test_a_file_named_like_an_error_ends_no_process(contained: Any) -> None:
    contained.sandbox.run("sleep 300 & mkdir 'fork: retry'")
    for name in ("fork: retry/none", "Cannot fork", "unable to create threads"):
        with pytest.raises(SandboxFileError, match="No such file"):
            contained.sandbox.read_file(name)
    assert contained.sandbox.run("jobs -r | wc -l").output == "1\n"


def test_zombies_are_reaped(contained: Any) -> None:
    contained.sandbox.run("for i in $(seq 50); do (sleep 0.05 &); done; sleep 1")
    assert contained.sandbox.run("ps -eo stat= | grep -c Z").output == "0\n"


@pytest.mark.parametrize(
    "place",
    [
        "mkfifo /etc/passwd /etc/group",
        "mkfifo /tmp/pipe; ln -s /tmp/pipe /etc/passwd",
        "truncate -s 200M /etc/passwd",
        "mkdir /etc/group",
    ],
)
def test_the_engine_does_not_wait_for_what_stands_where_it_looks_users_up(
    base_image: str, small_limits: SandboxLimits, place: str
) -> None:
    with DockerSandbox(base_image, workdir="/tmp", limits=small_limits, deadline=20) as sandbox:
        damage = f"rm -f /etc/passwd /etc/group; {place}"
        sandbox.run(damage)
        assert sandbox.run("exit 5").exit_code == 5
        next_command_works(sandbox)
        sandbox.run(damage)
        assert sandbox.list_files("/srv", 0) == ["/srv/"]


# -- the outside


def test_there_is_no_network(contained: Any) -> None:
    interfaces = contained.sandbox.run("tail -n +3 /proc/net/dev | cut -d: -f1").output.split()
    assert interfaces == ["lo"]
    assert contained.sandbox.run("tail -n +2 /proc/net/route").output == ""


@pytest.mark.parametrize(
    "address", ["169.254.169.254/80", "1.1.1.1/53", "172.17.0.1/22", "2606:4700:4700::1111/53"]
)
def test_no_address_can_be_reached(contained: Any, address: str) -> None:
    tried = contained.sandbox.run(f"exec 3<>/dev/tcp/{address}", timeout=30)
    assert tried.exit_code != 0 and "Network is unreachable" in tried.output


def test_no_name_is_found(contained: Any) -> None:
    tried = contained.sandbox.run(
        "getent hosts deb.debian.org; echo $?; python3 -c 'import socket; "
        'socket.getaddrinfo("example.org", 80)\'',
        timeout=60,
    )
    assert tried.output.startswith("2\n") and "gaierror" in tried.output


def test_local_servers_of_the_machine_are_not_those_of_the_sandbox(contained: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert (
            "refused"
            in contained.sandbox.run(
                f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}", timeout=30
            ).output
        )


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({}, 1 << 0 | 1 << 1 | 1 << 3),  # CHOWN, DAC_OVERRIDE, FOWNER of linux/capability.h
        ({"capabilities": ()}, 0),
        ({"capabilities": ("KILL",)}, 1 << 5),
        ({"capabilities": ("SETUID", "SETGID", "SETUID")}, 1 << 6 | 1 << 7),
    ],
)
def test_root_has_the_capabilities_asked_for_and_no_new_privileges(
    base_image: str, small_limits: SandboxLimits, settings: dict[str, Any], bits: int
) -> None:
    with DockerSandbox(base_image, workdir="/tmp", limits=small_limits, **settings) as sandbox:
        status = dict(
            line.split(":\t", 1)
            for line in sandbox.run("cat /proc/self/status").output.splitlines()
            if ":\t" in line
        )
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {bits}
    assert int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize("capabilities", ["CHOWN", ("CAP_CHOWN",), ("chown",), ("ALL",), ("",)])
def test_what_is_not_the_name_of_a_capability_is_refused(capabilities: Any) -> None:
    with pytest.raises(ConfigError, match="capabilities"):
        DockerSandbox("srl-no-such-image:1", capabilities=capabilities)


def test_a_capability_that_the_engine_does_not_know_is_refused(base_image: str) -> None:
    with pytest.raises(SandboxError, match="CAP_NO_SUCH"):
        DockerSandbox(base_image, workdir="/tmp", capabilities=("NO_SUCH",))


@pytest.mark.parametrize(
    "privileged",
    [
        "mount -t tmpfs none /mnt",
        "mknod /tmp/disk b 8 0",
        "chroot / true",
        "hostname other",
        "su nobody -s /bin/true",
        "dmesg",
        "unshare -n true",
    ],
)
def test_what_takes_privileges_fails(contained: Any, privileged: str) -> None:
    assert contained.sandbox.run(privileged).exit_code not in (0, 127)


def test_limits_are_as_asked_for(contained: Any, small_limits: SandboxLimits) -> None:
    host = contained.container.attrs["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == small_limits.memory_mib * 2**20
    assert host["NanoCpus"] == small_limits.cpus * 1e9
    assert host["PidsLimit"] == small_limits.processes
    assert host["NetworkMode"] == "none" and host["CapDrop"] == ["ALL"] and not host["Privileged"]
    assert not host["Binds"] and not contained.container.attrs["Mounts"]
    limits = contained.sandbox.run("ulimit -n; ulimit -Hn; ulimit -f; ulimit -c").output.split()
    assert limits == [str(small_limits.open_files)] * 2 + [str(small_limits.file_mib * 1024), "0"]


def test_no_file_of_the_machine_is_in_the_container(contained: Any) -> None:
    assert (
        contained.sandbox.run(
            "ls /var/run/docker.sock /run/docker.sock; find / -xdev -name '*.sock' 2>/dev/null"
        ).output.count("No such file")
        == 2
    )
    mounts = contained.sandbox.run("cut -d' ' -f2 /proc/mounts").output.split()
    assert {mount for mount in mounts if not mount.startswith(("/proc", "/sys", "/dev"))} <= {
        "/",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
    }


def test_links_out_of_a_copied_tree_lead_nowhere(
    engine: Any, base_image: str, small_limits: SandboxLimits, tmp_path: Path
) -> None:
    secret, tree = tmp_path / "outside", tmp_path / "tree"
    secret.mkdir()
    (secret / "secret.txt").write_text("the answer")
    tree.mkdir()
    (tree / "file_link").symlink_to(secret / "secret.txt")
    (tree / "folder_link").symlink_to(secret)
    image = f"srl-tests:{uuid.uuid4().hex[:12]}"
    image_of_tree(tree, image, base=base_image)
    try:
        with DockerSandbox(image, limits=small_limits) as sandbox:
            for path in (
                "file_link",
                "folder_link/secret.txt",
                str(secret / "secret.txt"),
                "../../../../../.." + str(secret / "secret.txt"),
            ):
                with pytest.raises(SandboxFileError):
                    sandbox.read_file(path)
            assert "answer" not in sandbox.run("cat *; grep -r answer . /tmp").output
            with pytest.raises(SandboxFileError, match="link"):
                sandbox.write_file("file_link", "changed")
            assert (secret / "secret.txt").read_text() == "the answer"
    finally:
        engine.images.remove(image, force=True)
