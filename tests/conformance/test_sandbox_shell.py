"""What every sandbox promises about its shell: its state lasts, no text of a command breaks it,
and nothing outlives its time.
"""

from __future__ import annotations

import re

import pytest

from srl_envs.sandbox import Sandbox

PROCESSES = (
    "for process in /proc/[0-9]*; do tr '\\0' ' ' < $process/cmdline; echo; done 2>/dev/null"
)


def next_command_works(sandbox: Sandbox) -> None:
    after = sandbox.run("echo next; (exit 9)", timeout=30)
    assert (after.output, after.exit_code, after.timed_out, after.truncated, after.restarted) == (
        "next\n",
        9,
        False,
        False,
        False,
    )


# -- state


def test_it_starts_in_the_repository(sandbox: Sandbox) -> None:
    assert sandbox.workdir.startswith("/")
    assert sandbox.run("pwd").output == f"{sandbox.workdir}\n"


def test_folder_variables_functions_and_options_last(sandbox: Sandbox) -> None:
    sandbox.run(
        "cd src && plain='a  b' && export EXPORTED=c && greet() { echo hello $1; "
        "} && shopt -s nullglob && umask 077"
    )
    lasting = sandbox.run(
        'pwd; echo "$plain"; bash -c "echo \\$EXPORTED"; greet you; echo /no/such/*; umask'
    )
    assert lasting.output == f"{sandbox.workdir}/src\na  b\nc\nhello you\n\n0077\n"


def test_the_last_exit_code_lasts(sandbox: Sandbox) -> None:
    assert sandbox.run("(exit 42)").exit_code == 42
    assert sandbox.run("echo $?").output == "42\n"
    assert sandbox.run("echo $?").output == "0\n"


def test_a_process_in_the_background_lasts_and_holds_nothing_up(sandbox: Sandbox) -> None:
    started = sandbox.run("sleep 300 & pid=$!", timeout=30)
    assert (started.exit_code, started.timed_out) == (0, False)
    assert sandbox.run("kill -0 $pid && kill $pid; wait $pid").exit_code == 128 + 15


# -- exit codes and output


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("(exit 255)", 255),
        ("no-such-command-anywhere", 127),
        ("./README.md", 126),
        ("bash -c 'kill -TERM $$'", 143),
        ("bash -c 'kill -KILL $$'", 137),
        ("false | true", 0),
        ("(set -o pipefail; false | true)", 1),
        ("", 0),
        (" \n\t\n", 0),
        ("# only a comment", 0),
    ],
)
def test_exit_codes(used_sandbox: Sandbox, command: str, code: int) -> None:
    assert used_sandbox.run(command).exit_code == code
    next_command_works(used_sandbox)


def test_output_and_error_stand_in_the_order_in_which_they_were_written(
    used_sandbox: Sandbox,
) -> None:
    written = used_sandbox.run(
        "for i in 1 2 3; do echo out $i; echo err $i >&2; done; bash -c 'echo child; "
        "echo complaint >&2'"
    )
    assert written.output == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nchild\ncomplaint\n"
    assert written.seconds >= 0


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("printf 'no newline at the end'", "no newline at the end"),
        ("echo 'é ✓ 😀'", "é ✓ 😀\n"),
        ("printf 'a\\377b\\n'", "a\ufffdb\n"),
        ("printf 'a\\0b\\001\\033[0m'", "a\0b\x01\x1b[0m"),
        ("printf 'a\\r\\nb\\rc\\n'", "a\r\nb\rc\n"),
        ("echo one\r\necho two\r\n", "one\r\ntwo\r\n"),
        ("echo one # comment", "one\n"),
        ("cat <<'END'\n$x \"y' \\\nEND", "$x \"y' \\\n"),
        ("cat <<A; cat <<-B\none\nA\n\ttwo\n\tB\necho three", "one\ntwo\nthree\n"),
        ("if true\nthen\n\techo yes\nfi\n", "yes\n"),
        ("echo a; cat; echo b", "a\nb\n"),
        ('read -r line; echo "$? [$line]"', "1 []\n"),
        ("python3 -c 'import sys; print(repr(sys.stdin.read()))'", "''\n"),
        ("cat /dev/stdin; echo end", "end\n"),
    ],
)
def test_output_is_what_was_written(used_sandbox: Sandbox, command: str, output: str) -> None:
    assert used_sandbox.run(command, timeout=30).output == output
    next_command_works(used_sandbox)


def test_a_megabyte_and_more_is_cut_in_the_middle(used_sandbox: Sandbox) -> None:
    flood = used_sandbox.run("printf start; head -c 10000000 /dev/zero | tr '\\0' x; printf end")
    assert (flood.exit_code, flood.truncated, flood.restarted) == (0, True, False)
    assert flood.output.startswith("startxxx") and flood.output.endswith("xxxend")
    assert len(flood.output) < 2_000_000
    next_command_works(used_sandbox)


def test_random_bytes(used_sandbox: Sandbox) -> None:
    assert (
        used_sandbox.run("head -c 100000 /dev/urandom; exit_code=5; (exit $exit_code)").exit_code
        == 5
    )
    next_command_works(used_sandbox)


def test_a_command_of_200_kilobytes(used_sandbox: Sandbox) -> None:
    text = "0123456789" * 20_000
    assert used_sandbox.run(f"text='{text}'; echo ${{#text}}").output == "200000\n"
    assert used_sandbox.run(f"cat <<'END' | wc -c\n{text}\nEND").output.strip() == "200001"
    next_command_works(used_sandbox)


def test_a_nul_in_a_command(used_sandbox: Sandbox) -> None:
    assert used_sandbox.run("echo a; echo b\0; echo c").output.startswith("a\nb")
    next_command_works(used_sandbox)


def test_output_that_looks_like_an_end(sandbox: Sandbox) -> None:
    """What the shell itself was given is repeated, at every length, between NULs: only what the
    sandbox cannot have made up may end a command.
    """
    sandbox.run(
        "forge() { for end in '<' '>0:/' '0:/' '' ':'; "
        'do printf \'\\0%s%s\\0\' "$1" "$end"; done; }'
    )
    word = "0123456789abcdef0123456789abcdef"
    forged = sandbox.run(f"forge {word}; forge $$; forge; echo true end; (exit 4)")
    assert forged.output.endswith("true end\n")
    assert forged.exit_code == 4
    next_command_works(sandbox)


# -- commands that break shells


@pytest.mark.parametrize(
    "command",
    [
        'echo "open',
        "echo 'open",
        "echo `open",
        "echo $(open",
        "echo ${open",
        "{",
        "(",
        ")",
        "}",
        "if true; then",
        "case x in",
    ],
)
def test_a_command_that_does_not_end_fails_alone(used_sandbox: Sandbox, command: str) -> None:
    used_sandbox.run("kept=yes")
    assert used_sandbox.run(command, timeout=30).exit_code not in (0, 124)
    assert used_sandbox.run("echo $kept").output == "yes\n"
    next_command_works(used_sandbox)


def test_a_heredoc_without_an_end_takes_the_rest(used_sandbox: Sandbox) -> None:
    open_end = used_sandbox.run("cat <<'END'\nthe rest\n", timeout=30)
    assert "the rest\n" in open_end.output and open_end.exit_code == 0
    next_command_works(used_sandbox)


@pytest.mark.parametrize(
    ("command", "output", "code"),
    [
        ("exit", "", 0),
        ("echo before; exit 7; echo after", "before\n", 7),
        ("exec echo replaced", "replaced\n", 0),
        ("exec bash -c 'exit 3'", "", 3),
        ("kill -9 $$", "", 137),
        ("set -e; echo before; false; echo after", "before\n", 1),
    ],
)
def test_a_shell_that_ends_is_followed_by_another_one_in_the_same_folder(
    sandbox: Sandbox, command: str, output: str, code: int
) -> None:
    sandbox.run("cd src; lost=yes; touch kept.txt")
    ended = sandbox.run(command, timeout=30)
    assert (ended.output, ended.exit_code, ended.restarted, ended.timed_out) == (
        output,
        code,
        True,
        False,
    )
    assert (
        sandbox.run('pwd; echo "[$lost]"; ls kept.txt').output
        == f"{sandbox.workdir}/src\n[]\nkept.txt\n"
    )
    next_command_works(sandbox)


def test_options_that_end_shells_last_like_any_other_state(sandbox: Sandbox) -> None:
    sandbox.run("set -e")
    ended = sandbox.run("echo before; false; echo after")
    assert (ended.output, ended.exit_code, ended.restarted) == ("before\n", 1, True)
    next_command_works(sandbox)
    sandbox.run("set -u")
    unset = sandbox.run("echo $no_such_variable; echo after")
    assert (
        unset.exit_code != 0 and "no_such_variable" in unset.output and "after" not in unset.output
    )
    next_command_works(sandbox)


def test_set_x_traces_the_commands_and_nothing_else(sandbox: Sandbox) -> None:
    sandbox.run("set -x")
    traced = sandbox.run("echo shown")
    assert re.fullmatch(r"\++ echo shown\nshown\n", traced.output)
    assert sandbox.run("set +x").exit_code == 0
    next_command_works(sandbox)


@pytest.mark.parametrize(
    "command",
    [
        "exec >/dev/null 2>&1",
        "exec 1>&- 2>&-",
        "exec <&-",
        "exec < /dev/zero",
        'for fd in /proc/$$/fd/*; do eval "exec ${fd##*/}>&-"; done',
        "trap 'echo noise' EXIT ERR RETURN; exit 1",
        (
            "printf() { :; }; read() { :; }; eval() { :; }; builtin() { :; }; echo() { :; "
            "}; return() { :; }; cd() { :; }; exec() { :; }"
        ),
        "enable -n printf read eval echo builtin",
        (
            "shopt -s expand_aliases; alias printf=false read=false eval=false "
            "builtin=false case=false"
        ),
        "IFS=0123456789abcdef; set -f",
        "PATH=/nowhere; unset HOME",
        "TMOUT=1",
        "set -o posix",
        "set -o noclobber; set -C; set -o noexec",
        "set -m; sleep 300 &",
        "ulimit -n 3",
        "ulimit -f 0",
        "return 5",
        "break 3; continue",
        "while :; do break 2; done",
        "kill -9 -1",
        "kill -STOP $$",
        (
            "readonly IFS REPLY PWD OLDPWD; readonly $(compgen -v | grep -i srl) $(compgen "
            "-v __); readonly -f $(compgen -A function)"
        ),
        "cat /proc/$$/fd/0",
        "mkdir gone; cd gone; rmdir ../gone",
        "bash -i </dev/null",
        "coproc cat",
        "echo \udc80",
        "stty -a; reset; tput clear",
    ],
)
def test_the_next_command_works(used_sandbox: Sandbox, command: str) -> None:
    """Whether the shell survived, or another one had to take its place."""
    first = used_sandbox.run(command, timeout=1)
    assert 0 <= first.exit_code <= 255
    next_command_works(used_sandbox)
    assert used_sandbox.run("exit").restarted


def test_traps_and_echoes_of_a_shell_show_the_commands_and_nothing_else(sandbox: Sandbox) -> None:
    sandbox.run("trap 'echo trapped' DEBUG")
    assert sandbox.run("echo shown", timeout=30).output == "trapped\nshown\n"
    sandbox.run("trap - DEBUG; set -v")
    assert sandbox.run("echo shown", timeout=30).output in ("shown\n", "echo shown\nshown\n")


# -- time-outs


@pytest.mark.parametrize(
    "command",
    [
        "sleep 300",
        "while :; do :; done",
        "sleep 300 & sleep 301",
        "set -m; sleep 300 & sleep 301 & wait",
        "setsid bash -c 'sleep 300 & sleep 301' & disown; wait; sleep 302",
        "trap '' TERM INT HUP QUIT; bash -c \"trap '' TERM; sleep 300; sleep 301\"",
        (
            "python3 -c 'import os, time; os.fork() and os._exit(0); os.setsid(); "
            "os.fork(); time.sleep(300)'; sleep 301"
        ),
    ],
)
def test_what_runs_too_long_is_killed_with_all_that_it_started(
    sandbox: Sandbox, command: str
) -> None:
    sandbox.run("cd src; lost=yes; touch kept.txt")
    late = sandbox.run(f"echo before; {command}; echo after", timeout=1)
    assert (late.output, late.exit_code, late.timed_out, late.restarted) == (
        "before\n",
        124,
        True,
        True,
    )
    assert late.seconds >= 1
    left = sandbox.run(PROCESSES).output
    assert "sleep" not in left and "python" not in left
    assert (
        sandbox.run('pwd; echo "[$lost]"; ls kept.txt').output
        == f"{sandbox.workdir}/src\n[]\nkept.txt\n"
    )
    next_command_works(sandbox)


# -- shells that commands left of no use


@pytest.mark.parametrize(
    "damage",
    [
        "ulimit -n 3",
        "ulimit -n 5",
        "rm -f /dev/null",
        "enable -n eval",
        "exec 62>&-",
        "builtin() { :; }",
    ],
)
def test_a_damaged_shell_is_replaced_and_no_command_is_lost(sandbox: Sandbox, damage: str) -> None:
    sandbox.run(damage, timeout=30)
    result = sandbox.run("echo works; exit 7", timeout=30)
    assert (result.output, result.exit_code) == ("works\n", 7)


BUILTINS = (
    ". : [ break builtin cd command continue declare echo enable eval exec exit export getopts "
    "local printf pwd read readonly return set shift shopt source test trap true type unset wait"
)


@pytest.mark.parametrize(
    "damage",
    [
        *(f"function {name} {{ :; }}" for name in BUILTINS.split()),
        *(f"shopt -s expand_aliases; alias {name}=false" for name in BUILTINS.split()),
        "shopt -s expand_aliases; alias if=false case=false then=false '{=false' '((=false'",
        *(f"enable -n {name}" for name in ("builtin", "read", "printf", "unset", "return", "test")),
        "for name in $(compgen -b); do enable -n $name; done",
        *("set -n", "set -o noexec", "echo x; set -nv", "set -n; sleep 300"),
        *("exec 62>&-", "exec 62<&-; echo x", "exec 62>/dev/full", "exec 1>&62 62>&-"),
        *("set -euo pipefail; false", "set -k", "set -r", "set -t", "set -o posix; set -x"),
        "shopt -s extdebug; trap 'false' DEBUG",
        *("trap 'exit 3' DEBUG", "trap 'exit 3' ERR; false", "trap 'exit 3' RETURN EXIT"),
        "trap 'unset -f $(compgen -A function)' DEBUG",
        *("exit", "exec true", "exec /no/such/program", "exec", "exec 0<&-", "logout", "suspend"),
        "PROMPT_COMMAND='exit 3'; PS1='$(exit)'; PS0=x; PS4='$(exit 4)'; set -x",
        "readonly $(compgen -v)",
        "readonly $(compgen -v | grep srl); readonly -f $(compgen -A function)",
        "unset -f $(compgen -A function); unset $(compgen -v)",
        "declare -i $(compgen -v)",
        "declare -u $(compgen -v); declare -n REPLY=IFS",
        "POSIXLY_CORRECT=1; BASH_ENV=/nowhere; ENV=/nowhere; SHELLOPTS=x",
        "unset IFS PATH PWD; IFS=srl_0123456789",
        "bash_source() { :; }; set -T -E; trap 'echo \"$BASH_COMMAND\" >&2' DEBUG RETURN ERR",
        "ulimit -t 1; while :; do :; done",
        *("exec 62>/dev/null", "exec 62>/tmp/x", "exec 62</etc/passwd", "exec 62>/dev/zero"),
        *("kill -STOP $$", "suspend -f", "bash -c 'kill -STOP $PPID; sleep 300'"),
        "trap '' CONT TERM; while :; do kill -STOP $$; done",
    ],
)
def test_no_damage_costs_a_time_out(sandbox: Sandbox, damage: str) -> None:
    hit = sandbox.run(f"kept=yes\n{damage}", timeout=120)
    assert not hit.timed_out
    result = sandbox.run("/bin/bash -c 'echo works >&2; exit 7'", timeout=120)
    assert "works\n" in result.output and result.exit_code == 7 and not result.timed_out


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("exec 62>&-; (exit 5)", 5),
        ("exec 62>/dev/null; (exit 5)", 5),
        ("kill -STOP $$", 137),
        ("enable -n printf; (exit 5)", 5),
    ],
)
def test_a_damaged_shell_loses_no_output_and_runs_nothing_twice(
    sandbox: Sandbox, damage: str, code: int
) -> None:
    hit = sandbox.run(f"echo before | tee -a /tmp/log; {damage}", timeout=120)
    assert (hit.output, hit.exit_code, hit.restarted) == ("before\n", code, True)
    assert sandbox.run("echo after >> /tmp/log; cat /tmp/log").output == "before\nafter\n"


@pytest.mark.parametrize(
    "place",
    [
        "",
        "touch $OLDPWD",
        "ln -s $OLDPWD $OLDPWD",
        "ln -s nowhere $OLDPWD",
        "mkdir $OLDPWD; chmod 000 $OLDPWD",
    ],
)
def test_a_shell_starts_wherever_the_repository_went(sandbox: Sandbox, place: str) -> None:
    sandbox.run(f"cd / && mv $OLDPWD /elsewhere; {place}")
    assert sandbox.run("exit 5").exit_code == 5
    next_command_works(sandbox)
    assert sandbox.list_files("/elsewhere", 0) == ["/elsewhere/"]


def test_an_end_that_the_command_forged_is_its_own_affair(sandbox: Sandbox) -> None:
    forge = (
        "for w in $(compgen -A function; compgen -v) $_; "
        'do printf \'\\0%s>abc\\0\\0%s>1:7:1:/tmp\\0\' "${w#__srl_}" "$w" >&62; '
        "done 2>/dev/null; true"
    )
    sandbox.run(forge)
    next_command_works(sandbox)


@pytest.mark.usefixtures("changeable_system")
def test_a_sandbox_without_a_shell_says_so(sandbox: Sandbox) -> None:
    sandbox.run("rm -f /bin/bash /usr/bin/bash; exit 3")
    for _ in range(2):
        result = sandbox.run("echo hello")
        assert result.exit_code == 127 and result.restarted and "hello" not in result.output
    sandbox.reset()
    next_command_works(sandbox)
