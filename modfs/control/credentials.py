"""What a process may do, as Linux has it in ``struct cred``."""

from __future__ import annotations

import errno
import os
import re
from fcntl import ioctl
from typing import NamedTuple

from modfs.control.walk import Numbers
from modfs.linux import (
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    NS_GET_OWNER_UID,
    NS_GET_PARENT,
)

_STATUS = re.compile(
    rb"Name:\t(?P<Name>[^\n]*).*?\nTgid:\t(?P<Tgid>\d+)"
    rb".*?\nUid:\t([^\n]*)\nGid:\t([^\n]*).*?\nGroups:\t([^\n]*)"
    rb".*?\nCapInh:\t(\w*)\nCapPrm:\t(\w*)\nCapEff:\t(\w*)\nCapBnd:\t(\w*)\nCapAmb:\t(\w*)",
    re.DOTALL,
)
_NUMBERS = re.compile(rb"^NStgid:\t(.*)\nNSpid:\t(.*)$", re.MULTILINE)
_ALL_FILES = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH
_STATUS_BYTES = 4096  # more only with many groups
SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errnos that tell of a want of this server's own, and nothing of a client."""


class MayBeUnseen:
    """What of a client cannot be looked at stays unknown. But where this server itself is short of
    descriptors or memory, that says nothing about the client, and goes on as the error it is."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, OSError) and error.errno not in SHORT


class Credentials(NamedTuple):
    """Two that are equal may do the same. Numbers of users and groups are those of our own user
    namespace; ``user_namespace``: "user:[number]"."""

    rows: tuple[bytes, ...]
    user_namespace: str

    @property
    def uids(self) -> tuple[int, ...]:
        """(real, effective, saved, file system's)."""
        return tuple(map(int, self.rows[0].split()))

    @property
    def gids(self) -> tuple[int, ...]:
        """As uids."""
        return tuple(map(int, self.rows[1].split()))

    @property
    def groups(self) -> tuple[int, ...]:
        """The supplementary ones."""
        return tuple(map(int, self.rows[2].split()))

    @property
    def capabilities(self) -> int:
        """The effective ones, in its own user namespace."""
        return int(self.rows[5], 16)

    @property
    def permitted(self) -> int:
        """The capabilities that it can make effective."""
        return int(self.rows[4], 16)

    def may_all_that(self, other: Credentials) -> bool:
        """May this one open whatever ``other`` may? False if that is not certain."""
        if self == other:
            return True
        mine = self.capabilities if self.user_namespace == other.user_namespace else 0
        theirs = other.capabilities
        if self.uids[3] != other.uids[3] or theirs & ~mine:
            return False
        return (theirs & _ALL_FILES == _ALL_FILES) or (
            {self.gids[3], *self.groups} >= {other.gids[3], *other.groups}
        )


class Status:
    """What /proc/TID/status tells of a thread."""

    __slots__ = ("_text", "command", "pid", "rows")

    def __init__(self, text: bytes) -> None:
        """ValueError: it has not all rows."""
        found = _STATUS.match(text)
        if found is None:
            raise ValueError
        name, pid, *rows = found.groups()
        self._text = text
        self.rows = tuple(rows)
        """The credentials' (Credentials)."""
        self.pid = int(pid)
        """Its process."""
        self.command = name.decode("utf-8", "replace")
        """Its name, as ps shows it."""

    @property
    def numbers(self) -> Numbers:
        """In the procfs's pid namespace first, then in each one further in."""
        found = _NUMBERS.search(self._text)
        rows = found.groups() if found else (b"", b"")
        return Numbers(*(tuple(map(int, row.split())) for row in rows))


def unseen(tid: int) -> Status:
    """Of a thread that is gone, or cannot be seen from here."""
    return Status(_UNSEEN % tid)


_UNSEEN = b"Name:\t?\nTgid:\t%d\nNStgid:\t\nNSpid:\t\n" + b"".join(
    b"%s:\t\n" % row for row in b"Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb".split()
)


def read_status(tid: int) -> Status:
    """Reading takes no lock that the thread might hold while it waits for us. OSError: it is gone,
    or cannot be seen from here."""
    fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, _STATUS_BYTES)
        if len(text) == _STATUS_BYTES:
            while more := os.read(fd, 1 << 16):
                text += more
        return Status(text)
    except ValueError:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    finally:
        os.close(fd)


def read_credentials(tid: int, status: Status | None = None) -> Credentials:
    """Those of a thread. OSError: it is gone, or this process may not look at it."""
    status = status or read_status(tid)
    return Credentials(status.rows, os.readlink(f"/proc/{tid}/ns/user"))


def who_answers_for(tid: int, uid: int) -> int:
    """The user whose processes they are together with others: in a container of user namespaces the
    one who made it, else ``uid``, its own. OSError."""
    ours = os.stat("/proc/self/ns/user").st_ino
    namespace = os.open(f"/proc/{tid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.fstat(namespace).st_ino != ours:
            above = ioctl(namespace, NS_GET_PARENT)
            owner = bytearray(4)
            ioctl(namespace, NS_GET_OWNER_UID, owner)
            uid = int.from_bytes(owner, "little")
            os.close(namespace)
            namespace = above
        return uid
    finally:
        os.close(namespace)
