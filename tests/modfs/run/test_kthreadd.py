"""Real programs as helpers: the transcript's scripts, what each ends with, what it is given."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.engine.kmod import ERESTARTSYS
from loader.engine.threads import LiveKernel
from modfs.run.kthreadd import Kthreadd
from tests.conftest import PROJECT
from tests.loader.engine.test_kmod import BUSY
from tests.loader.engine.test_kmod_threads import Signals, in_thread

SCRIPTS = {
    "exit0": b"#!/bin/sh\nexit 0\n",
    "exit3": b"#!/bin/sh\nexit 3\n",
    "kill9": b"#!/bin/sh\nkill -9 $$\n",
    "segv": b"#!/bin/sh\nulimit -c 0\nkill -SEGV $$\n",
    "badfmt": b"echo no interpreter\n",
    "badbin": bytes((1, 2, 3, 4, 5)),
    "badinterp": b"#!/nonexistent/sh\n",
    "sleep": b"#!/bin/sh\nsleep 0.3\necho end >> ${0%/*}/ends\n",
    "flood": b"#!/bin/sh\nyes 2>/dev/null | head -c 10000000\nexit 0\n",
    "info": b"""#!/bin/sh
exec > ${0%/*}/told
echo $0 "$@"
tr '\\0' ' ' < /proc/self/environ; echo
pwd; umask; id -u; id -g; ls /proc/$$/fd | tr '\\n' ' '; echo
grep -E '^(SigBlk|NoNewPrivs)' /proc/self/status
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in SCRIPTS.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "noexec").write_bytes(SCRIPTS["exit0"])
    return tmp_path


@pytest.fixture
def live() -> Iterator[LiveKernel]:
    live = LiveKernel(pace=20)
    kthreadd = Kthreadd()
    live.autoload.programs = kthreadd
    yield live
    kthreadd.close()
    os.waitpid(kthreadd.pid, 0)


def ask(live: LiveKernel, path: Path | str, string: str = "foo", wait: bool = True) -> int:
    live.kmod.modprobe_path = str(path)
    return live.request_module(string, wait=wait)


@pytest.mark.parametrize(
    "name, result",
    [
        ("exit0", 0),
        ("exit3", 768),
        ("kill9", 9),
        ("segv", 11),
        ("nonexistent", -2),
        ("noexec", -13),
        (".", -13),
        ("badfmt", -8),
        ("badinterp", -2),
        ("exit3 -x", -2),
        ("flood", 0),
    ],
)
def test_results(live: LiveKernel, folder: Path, name: str, result: int) -> None:
    """[E2]"""
    assert ask(live, folder / name) == result
    assert ask(live, folder / name, wait=False) == min(0, result)


def test_a_relative_path_is_from_the_root(live: LiveKernel) -> None:
    assert ask(live, "relative") == -2
    assert ask(live, "bin/true") == 0


def test_recursion(live: LiveKernel, folder: Path) -> None:
    """[F1]"""
    assert ask(live, folder / "badbin") == -errno.ENOEXEC
    assert live.kernel.log.lines() == (BUSY.format("binfmt-0403"),)


def test_what_a_helper_is_given(live: LiveKernel, folder: Path) -> None:
    """[E2 argv env] Descriptor 0 is the shell's own: the script."""
    assert ask(live, folder / "info", "we ird;$name \udcff") == 0
    lines = (folder / "told").read_bytes().decode("utf-8", "surrogateescape").splitlines()
    assert lines[0] == f"{folder}/info -q -- we ird;$name \udcff"
    assert set(lines[1].split()) >= {
        *("HOME=/", "TERM=linux", "PATH=/sbin:/usr/sbin:/bin:/usr/bin"),
    }
    assert lines[2:6] == ["/", "0022", str(os.geteuid()), str(os.getegid())]
    assert lines[7:] == ["SigBlk:\t0000000000000000", "NoNewPrivs:\t0"]


def test_a_killed_caller_leaves_its_helper(live: LiveKernel, folder: Path) -> None:
    """[F2]"""
    live.kmod.modprobe_path = str(folder / "sleep")
    signals = Signals(live)
    thread, results = in_thread(lambda: live.request_module("m", signals.caller))
    while not live.autoload.running:
        time.sleep(0.001)
    signals.send(fatal=True)
    thread.join()
    assert results == [-ERESTARTSYS] and not (folder / "ends").exists()
    while not (folder / "ends").exists():
        time.sleep(0.01)


def test_whom_a_call_is_for(live: LiveKernel, folder: Path) -> None:
    """A helper's own processes are for its request, nobody else's are."""
    script = b"#!/bin/sh\nsh -c 'sleep 0.5 & echo $! > ${0%/*}/pid; wait' $0\n"
    (folder / "nested").write_bytes(script)
    (folder / "nested").chmod(0o755)
    live.kmod.modprobe_path = str(folder / "nested")
    thread, _ = in_thread(lambda: live.request_module("fs-what"))
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        time.sleep(0.001)
    kthreadd = live.autoload.programs
    assert isinstance(kthreadd, Kthreadd)
    pid = int((folder / "pid").read_text())
    assert kthreadd.asked_by(pid) == "fs-what"
    assert kthreadd.asked_by(os.getpid()) is kthreadd.asked_by(1 << 30) is None
    thread.join()
    assert kthreadd.asked_by(pid) is None


def test_many_at_once(live: LiveKernel, folder: Path) -> None:
    live.kmod.modprobe_path = str(folder / "exit3")
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(live.request_module("m"))) for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [768] * 40


def test_who_cannot_prepare_is_told() -> None:
    script = (
        "from modfs.run.kthreadd import Kthreadd\n"
        "def prepare(): raise OSError(13, '')\n"
        "try: Kthreadd(prepare)\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True)
    assert done.stdout == b"13\n", done.stderr
