"""Who makes a caught call, as the engine's events have it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from loader.calls import Caller, Origin, Task
from loader.engine.threads import LiveKernel
from loader.observe.call import ModuleRequest
from loader.observe.of_engine import observed
from modfs.run.autoload import Autoload
from modfs.run.origins import origin_of, task_of
from modfs.run.seccomp import Notification


def test_a_thread_s_name() -> None:
    names: list[Task] = []
    kernels: list[str] = []

    def named() -> None:
        with open("/proc/thread-self/comm", "w") as file:
            file.write("a b)c\n1\\")
        names.append(task_of(threading.get_native_id()))
        kernels.append(Path("/proc/thread-self/status").read_text().partition("\n")[0])

    thread = threading.Thread(target=named)
    thread.start()
    thread.join()
    assert names[0].name == "a b)c\\n1\\\\"
    assert kernels == [f"Name:\t{names[0].name}"]
    assert task_of(1 << 30) == Task("?", 1 << 30)
    assert origin_of(1 << 30, lambda tid: f"for {tid}").asked_by == f"for {1 << 30}"


def test_a_call_s_request_is_an_event() -> None:
    """With its task, the string, the function that asked, wait, result, and how long it waited."""
    live = LiveKernel()
    events: list[Any] = []
    live.kernel.listener = events.append
    scout: Any = None
    autoload = Autoload(live, scout, lambda *_: None)
    caller = Caller(origin=lambda: Origin(Task("callers", 313)))
    autoload.look(Notification(1, os.getpid(), "socket", (3, 1, 0, 0, 0, 0)), caller)
    event = observed(events[0])
    assert isinstance(event, ModuleRequest) and event.task == Task("callers", 313)
    assert (event.module, event.function) == ("net-pf-3", "__sock_create")
    assert (event.wait, event.result, event.slot_wait) == (True, 256, 0)


def test_a_program_that_becomes_another() -> None:
    """With the same number and name: a shell's command line changes when it executes a shell."""
    script = 'read x; exec sh -c "read x; echo $x" other'
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        while not (first := task_of(process.pid)).command:  # it is being executed
            time.sleep(0.001)
        assert task_of(process.pid) is first  # nothing is asked again
        process.stdin.write("\n")
        process.stdin.flush()
        while not (second := task_of(process.pid)).command or second == first:
            time.sleep(0.001)
        process.stdin.write("\n")
    assert (first.name, second.name) == ("sh", "sh")
    assert first.command == f"sh -c {script}" and str(second.command).endswith("other")
    assert first.uid == os.getuid()
