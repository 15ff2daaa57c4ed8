"""The one exception of the engine: a system call that failed, as the kernel would say it."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

# strerror(3) of every errno, asked once: errors are what this engine mostly answers.
_MESSAGES = {number: os.strerror(number) for number in errno.errorcode}


class Failure(NamedTuple):
    """Why a module file cannot get past a step: the errno and what the kernel logs about it."""

    errno: int
    log: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The errno's name, such as ``ENOEXEC``."""
        return errno.errorcode.get(self.errno, str(self.errno))

    @property
    def message(self) -> str:
        """What the errno means, and what the kernel logs."""
        return ": ".join([_MESSAGES.get(self.errno) or os.strerror(self.errno), *self.log])


class LoadError(OSError):
    """A failed ``finit_module``, ``init_module`` or ``delete_module``.

    ``errno`` is the (positive) number that the system call would give. ``reason``: why, for people,
    where the errno does not say it. ``noticed``: of a duplicate, see loader.engine.course.
    """

    reason = ""
    noticed: int | None = None

    def __init__(self, number: int) -> None:
        # OSError's own __init__ takes twice as long, and errors are made by the million.
        self.errno = number
        self.strerror = _MESSAGES.get(number) or os.strerror(number)

    def because(self, reason: str) -> LoadError:
        """The same, with a ``reason``."""
        self.reason = reason
        return self

    @property
    def name(self) -> str:
        """The errno's name, such as ``EEXIST``."""
        number = self.errno or 0
        return errno.errorcode.get(number, str(number))


class UserError(ValueError):
    """What a person gave cannot be used, or what they asked for cannot be done.

    The text says what is wrong, with what, and where it can be known what to do. ``status`` is the
    exit status of a command that ends with it (modfs.cli has the table).
    """

    def __init__(self, message: str, *, status: int = 2) -> None:
        super().__init__(message)
        self.status = status
