"""Who makes a caught call, for people: its task, and the request of the kernel's that it is for.

All that /proc says of a task takes several times as long as answering its call does. So that is
asked once for each program that a task executes; a number, a name, a parent, a user and the
addresses of a program tell whether it is still the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import itemgetter

from loader.calls import NOBODY, Origin, Task
from modfs.who import describe

_KEPT = 1024  # tasks
_STAT_MAX = 1024  # bytes
# Of /proc/TID/stat after its name: ppid, starttime, startcode, startstack, arg_start.
_of_program = itemgetter(1, 19, 23, 25, 45)
_Program = tuple[object, ...]
_known: dict[int, tuple[_Program, Task]] = {}


def task_of(tid: int) -> Task:
    """As /proc has it; it is called "?" where it has gone."""
    program = _program(tid)
    known = _known.get(tid)
    if known is not None and program is not None and known[0] == program:
        return known[1]
    task = describe(Task("", tid))
    if not task.name:
        return task._replace(name=NOBODY.task.name)
    if program is not None:
        if len(_known) >= _KEPT:
            _known.clear()
        _known[tid] = program, task
    return task


def _program(tid: int) -> _Program | None:
    """What differs when it executes another, or the number is another's; None: it has gone."""
    try:
        file = os.open(f"/proc/{tid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            uid = os.fstat(file).st_uid  # of the task
            name, _, rest = os.read(file, _STAT_MAX).rpartition(b")")
        finally:
            os.close(file)
        return uid, name, *_of_program(rest.split())
    except (OSError, IndexError):
        return None


def origin_of(tid: int, asked_by: Callable[[int], str | None] | None = None) -> Origin:
    """``asked_by``: see Kthreadd.asked_by."""
    return Origin(task_of(tid), asked_by=None if asked_by is None else asked_by(tid))
