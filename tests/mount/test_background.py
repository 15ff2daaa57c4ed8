"""What a server in the background keeps of who started it, and where it writes its log."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.engine.log import KernelLog
from modfs.mount import background_server
from modfs.mount.log_file import open_log
from tests.mount.conftest import wait_for
from tests.mount.test_ends import run, server

NOBODY = 65534


def test_nothing_of_the_caller_s_stays_open(workshop: Path, environment: dict[str, str]) -> None:
    mount, locked = workshop / "mount", workshop / "locked"
    mount.mkdir()
    ours, theirs = socket.socketpair()
    with locked.open("w") as file, ours, theirs:
        fcntl.flock(file, fcntl.LOCK_EX)
        subprocess.run(
            ["modfs", "mount", "--log", workshop / "log", mount],
            env=environment,
            pass_fds=[file.fileno(), theirs.fileno()],
            check=True,
        )
        opened = Path(f"/proc/{server(mount)}/fd")
        found = {fd.name: os.readlink(fd) for fd in opened.iterdir()}
        theirs.close()
        assert ours.recv(1) == b""  # nobody else has the other end
    assert [found[number] for number in "012"] == ["/dev/null"] * 3
    assert not {str(locked)} & set(found.values())
    with locked.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_make_reads_may_be_a_descriptor_of_the_caller_s(
    workshop: Path, environment: dict[str, str], environment_file: Path
) -> None:
    mount = workshop / "mount"
    mount.mkdir()
    script = f"modfs mount --environment /dev/fd/9 {mount} 9< {environment_file}"
    done = run(environment, "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert "9" not in os.listdir(f"/proc/{server(mount)}/fd")


def test_signals_that_the_caller_had_blocked_end_the_server(
    workshop: Path, environment: dict[str, str]
) -> None:
    mount = workshop / "mount"
    mount.mkdir()
    script = (
        "import signal, subprocess, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "sys.exit(subprocess.call(sys.argv[1:]))\n"
    )
    assert run(environment, "python3", "-c", script, "modfs", "mount", mount).returncode == 0
    process = server(mount)
    status = Path(f"/proc/{process}/status").read_text()
    assert "SigBlk:\t0000000000000000\n" in status
    assert "Umask:\t0077\n" in status
    assert os.readlink(f"/proc/{process}/cwd") == "/"


# -- the log --------------------------------------------------------------------------------------


def test_a_log_is_its_owner_s(mounted: Callable[..., Path], workshop: Path) -> None:
    log = workshop / "log"
    mounted("--log", log)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    before = log.read_text()
    mounted("--log", log)
    assert log.read_text().startswith(before)


def _link(log: Path) -> None:
    (log.parent / "target").touch()
    log.symlink_to("target")


def _dangling(log: Path) -> None:
    log.symlink_to("target")


def _second_name(log: Path) -> None:
    (log.parent / "target").touch()
    log.hardlink_to(log.parent / "target")


def _another_s(log: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make a file another's")
    log.touch()
    os.chown(log, NOBODY, NOBODY)


def _pipe(log: Path) -> None:
    os.mkfifo(log)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_link, "it is a symbolic link, which others may have put there"),
        (_dangling, "it is a symbolic link, which others may have put there"),
        (_second_name, "it has a second name, by which others may read it"),
        (_another_s, "it is another user's file"),
        (_pipe, "it is a pipe that nobody reads"),
    ],
)
def test_what_others_may_have_put_there_is_no_log(
    workshop: Path, environment: dict[str, str], plant: Callable[[Path], None], said: str
) -> None:
    (workshop / "mount").mkdir()
    plant(workshop / "log")
    done = run(environment, "modfs", "mount", "--log", workshop / "log", workshop / "mount")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.endswith(f"{workshop}/log: {said}\n")
    target = workshop / "target"
    assert not target.exists() or not target.read_bytes()


def test_a_device_is_a_log() -> None:
    os.close(open_log("/dev/null"))


def test_a_log_that_was_moved_away(mounted: Callable[..., Path], workshop: Path) -> None:
    log = workshop / "log"
    process = server(mounted("--log", log, "-v"))
    log.rename(workshop / "log.1")
    os.kill(process, signal.SIGHUP)
    wait_for(log.exists)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    os.kill(process, signal.SIGTERM)
    wait_for(lambda: "unmounted" in log.read_text())
    assert "unmounted" not in (workshop / "log.1").read_text()


def test_a_log_that_cannot_be_opened_anew(mounted: Callable[..., Path], workshop: Path) -> None:
    log = workshop / "log"
    mount = mounted("--log", log)
    log.rename(workshop / "log.1")
    log.symlink_to("elsewhere")
    os.kill(server(mount), signal.SIGHUP)
    wait_for(lambda: "cannot be opened anew" in (workshop / "log.1").read_text())
    assert "Mods ever loaded" in (mount / "stats").read_text()


# -- what supervisors want -------------------------------------------------------------------------


def test_a_pid_file(mounted: Callable[..., Path], workshop: Path) -> None:
    mount = mounted("--pid-file", workshop / "pid")
    process = server(mount)
    assert (workshop / "pid").read_text() == f"{process}\n"
    os.kill(process, signal.SIGTERM)
    wait_for(lambda: not (workshop / "pid").exists())


def test_a_service_manager_is_told(workshop: Path, environment: dict[str, str]) -> None:
    mount = workshop / "mount"
    mount.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(workshop / "notify"))
        manager.settimeout(30)
        told = environment | {"NOTIFY_SOCKET": str(workshop / "notify")}
        with subprocess.Popen(["modfs", "mount", "--foreground", mount], env=told) as process:
            assert manager.recv(4096).decode() == f"READY=1\nSTATUS=6.12 on {mount}"
            assert (mount / "stats").exists()
            process.terminate()
            assert manager.recv(4096) == b"STOPPING=1"
    assert process.returncode == 0


# -- what the kernel logs, in the log --------------------------------------------------------------


def test_lines_that_nobody_writes_away_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(queue.Queue, "put_nowait", _counting(kept))
    log = KernelLog()
    log.listener = background_server._forward_kernel_log()
    for number in range(20_000):
        log.write(str(number))
    assert len(kept) == 10_000
    assert log.lines()[-1] == "19999"


def _counting(kept: list[str]) -> Callable[..., None]:
    put = queue.Queue.put_nowait

    def counting(self: queue.Queue[str], line: str) -> None:
        put(self, line)
        kept.append(line)

    return counting
