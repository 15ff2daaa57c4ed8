"""Who makes a caught call, for people: its task, and the request of the kernel's that it is for."""

from __future__ import annotations

import os
from collections.abc import Callable

from loader.calls import Origin, Task

_COMM_MAX = 64  # bytes: of a thread it is 16, of a kernel thread more


def task_of(tid: int) -> Task:
    """Its name as /proc/TID/status has it, in one line; "?" where it has gone."""
    return Task(_name(tid), tid)


def origin_of(tid: int, asked_by: Callable[[int], str | None] | None = None) -> Origin:
    """``asked_by``: see Kthreadd.asked_by."""
    return Origin(task_of(tid), asked_by=None if asked_by is None else asked_by(tid))


def _name(tid: int) -> str:
    try:
        file = os.open(f"/proc/{tid}/comm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "?"
    try:
        comm = os.read(file, _COMM_MAX).removesuffix(b"\n")
    except OSError:
        return "?"
    finally:
        os.close(file)
    # Any bytes: a program gives itself its name.
    escaped = comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return escaped.decode("utf-8", "backslashreplace")
