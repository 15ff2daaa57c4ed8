"""Who a task is, by this machine's /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from loader.calls import Task
from modfs.who import Who


def test_a_process_that_is_there() -> None:
    command = [sys.executable, "-c", "input(1)", "a b"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.read(1) == b"1"  # it runs by now
        found = Who()(Task("python3", process.pid), 0)
    finally:
        process.communicate(b"\n")
    assert found.parent == os.getpid()
    assert found.command == f"{sys.executable} -c input(1) a b"
    assert found.exe == os.path.realpath(sys.executable)
    assert found.uid == os.getuid()


def test_one_that_has_gone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    task = Task("true", process.pid, exe="/bin/true")
    assert Who("boot")(task, 1e9) == task


def test_another_that_has_its_number_since() -> None:
    """Who began after the call has not made it; by the clock that /proc has as well."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        task = Task("sleep", process.pid)
        assert Who("boot")(task, now + 1).uid == os.getuid()
        assert Who("boot")(task, now - 60) == task
        assert Who("global")(task, now - 60).uid == os.getuid()
    finally:
        process.kill()
        process.wait()
