"""Users and groups of a user namespace: root is who makes it, and the others are theirs.

A user namespace that an ordinary user makes has one user by itself. Where /etc/subuid and
/etc/subgid give that user more, newuidmap and newgidmap, which have root's rights, map them: so
there are users beside root in there, as many programs expect (subuid(5), user_namespaces(7)).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from loader.errors import UserError

_KINDS = ("uid", "gid")
_LINES_MAX = 340  # of a map, since 4.15 (UID_GID_MAP_MAX_EXTENTS)
_SECONDS = 10  # for a program that changes one file; with a directory service behind it
_SILENT = tuple((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2))


class Range(NamedTuple):
    """As a line of /proc/PID/uid_map."""

    inside: int
    outside: int
    numbers: int


def ranges(kind: str, own: int, folder: Path = Path("/etc")) -> tuple[Range, ...]:
    """All that the user of this process may map: ``own`` as 0, then what is theirs. ``kind``:
    "uid" or "gid"."""
    found = [Range(0, own, 1)]
    for start, count in _subordinate(folder / f"sub{kind}"):
        found.append(Range(found[-1].inside + found[-1].numbers, start, count))
    return tuple(found[:_LINES_MAX])


def _subordinate(file: Path) -> Iterator[tuple[int, int]]:
    """First number and count. The lines of groups, too, are by user."""
    user = os.geteuid()
    names = {str(user)}
    with suppress(KeyError):
        names.add(pwd.getpwuid(user).pw_name)
    with suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            name, _, numbers = line.partition(":")
            start, _, count = numbers.partition(":")
            if name in names and start.isdecimal() and count.isdecimal() and int(count):
                yield int(start), int(count)


def why_one(kind: str) -> str | None:
    """Why a sandbox of this user has one user (or group), for people; None: it has more."""
    if len(ranges(kind, 0)) == 1:
        return f"/etc/sub{kind} has no more for you"
    if shutil.which(f"new{kind}map") is None:
        return f"there is no new{kind}map (Debian's package uidmap)"
    return None


def described() -> str:
    """How many users a sandbox of this user has, and why, for people."""
    why = why_one("uid")
    if why is not None:
        return f"modfs run: root is the only user, for {why}"
    return f"modfs run: up to {sum(each.numbers for each in ranges('uid', 0))} users"


class Mapper:
    """To be made before the namespace: a process that stays outside and maps what it may."""

    def __init__(self) -> None:
        self._own = dict(zip(_KINDS, (os.geteuid(), os.getegid()), strict=True))
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = os.fork()
        if not self._process:
            try:
                self._channel.close()
                if theirs.recv(1):
                    signal.alarm(_SECONDS)  # ended by it, it has mapped nothing
                    theirs.send(self._map_all(os.getppid()))
            finally:
                os._exit(0)
        theirs.close()

    def _map_all(self, process: int) -> bytes:
        """Those that could be mapped, as the first letters of their kinds."""
        return b"".join(kind[:1].encode() for kind in _KINDS if self._map(kind, process))

    def _map(self, kind: str, process: int) -> bool:
        if why_one(kind) is not None:
            return False
        numbers = [str(number) for each in ranges(kind, self._own[kind]) for number in each]
        words = [f"new{kind}map", str(process), *numbers]
        try:  # subprocess takes longer to import than the program to run
            started = os.posix_spawnp(words[0], words, os.environ, file_actions=_SILENT)
        except OSError:
            return False
        return not os.waitpid(started, 0)[1]

    def map(self) -> None:
        """In the namespace, of which this process is to be root. UserError."""
        self._channel.send(b"m")
        mapped = self._channel.recv(len(_KINDS))
        self.end()
        try:
            if b"g" not in mapped:
                Path("/proc/self/setgroups").write_text("deny")
            for kind in _KINDS:
                if kind[:1].encode() not in mapped:
                    Path(f"/proc/self/{kind}_map").write_text(f"0 {self._own[kind]} 1")
        except OSError as error:
            raise UserError(f"the users of the sandbox cannot be set: {error.strerror}") from None

    def end(self) -> None:
        """It is not needed any more."""
        self._channel.close()
        os.waitpid(self._process, 0)
