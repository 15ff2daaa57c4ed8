"""The sandbox: what passes through, what is seen, what is left behind."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import MARK
from tests.mount.conftest import wait_for
from tests.run.conftest import Done, stats
from tests.unprivileged import run_as_nobody

Run = Callable[..., Done]
STATS = "cat /sys/kernel/debug/modules/stats"


def nothing_is_left() -> bool:
    """No server of these tests runs, and the host has no mount of ours."""
    mounts = Path("/proc/self/mounts").read_text()
    return "/sys/kernel/debug/.modfs" not in mounts and not any(
        b"\0run\0" in command for command in commands_of_these_tests()
    )


def commands_of_these_tests() -> Iterator[bytes]:
    """The command lines of all programs that they started and that still run."""
    mark = f"{MARK}={os.getpid()}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield (folder / "cmdline").read_bytes()


@pytest.mark.parametrize("status", [0, 7, 255])
def test_exit_status(run: Run, status: int) -> None:
    assert run(f"exit {status}").returncode == status


def test_signals_are_the_command_s(run: Run) -> None:
    assert run("kill -TERM $$").returncode == -signal.SIGTERM
    assert run("kill -KILL $$").returncode == -signal.SIGKILL


def test_pipes_end_as_usual(run: Run) -> None:
    done = run("yes | head -n 1; echo ${PIPESTATUS[0]}", shell="bash")
    assert (done.stdout, done.stderr) == ("y\n141\n", "")


@pytest.mark.parametrize("name", ["INT", "TERM", "USR1"])
def test_signals_for_modfs_run_reach_the_command(
    environment: dict[str, str], name: str, tmp_path: Path
) -> None:
    script = f"trap 'echo got {name}; exit 3' {name}; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        ["modfs", "run", "--", "sh", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.communicate(timeout=30)[0] == f"got {name}\n"
    assert process.returncode == 3


def test_mistakes_are_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("[]")
    for words, said in (
        (
            ["--environment", str(tmp_path / "broken.json"), "--", "true"],
            "broken.json, line 1: a table",
        ),
        (["--kernel", "5.1", "--", "true"], "6.4 is the first"),
        (["--", "modfs", "run", "--", "true"], "no modfs run in a modfs run"),
    ):
        done = subprocess.run(
            ["modfs", "run", *words], env=environment, capture_output=True, text=True
        )
        assert done.returncode in (2, 125, 126)
        assert said in done.stderr and done.stderr.count("\n") == 1


def test_without_the_capability(run: Run) -> None:
    done = run("setpriv --bounding-set -sys_module insmod $TREE/kernel/base.ko; lsmod | wc -l")
    assert "Operation not permitted" in done.stderr
    assert done.stdout == "1\n"


def test_a_command_that_is_not_there(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    for name, status in (("no-such-command", 127), (str(tmp_path / "plain"), 126)):
        done = subprocess.run(["modfs", "run", "--", name], env=environment, capture_output=True)
        assert done.returncode == status
        assert done.stderr.count(b"\n") == 1


def test_streams_and_folder(run: Run, tmp_path: Path) -> None:
    done = run("pwd; echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (f"{tmp_path}\nout\n", "err\n")


def test_terminal(environment: dict[str, str]) -> None:
    """With no command a shell, on the terminal, that can be interrupted."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("modfs", ["modfs", "run"], environment | {"SHELL": "/bin/sh", "PS1": "> "})
    said = b""

    def read_until(text: bytes) -> None:
        nonlocal said
        deadline = time.monotonic() + 30
        while text not in said:
            assert time.monotonic() < deadline
            said += os.read(terminal, 1000)

    read_until(b"> ")
    os.write(terminal, b"tty; sleep 100\n")
    read_until(b"/dev/pts/")
    time.sleep(0.3)  # for sleep to start
    os.write(terminal, b"\x03")
    os.write(terminal, b"head -c 25 /sys/kernel/debug/modules/stats\nexit 5\n")
    read_until(b"Mods ever loaded")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 5
    os.close(terminal)


def test_what_programs_see(run: Run) -> None:
    done = run(
        "ls /lib/modules; uname -r; cat /proc/sys/kernel/modprobe /sys/module/compression;"
        " ls /sys/module; cat /proc/self/comm"
    )
    lines = done.stdout.splitlines()
    assert lines[0] == lines[1]
    assert lines[2:6] == ["/sbin/modprobe", "zstd", "compression", "cat"]


def test_proc_stays_when_debugfs_is_mounted(run: Run) -> None:
    """Over what the sandbox itself uses there."""
    done = run(
        "mount -t debugfs none /sys/kernel/debug; cat /proc/self/comm; readlink /proc/self/exe;"
        " readlink /proc/self; modprobe top && lsmod | wc -l && wc -l </proc/modules"
    )
    lines = done.stdout.split()
    assert lines[:2] == ["cat", os.path.realpath(shutil.which("readlink") or "")]
    assert lines[2].isdigit()
    assert lines[3:] == ["4", "3"]


def test_ps_finds_its_order(run: Run) -> None:
    done = run("ls -U /proc | grep '^[0-9]'")
    numbers = list(map(int, done.stdout.split()))
    assert numbers == sorted(numbers)


def test_modules_can_be_disabled(run: Run) -> None:
    done = run(
        "modprobe base; cd /proc/sys/kernel; echo /bin/true >modprobe && cat modprobe;"
        " echo 1 >modules_disabled && cat modules_disabled; modprobe top; rmmod base; lsmod | wc -l"
    )
    assert done.stdout.split() == ["/bin/true", "1", "2"]
    assert done.stderr.count("Operation not permitted") >= 2


def test_sys_module(run: Run) -> None:
    done = run(
        "modprobe top; cd /sys/module; cat middle/initstate middle/refcnt middle/initsize"
        " middle/parameters/n; ls middle middle/holders; readlink -f base/holders/middle"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines[:4] == ["live", "1", "0", "3"]
    assert {"coresize", "taint", "holders", "parameters", "sections"} <= set(lines)
    assert lines[-2:] == ["top", "/sys/module/middle"]


def test_stats_file(run: Run, tmp_path: Path) -> None:
    run("modprobe top", options=("--stats", "final"))
    assert stats((tmp_path / "final").read_text())["Mods ever loaded"] == 3


def test_options_describe_the_kernel(run: Run) -> None:
    done = run(f"insmod $TREE/kernel/base.ko; insmod $TREE/kernel/base.ko; {STATS}",
               options=("--kernel", "6.4", "--without", "early-check"))  # fmt: skip
    assert stats(done.stdout)["Mods failed on load"] == 1


def test_a_killed_caller_is_forgotten(run: Run) -> None:
    done = run("insmod $TREE/kernel/stuck.ko & sleep 1; cp $TREE/kernel/stuck.ko copy.ko;"
               " insmod copy.ko & second=$!; sleep 0.5; kill -9 $second; wait $second; echo $?;"
               f" kill -9 %1; insmod $TREE/kernel/base.ko; {STATS}", shell="bash")  # fmt: skip
    assert done.stdout.startswith("137\n")
    found = stats(done.stdout)
    assert (found["Mods ever loaded"], found["Mods failed on becoming"]) == (1, 1)


def test_background_programs_keep_the_sandbox(run: Run, tmp_path: Path) -> None:
    begun = time.monotonic()
    done = run("(sleep 2; modprobe top; echo done > late) </dev/null >/dev/null 2>&1 &")
    assert done.returncode == 0
    assert time.monotonic() - begun < 60  # did not hang; the job goes on by itself
    wait_for(lambda: (tmp_path / "late").exists())
    wait_for(nothing_is_left)


@pytest.mark.parametrize("victim", ["server", "command"])
def test_a_crash_leaves_nothing(environment: dict[str, str], victim: str) -> None:
    process = subprocess.Popen(
        ["modfs", "run", "--", "sleep", "1000"], env=environment, stdin=subprocess.DEVNULL
    )
    wait_for(lambda: len(_children(process.pid)) == 2 and "sleep" in _names(process.pid))
    names = {_name(pid): pid for pid in _children(process.pid)}
    other = next(pid for name, pid in names.items() if name != "sleep")
    os.kill(other if victim == "server" else names["sleep"], signal.SIGKILL)
    if victim == "server":
        os.kill(names["sleep"], signal.SIGTERM)
    process.wait(30)
    wait_for(nothing_is_left)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _names(pid: int) -> list[str]:
    return [_name(child) for child in _children(pid)]


def test_joining_a_mount(
    mounted: Callable[..., Path],
    trees: dict[str, Path],
    environment: dict[str, str],
) -> None:
    mount = mounted("--modules", trees["ko"])
    words = ["modfs", "run", "--mount", str(mount), "--modules", str(trees["ko"]), "--"]
    first = subprocess.run([*words, "modprobe", "top"], env=environment, capture_output=True)
    assert first.returncode == 0, first.stderr
    assert stats((mount / "stats").read_text())["Mods ever loaded"] == 3
    script = f"lsmod | wc -l; insmod {trees['ko']}/kernel/top.ko; rmmod top; {STATS}"
    second = subprocess.run([*words, "sh", "-c", script], env=environment, capture_output=True)
    assert second.stdout.startswith(b"4\n")
    assert b"File exists" in second.stderr
    assert stats(second.stdout.decode())["Mods failed on becoming"] == 1
    assert "top" not in (mount / ".control/proc_modules").read_text()


UNPRIVILEGED = """
modfs run --modules "$1/tree" -- sh -c 'id -u; modprobe top && lsmod | wc -l'
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user(
    trees: dict[str, Path], open_folder: Path, environment: dict[str, str]
) -> None:
    shutil.copytree(trees["ko"], open_folder / "tree")
    done = run_as_nobody(UNPRIVILEGED, open_folder, environment)
    if "user namespaces are not allowed" in done.stderr:
        pytest.skip("this machine allows no user namespaces")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "4"]


def test_what_is_unmounted_outside_is_gone_inside(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Where mounts are shared, as systemd makes them: else its server would not end."""
    script = """
        mkdir m && modfs mount --kernel 6.12 m && server=$(cat m/.control/server)
        mkfifo go && modfs run -- sh -c 'cat m/stats > /dev/null && echo up && read line < go' |
            { read line; fusermount -u m; timeout 20 tail -f /dev/null --pid=$server; echo $line $?
              echo > go; }
    """
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "shared", "sh", "-c", script],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("up 0\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root")
def test_in_a_chroot_it_stays_there(environment: dict[str, str], tmp_path: Path) -> None:
    """Who enters a mount namespace gets the root of that, which is outside of a chroot."""
    script = """
        mkdir root && mount --rbind / root && mount -t tmpfs none root/mnt && : > root/mnt/inside
        exec chroot root modfs run -- ls /mnt
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("inside\n", "")
