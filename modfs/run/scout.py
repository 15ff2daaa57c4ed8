"""A process that looks at files as a program in the sandbox finds them.

The server never is where its own files can be seen (modfs.run.keeper), and a file system of others
may never answer: so what a caught call's path leads to is looked at here, by threads that may wait.
Nothing is opened but regular files, for their first bytes: looking is harmless.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, NoReturn

from modfs import linux
from modfs.mount.descriptors import close_descriptors, open_descriptors

_MESSAGE_MAX = 1 << 16  # bytes
_THREADS = 32
_SECONDS = 1.0  # that a caught call is held up at most: then nothing is known
_HEAD = 256  # bytes: BINPRM_BUF_SIZE
_INTERPRETERS = 5  # of interpreters, at most: then the kernel says ELOOP
_CLONE_FS = 0x200
_PLACE = os.O_PATH | os.O_CLOEXEC


class Seen(NamedTuple):
    """What a path leads to, for the caller, who may open it (or execute it).

    ``mode`` as in stat(2); ``major`` and ``minor`` of a device; ``head``: the first bytes of the
    program at the end of all interpreters, and ``name`` its path.
    """

    mode: int
    major: int
    minor: int
    head: bytes
    name: bytes


class Order(NamedTuple):
    """Look at ``path`` as the thread ``tid`` finds it, in its folder or that of the descriptor
    ``folder``. ``access``: os.R_OK and the like, that it has to have; for os.X_OK the first bytes
    are read."""

    tid: int
    path: bytes
    folder: int | None = None
    follow: bool = True
    access: int = 0


class Scout:
    """The server's end."""

    def __init__(self) -> None:
        """Start it, from a process of one thread."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = os.getpid()
        self._process = os.fork()
        if not self._process:
            _serve(theirs, server)
        theirs.close()
        self._lock = threading.Lock()
        self._asked: dict[int, tuple[threading.Event, list[Any]]] = {}
        self._last = 0
        self._reader: threading.Thread | None = None

    def look(self, order: Order) -> Seen | None:
        """None: there is nothing that the caller could open, or it takes too long to find out."""
        answered, answer = threading.Event(), []  # type: ignore[var-annotated]
        with self._lock:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, daemon=True)
                self._reader.start()
            self._last += 1
            number = self._last
            self._asked[number] = answered, answer
        message = [number, order.tid, order.path.decode("latin-1"), *order[2:]]
        with suppress(OSError):
            self._channel.send(json.dumps(message).encode())
            answered.wait(_SECONDS)
        self._asked.pop(number, None)
        if not answer or answer[0] is None:
            return None
        mode, major, minor, head, name = answer[0]
        return Seen(mode, major, minor, head.encode("latin-1"), name.encode("latin-1"))

    def _read(self) -> None:
        with suppress(OSError):
            while message := self._channel.recv(_MESSAGE_MAX):
                number, seen = json.loads(message)
                asked = self._asked.get(number)
                if asked is not None:
                    asked[1].append(seen)
                    asked[0].set()


# -- its process ----------------------------------------------------------------------------------


def _serve(channel: socket.socket, server: int) -> NoReturn:
    try:
        linux.libc.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        close_descriptors(open_descriptors(), (channel.fileno(),))
        proc = os.open("/proc", _PLACE)
        home = os.open("/", _PLACE)
        if os.getppid() == server:
            _work(channel, proc, home)
    finally:
        os._exit(0)


def _work(channel: socket.socket, proc: int, home: int) -> None:
    room = threading.Semaphore(_THREADS)

    def look(number: int, order: Order) -> None:
        try:
            seen = _look(proc, home, order)
        except (OSError, ValueError):
            seen = None
        finally:
            room.release()
        with suppress(OSError):
            channel.send(json.dumps([number, seen]).encode())

    # Root, folder and users are each thread's own.
    with ThreadPoolExecutor(
        _THREADS, initializer=linux.libc.unshare, initargs=(_CLONE_FS,)
    ) as pool:
        while message := channel.recv(_MESSAGE_MAX):
            number, tid, path, *rest = json.loads(message)
            if room.acquire(blocking=False):
                pool.submit(look, number, Order(tid, path.encode("latin-1"), *rest))
            else:  # all wait for file systems
                channel.send(json.dumps([number, None]).encode())


def _look(proc: int, home: int, order: Order) -> tuple[int, int, int, str, str] | None:
    with _as_caller(proc, home, order) as uid:
        seen = os.stat(order.path, follow_symlinks=order.follow)
        device = stat.S_ISCHR(seen.st_mode) or stat.S_ISBLK(seen.st_mode)
        if device and os.statvfs(order.path).f_flag & os.ST_NODEV:
            return None
        if not os.access(order.path, order.access, effective_ids=True):
            return None
        head = name = b""
        if order.access == os.X_OK:
            head, name = _last_interpreter(proc, order.path, uid)
    found = (seen.st_mode, os.major(seen.st_rdev), os.minor(seen.st_rdev))
    return *found, head.decode("latin-1"), name.decode("latin-1")


@contextmanager
def _as_caller(proc: int, home: int, order: Order) -> Iterator[int]:
    """This thread is at the caller's root and in its folder, with its user, which it gives, and
    groups. OSError."""
    start = "cwd" if order.folder is None else f"fd/{order.folder}"
    uid, gid, groups = _identity(proc, order.tid)
    places = [os.open(f"{order.tid}/root", _PLACE, dir_fd=proc)]
    try:
        places.append(os.open(f"{order.tid}/{start}", _PLACE, dir_fd=proc))
        os.fchdir(places[0])
        os.chroot(".")
        with suppress(NotADirectoryError):  # which matters to relative paths only
            os.fchdir(places[1])
        _become(uid, gid, groups)
        yield uid
    finally:
        _become(0, 0, [])
        os.fchdir(home)
        os.chroot(".")
        for place in places:
            os.close(place)


def _identity(proc: int, tid: int) -> tuple[int, int, list[int]]:
    """The file system's user and group of a thread, and its further groups."""
    with open(os.open(f"{tid}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)) as file:
        rows = dict(line.split(":", 1) for line in file)
    uids, gids = rows["Uid"].split(), rows["Gid"].split()
    return int(uids[3]), int(gids[3]), [int(group) for group in rows["Groups"].split()]


def _become(uid: int, gid: int, groups: list[int]) -> None:
    with suppress(PermissionError):  # a user namespace in which they cannot be changed
        linux.setgroups_of_thread(groups)
    linux.libc.setfsgid(gid)
    linux.libc.setfsuid(uid)


def _last_interpreter(proc: int, path: bytes, uid: int) -> tuple[bytes, bytes]:
    """The first bytes and the path of the program that is executed in the end. OSError."""
    for _ in range(_INTERPRETERS):
        head = _head(proc, path, uid)
        if not head.startswith(b"#!"):
            return head, path
        words = head[2:].partition(b"\n")[0].split()
        if not words or not os.access(words[0], os.X_OK, effective_ids=True):
            break
        path = words[0]
    raise PermissionError


def _head(proc: int, path: bytes, uid: int) -> bytes:
    """The first bytes of a regular file that ``uid`` may execute and perhaps not read. OSError."""
    place = os.open(path, _PLACE)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):  # nothing else may be opened
            raise PermissionError
        linux.libc.setfsuid(0)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(f"self/fd/{place}", flags, dir_fd=proc), "rb", buffering=0) as file:
            return file.read(_HEAD)
    finally:
        linux.libc.setfsuid(uid)
        os.close(place)
