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
    where the errno does not say it.
    """

    reason = ""

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


class Duplicate(LoadError):
    """The error of a load that found its module there, or on its way. ``noticed``: when, see
    loader.engine.course."""

    __slots__ = ("noticed",)
    noticed: int


class UserError(ValueError):
    """What a person gave cannot be used, or what they asked for cannot be done.

    The text says what is wrong, with what, and where it can be known what to do. ``status`` is the
    exit status of a command that ends with it (modfs.cli has the table).
    """

    def __init__(self, message: str, *, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


# What people are told instead of strerror(3): what it means for a file that they have named.
_WORDS: dict[int, str] = {
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of this path is no folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.EEXIST: "it is there already",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.EACCES: "this user may not: the file or a folder above it does not permit it",
    errno.EPERM: "this user may not",
    errno.EROFS: "the file system there can only be read",
    errno.ENOSPC: "no space is left there",
    errno.EDQUOT: "no space is left there for this user",
    errno.EFBIG: "larger than a file may be (ulimit -f)",
    errno.EBADF: "it is closed",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "there is not enough memory",
    errno.EAGAIN: "there is no room for another process or thread now (ulimit -u)",
    errno.EBUSY: "it is in use",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its symbolic links lead nowhere",
    errno.EINVAL: "this cannot be done with it",
    errno.ENOEXEC: "it is no program for this machine",
    errno.ETXTBSY: "it is a program that runs",
    errno.ENOTCONN: "its server has died; modfs umount takes the mount away",
    errno.ECONNABORTED: "its server has died; modfs umount takes the mount away",
    errno.EIO: "the device, or who serves the file system, reports an error",
    errno.ENXIO: "there is no such device, or nobody at the other end",
    errno.ENODEV: "there is no such device",
    errno.ENOSYS: "this kernel cannot do that",
    errno.EOPNOTSUPP: "this cannot be done there",
    errno.EADDRINUSE: "somebody listens there already",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def in_words(error: OSError) -> str:
    """Why it failed, as a person is told; the errno's name where there are no words for it."""
    if error.errno is None:
        return str(error)
    found = _WORDS.get(error.errno)
    return found or f"the system refuses it ({errno.errorcode.get(error.errno, error.errno)})"
