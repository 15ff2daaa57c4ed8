"""kernel/umh.c: programs that the kernel starts, as values.

What really runs is a driver's matter: ``Programs`` for threads, processes of SimPy in virtual time.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple, Protocol

ENVIRONMENT = {"HOME": "/", "TERM": "linux", "PATH": "/sbin:/usr/sbin:/bin:/usr/bin"}
"""Of every helper of request_module; nothing else is in it (call_modprobe)."""
UMASK = 0o022
CWD = "/"


class Usermodehelper(NamedTuple):
    """Run the program at ``path`` (call_usermodehelper_exec), with argv ``(path, *arguments)``.

    Answered with its wait status, as of wait(2), or with minus the errno that execve(2) or fork
    failed with. Without ``wait`` it is answered with 0 once the program was executed. A fatal
    signal ends the wait, not the program: the driver then throws LoadError(EINTR).
    """

    path: str
    arguments: tuple[str, ...]
    wait: bool


class ExecFormatError(OSError):
    """ENOEXEC: no binary format takes the file, whose first four bytes are ``head``."""

    def __init__(self, head: bytes) -> None:
        super().__init__(errno.ENOEXEC, os.strerror(errno.ENOEXEC))
        self.head = head


class Program(Protocol):
    """A program that runs."""

    def wait(self) -> int:
        """Its wait status, once it has ended."""


class Programs(Protocol):
    """The programs of a kernel on threads."""

    def at_once(self, helper: Usermodehelper) -> int | None:
        """The wait status, where it is known without running anything."""

    def execve(self, helper: Usermodehelper) -> Program:
        """Start it. OSError: as execve(2); ENOEXEC is an ExecFormatError."""


def exited(status: int) -> int:
    """The wait status of a program that exits with ``status``."""
    return (status & 0xFF) << 8
