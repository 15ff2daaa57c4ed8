"""Who a task is, by this machine's /proc."""

from __future__ import annotations

import os
import subprocess
import sys

from loader.calls import Task
from modfs.who import describe


def test_a_process_that_is_there() -> None:
    command = [sys.executable, "-c", "input(1)", "a b"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.read(1) == b"1"  # it runs by now
        found = describe(Task("python3", process.pid))
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
    assert describe(task) == task
