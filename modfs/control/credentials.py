"""What a process may do, as Linux has it in ``struct cred``."""

from __future__ import annotations

import errno
import os
import re
from fcntl import ioctl
from typing import NamedTuple

from modfs.linux import (
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    NS_GET_OWNER_UID,
    NS_GET_PARENT,
)

_ROW = re.compile(rb"^(Uid|Gid|Groups|Cap[A-Z][a-z]+|Name|Tgid|NStgid|NSpid):\t(.*)$", re.MULTILINE)
_CREDENTIALS = (b"Uid", b"Gid", b"Groups", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb")
_ALL_FILES = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH
_STATUS_BYTES = 1 << 20  # 65,536 groups are the most: NGROUPS_MAX


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


class Status(NamedTuple):
    """What /proc/TID/status tells of a thread.

    ``pids``, ``tids``: the numbers of its process and its own, in the procfs's pid namespace first,
    then in each one further in.
    """

    command: str
    pid: int
    rows: tuple[bytes, ...]
    pids: tuple[int, ...]
    tids: tuple[int, ...]


def read_status(tid: int) -> Status:
    """Reading takes no lock that the thread might hold while it waits for us. OSError: it is gone,
    or cannot be seen from here."""
    fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = dict(_ROW.findall(os.read(fd, _STATUS_BYTES)))
    finally:
        os.close(fd)
    try:
        rows = tuple(found[name] for name in _CREDENTIALS)
        pids, tids = (tuple(map(int, found[name].split())) for name in (b"NStgid", b"NSpid"))
        return Status(found[b"Name"].decode("utf-8", "replace"), int(found[b"Tgid"]), rows, pids,
                      tids)  # fmt: skip
    except KeyError:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None


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
