"""modfs top in a terminal: drawn, typed at, resized, and left as it was, whatever ends it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pyte
import pytest

from modfs.top.batch import top_schema
from tests.mount.conftest import request, wait_for, writers
from tests.mount.test_ends import server


class Terminal:
    """A pseudo-terminal with a program in it, and what a person sees."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._set_size(24, 80)
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self._theirs = theirs
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _set_size(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return
            self.raw += data
            self._stream.feed(data)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def resize(self, lines: int, columns: int) -> None:
        self.screen.resize(lines, columns)
        self._set_size(lines, columns)

    def shows(self, text: str) -> bool:
        return any(text in line for line in list(self.screen.display))

    def row(self, name: str) -> str:
        """That of a module; empty without one."""
        lines = list(self.screen.display)
        return next((line for line in lines if line.startswith(f"{name} ")), "")

    @property
    def is_given_back(self) -> bool:
        """Its settings are those of before, the cursor is shown, the other screen is left."""
        same = termios.tcgetattr(self._theirs)[:4] == self.before[:4]
        return same and self.raw.rfind(b"\x1b[?1049l") > self.raw.rfind(b"\x1b[?1049h") >= 0

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        self._reader.join(20)
        os.close(self._ours)


@contextmanager
def top(environment: dict[str, str], *words: str | Path, term: str = "xterm") -> Iterator[Terminal]:
    command = ["modfs", "top", *map(str, words)]
    terminal = Terminal(command, {**environment, "TERM": term})
    try:
        yield terminal
    finally:
        terminal.close()


def test_a_storm(
    mounted: Callable[..., Path],
    make: Callable[..., Path],
    environment: dict[str, str],
    environment_file: Path,
) -> None:
    mount = mounted("--environment", environment_file, "--kernel", "6.4")
    module = make("m")
    request(mount, f"insmod {module}")
    with writers(mount, [f"insmod {make('stuck')}"]):
        try:
            with top(environment, mount) as terminal:
                look_at(terminal, mount, module)
        finally:
            os.kill(server(mount), signal.SIGTERM)


def look_at(terminal: Terminal, mount: Path, module: Path) -> None:
    """A person at the terminal, while one request waits."""
    wait_for(lambda: terminal.shows("WAITING (1)"))
    wait_for(lambda: terminal.shows(f"[{os.getpid()}] insmod") and terminal.shows("loaded 1"))
    for _ in range(3):
        request(mount, f"insmod {module}")
    wait_for(lambda: terminal.shows("becoming 3"))
    wait_for(lambda: "3" in terminal.row("m").split())  # a screen comes in pieces
    terminal.type(b"v")
    wait_for(lambda: terminal.shows("WHO"))
    terminal.type(b"n")
    wait_for(lambda: terminal.shows("WHO*"))
    terminal.type(b"h")
    wait_for(lambda: terminal.shows("leave"))
    terminal.type(b"h ")
    wait_for(lambda: terminal.shows("STOPPED"))
    terminal.resize(10, 50)
    wait_for(lambda: any("WHO*" in line for line in terminal.screen.display[:5]))
    assert len(terminal.screen.display) == 10
    terminal.type(b"q")
    assert terminal.process.wait(20) == 0
    wait_for(lambda: terminal.is_given_back)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals(
    mounted: Callable[..., Path], environment: dict[str, str], number: signal.Signals, status: int
) -> None:
    mount = mounted()
    with top(environment, mount) as terminal:
        wait_for(lambda: terminal.shows("loaded 0"))
        os.kill(terminal.process.pid, number)
        assert terminal.process.wait(20) == status
        wait_for(lambda: terminal.is_given_back)


@pytest.mark.parametrize("how", ["TERM", "KILL", "umount"])
def test_a_mount_that_goes_away(
    mounted: Callable[..., Path], environment: dict[str, str], how: str
) -> None:
    mount = mounted()
    with top(environment, mount, "--delay", "0.2") as terminal:
        wait_for(lambda: terminal.shows("loaded 0"))
        if how == "umount":
            subprocess.run(["modfs", "umount", "--lazy", mount], env=environment, check=True)
        else:
            os.kill(server(mount), signal.Signals[f"SIG{how}"])
        assert terminal.process.wait(20) == 0
        wait_for(lambda: terminal.is_given_back)
        assert b"it is there no longer" in terminal.raw


def test_a_server_that_is_stopped(
    mounted: Callable[..., Path], environment: dict[str, str]
) -> None:
    """It says so, goes on when the server does, and Ctrl-C ends it meanwhile."""
    mount = mounted()
    process = server(mount)
    with top(environment, mount, "--delay", "0.2") as terminal:
        wait_for(lambda: terminal.shows("loaded 0"))
        os.kill(process, signal.SIGSTOP)
        try:
            wait_for(lambda: terminal.shows("NO ANSWER for"))
            os.kill(process, signal.SIGCONT)
            wait_for(lambda: not terminal.shows("NO ANSWER"))
            os.kill(process, signal.SIGSTOP)
            wait_for(lambda: terminal.shows("NO ANSWER for"))
            terminal.type(b"\x03")
            assert terminal.process.wait(20) == 130
            wait_for(lambda: terminal.is_given_back)
        finally:
            os.kill(process, signal.SIGCONT)


def test_a_terminal_that_is_dumb(mounted: Callable[..., Path], environment: dict[str, str]) -> None:
    mount = mounted()
    with top(environment, mount, "--delay", "0.2", term="dumb") as terminal:
        wait_for(lambda: terminal.raw.count(b"modfs top  ") >= 3)
        assert b"\x1b" not in terminal.raw
        terminal.type(b"\x03")
        assert terminal.process.wait(20) == 130


def test_batch_and_json(
    mounted: Callable[..., Path], make: Callable[..., Path], environment: dict[str, str]
) -> None:
    mount = mounted("--kernel", "6.4")
    module = make("m")
    request(mount, f"insmod {module}")
    request(mount, f"insmod {module}")
    words = ["modfs", "top", str(mount), "-n", "2", "-d", "0.1"]
    done = subprocess.run([*words, "--batch"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("modfs top  ") == 2
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    done = subprocess.run([*words, "--json"], env=environment, capture_output=True, text=True)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == 2
    for report in reports:
        jsonschema.validate(report, top_schema())
    assert reports[1]["failed"]["becoming"] == 1 and reports[1]["kernel"] == "6.4"
    for report in reports:  # the first one, too, has the events of before
        row = report["rows"][0]
        assert (row["name"], row["calls"], row["failed"]) == ("m", 2, 1)
        assert row["wasted_bytes"] == report["wasted_bytes"] == module.stat().st_size
        assert report["events"] == 2 and len(report["failures"]) == 1


def test_all_events_come(
    mounted: Callable[..., Path], make: Callable[..., Path], environment: dict[str, str]
) -> None:
    """A storm while it looks: its sums are the kernel's counters at the end."""
    mount = mounted("--kernel", "6.4")
    module = make("m")
    words = ["modfs", "top", str(mount), "--json", "-d", "0.1"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(20):
            request(mount, *[f"insmod {module}"] * 50)
        report = {}
        for line in process.stdout:
            report = json.loads(line)
            # The statistics of a report may be some moments older than its events.
            if report["events"] == 1000 and report["failed"]["becoming"] == 999:
                break
        os.kill(process.pid, signal.SIGINT)
        process.stdout.read()
    assert (report["failed"]["becoming"], report["events_lost"]) == (999, 0)
    assert report["rows"][0]["wasted_bytes"] == report["wasted_bytes"] > 0


def test_what_is_no_mount(environment: dict[str, str], tmp_path: Path) -> None:
    for place, told in (
        (tmp_path, f"{tmp_path}/stats: there is no such file or folder"),
        (tmp_path / "x", f"{tmp_path}/x/stats: there is no such file or folder"),
    ):
        command = ["modfs", "top", str(place), "--batch"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, f"modfs top: {told}\n")
    (tmp_path / "stats").write_text("x\n")
    done = subprocess.run(
        ["modfs", "top", tmp_path, "-n", "1", "-b"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "stats, line 1: " in done.stderr
