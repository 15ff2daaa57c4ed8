"""The three system calls about modules as values, who makes them, and who answers them.

Every door produces these: the control file, scenarios, transcripts, caught system calls. Whoever
answers has one method for them: an engine on threads (loader.engine.threads), one in virtual time
(loader.engine.clock), a mount that somebody else serves (modfs.control.remote).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple, Protocol

from loader.errors import LoadError

# include/uapi/linux/module.h
MODULE_INIT_IGNORE_MODVERSIONS = 1
MODULE_INIT_IGNORE_VERMAGIC = 2
MODULE_INIT_COMPRESSED_FILE = 4
MANGLED = MODULE_INIT_IGNORE_MODVERSIONS | MODULE_INIT_IGNORE_VERMAGIC
KNOWN_FLAGS = MANGLED | MODULE_INIT_COMPRESSED_FILE

File = int | str | os.PathLike[str]
"""A descriptor of the caller's, or a path that the caller opens for the call and then closes."""


class FinitModule(NamedTuple):
    """finit_module(2).

    ``params``: the parameter string; None stands for an address that is not mapped. ``access``:
    what a path is opened with, such as os.O_RDWR.
    """

    file: File
    params: str | None = ""
    flags: int = 0
    access: int = os.O_RDONLY


class InitModule(NamedTuple):
    """init_module(2).

    ``image``: the bytes in the caller's memory, or the file that it read them from; None stands for
    an address that is not mapped. ``length``: in bytes, None for all of them.
    """

    image: bytes | File | None
    params: str | None = ""
    length: int | None = None


class DeleteModule(NamedTuple):
    """delete_module(2). ``name`` None stands for an address that is not mapped."""

    name: str | None
    flags: int = os.O_NONBLOCK


Call = FinitModule | InitModule | DeleteModule


class RequestModule(NamedTuple):
    """request_module, as code in the kernel calls it; not ``wait``: request_module_nowait.

    No system call: what it comes to is no errno (loader.engine.kmod).
    """

    string: str
    wait: bool = True


def _never() -> bool:
    return False


def open_here(file: File, access: int = os.O_RDONLY) -> tuple[int, bool]:
    """A descriptor of this process for ``file``, and whether it has to be closed again. OSError."""
    if isinstance(file, int):
        return file, False
    return os.open(file, access | os.O_CLOEXEC | os.O_NONBLOCK), True


class Task(NamedTuple):
    """Who makes a call, for people. ``command``, ``exe``, ``unit``: where /proc could be asked in
    time."""

    name: str
    tid: int
    parent: int | None = None
    command: str | None = None
    exe: str | None = None
    uid: int | None = None
    unit: str | None = None


class Origin(NamedTuple):
    """Where a call comes from, for people.

    ``alias``: what was asked for, where that is not a module's name; for which ``device``.
    ``asked_by``: the kernel's own request that it belongs to. ``file``: the name of the file, where
    the call has but a descriptor.
    """

    task: Task
    alias: str | None = None
    device: str | None = None
    asked_by: str | None = None
    file: str | None = None


NOBODY = Origin(Task("?", 0))


def _nobody() -> Origin:
    return NOBODY


class Caller(NamedTuple):
    """Who makes a call.

    ``signal_pending`` is asked before each wait and after each wake-up, with the kernel's lock
    held: it must be quick. Where it says True the caller leaves its wait with EINTR; if it was
    running a module's init, that goes on without it. ``capable``: has CAP_SYS_MODULE. ``open``:
    what the caller's file is in this process, see open_here. ``fatal_signal_pending``: the same as
    ``signal_pending``, of signals that end the caller; None: of any. ``origin`` is asked once at
    the beginning of a call.
    """

    signal_pending: Callable[[], bool] = _never
    capable: bool = True
    open: Callable[[File, int], tuple[int, bool]] = open_here
    fatal_signal_pending: Callable[[], bool] | None = None
    origin: Callable[[], Origin] = _nobody

    def may_init_module(self) -> None:
        """LoadError: EPERM, before anything else is looked at."""
        if not self.capable:
            raise LoadError(errno.EPERM)


ANYONE = Caller()


class SystemCalls(Protocol):
    """Who answers."""

    def call(self, call: Call, caller: Caller = ANYONE) -> None:
        """Returns when the call succeeded. LoadError: its errno, or that of opening its file."""

    def wake(self) -> None:
        """Every caller that waits looks at its signal_pending again."""


class Kernel(SystemCalls, Protocol):
    """Who answers requests of the kernel's own as well."""

    def request_module(self, string: str, caller: Caller = ANYONE, wait: bool = True) -> int:
        """What it came to, see loader.engine.kmod. LoadError: nobody answers any more."""
