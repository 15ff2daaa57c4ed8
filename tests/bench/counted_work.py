"""The program whose instructions are counted: one piece of work, so many times.

python -m tests.bench.counted_work duplicate FILE 100
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import sys
import threading
from collections.abc import Callable

from loader.calls import FinitModule
from loader.config import Config
from loader.engine.threads import LiveKernel
from loader.errors import LoadError

Work = Callable[[], object]

_WARM = 20  # turns until Python has adapted its code to what it sees


def duplicate(path: str) -> Work:
    """One duplicate through the engine's API, by path."""
    engine = LiveKernel()
    engine.call(FinitModule(path))

    def work() -> None:
        try:  # noqa: SIM105 - as in bench_requests
            engine.call(FinitModule(path))
        except LoadError:
            pass

    return work


def control_line(path: str) -> Work:
    """One duplicate by a line of the control file, as the file system hands it on."""
    from tests.modfs.doors import Door

    door = Door()
    line = f"insmod {path}\n".encode()
    handle = door.files.open(door.name(), os.O_WRONLY)
    door.write(handle, line)

    def work() -> None:
        if door.write(handle, line) != errno.EEXIST:
            raise AssertionError("it is there already")

    return work


def caught_call(path: str) -> Work:
    """One duplicate by a caught call, from its notification to its answer.

    The caller is this thread, and no kernel waits for the answer.
    """
    from modfs.run import seccomp
    from modfs.run.intercept import Supervisor
    from modfs.run.own_views import OwnViews

    seccomp.is_valid = lambda listener, notification: True
    supervisor = Supervisor(-1, LiveKernel(), OwnViews("0:0"))
    fd = os.open(path, os.O_RDONLY)
    params = ctypes.create_string_buffer(b"")
    arguments = (fd, ctypes.addressof(params), 0, 0, 0, 0)
    call = seccomp.Notification(1, threading.get_native_id(), "finit_module", arguments)

    def work(keep: object = params) -> None:
        if supervisor._answer(call) != errno.EEXIST:
            raise AssertionError("it is there already")

    supervisor._answer(call)
    return work


def inspected(path: str) -> Work:
    """One file of a tree, as modfs inspect reads it."""
    from modfs.survey import Survey

    config = Config()
    survey = Survey(config, [config.machine])
    return lambda: survey.one(path)


WORKS: dict[str, Callable[[str], Work]] = {
    "duplicate": duplicate,
    "control_line": control_line,
    "caught_call": caught_call,
    "inspected": inspected,
}


def main(name: str, path: str, times: str) -> None:
    if "valgrind" in os.environ.get("LD_PRELOAD", ""):
        _without_new_calls()
    work = WORKS[name](path)
    gc.disable()  # a turn in which it ran would not be like the others
    for _ in range(_WARM + int(times)):
        work()
    os._exit(0)  # threads and what ends at exit are nobody's work


def _without_new_calls() -> None:
    """valgrind knows no system calls of some years ago, and says ENOSYS: old ones do as well."""
    from modfs import linux
    from modfs.control import home

    def openat2(folder: int, path: str, flags: int, resolve: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC)

    os.pidfd_open = lambda pid, flags=0: os.open(os.devnull, os.O_RDONLY)
    linux._pidfd_getfd = lambda number, pidfd, fd, flags: os.dup(fd)
    home.__dict__["openat2"] = openat2


if __name__ == "__main__":
    main(*sys.argv[1:])
