"""Real programs as helpers: a process that starts what the kernel is asked to start.

It is forked early, from a process of one thread, and goes where helpers are to be (``prepare``).
From then on it starts a program for each message, with what a kernel gives its helpers: argv, three
environment variables, umask 022, the folder /, no open descriptors and no blocked signals. It is
no child of whoever requested it, and shares nothing with it; so nothing that happens to that one
touches the helper. It stays until the engine lets it go and its last helper has ended.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from loader.engine.umh import CWD, ENVIRONMENT, UMASK, ExecFormatError, Usermodehelper
from modfs.mount.descriptors import close_descriptors, open_descriptors

_MESSAGE_MAX = 1 << 16  # bytes: a path and a string are less
_DESCRIPTORS_MAX = 4
_GENERATIONS = 8  # from a helper to one that makes a call for it


def _nothing() -> Iterable[int]:
    return ()


class Kthreadd:
    """The engine's end (loader.engine.umh.Programs)."""

    def __init__(self, prepare: Callable[[], Iterable[int]] = _nothing) -> None:
        """Fork it, from a process of one thread. ``prepare`` is called there first; what
        descriptors it returns are then ``descriptors`` here. OSError: what it raised."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            _serve(theirs, prepare)
        theirs.close()
        self._pidfd = os.pidfd_open(self.pid)
        said, self.descriptors, _, _ = socket.recv_fds(
            self._channel, _MESSAGE_MAX, _DESCRIPTORS_MAX
        )
        number = json.loads(said or str(errno.EIO))
        if number:
            raise OSError(number, os.strerror(number))
        self._lock = threading.Lock()
        self._helpers: dict[int, Helper] = {}
        self._strings: dict[int, str] = {}  # of helpers that run, by their process's number
        self._last = 0
        self._reader: threading.Thread | None = None

    def at_once(self, helper: Usermodehelper) -> int | None:
        """None: a program has to run."""
        return None

    def execve(self, helper: Usermodehelper) -> Helper:
        """Start it. OSError: as execve(2); ENOEXEC is an ExecFormatError."""
        with self._lock:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, daemon=True)
                self._reader.start()
            self._last += 1
            number, started = self._last, Helper(helper.arguments[-1])
            self._helpers[number] = started
        try:
            self._channel.send(_packed([number, helper.path, *helper.arguments]))
        except OSError:
            self._over(number, OSError(errno.EIO, os.strerror(errno.EIO)))
        started.executed.wait()
        if started.error is not None:
            raise started.error
        return started

    def close(self) -> None:
        """No more helpers are wanted; those that run go on."""
        self._channel.shutdown(socket.SHUT_WR)

    def ended(self, seconds: float | None = None) -> bool:
        """Wait, but not longer than that, until the last helper has ended."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def _read(self) -> None:
        """What became of the helpers, until the process has ended."""
        with suppress(OSError):
            while message := self._channel.recv(_MESSAGE_MAX):
                number, what, value, more = json.loads(message)
                if what == "executed" and not value:
                    self._executed(number, more)
                elif what == "executed":
                    error = OSError(value, os.strerror(value))
                    unknown = value == errno.ENOEXEC
                    self._over(
                        number, ExecFormatError(more.encode("latin-1")) if unknown else error
                    )
                else:
                    self._helpers[number].status = value
                    self._over(number)
        for number in list(self._helpers):  # somebody has killed it
            self._helpers[number].status = signal.SIGKILL
            self._over(number)

    def asked_by(self, tid: int) -> str | None:
        """The string that a process runs for, if it is a helper or was started by one."""
        for _ in range(_GENERATIONS):
            if tid in self._strings:
                return self._strings[tid]
            try:
                # pid (comm) state ppid: a comm may have any bytes
                stat = Path(f"/proc/{tid}/stat").read_bytes()
            except OSError:
                break
            tid = int(stat.rpartition(b")")[2].split()[1])
        return None

    def _executed(self, number: int, pid: int) -> None:
        helper = self._helpers[number]
        helper.pid = pid
        self._strings[pid] = helper.string
        helper.executed.set()

    def _over(self, number: int, error: OSError | None = None) -> None:
        helper = self._helpers.pop(number, None)
        if helper is not None:
            self._strings.pop(helper.pid, None)
            helper.error = error
            helper.executed.set()
            helper.ended.set()


class Helper:
    """A program that was started (loader.engine.umh.Program)."""

    def __init__(self, string: str) -> None:
        self.string = string
        self.pid = 0
        self.executed, self.ended = threading.Event(), threading.Event()
        self.error: OSError | None = None
        self.status = 0

    def wait(self) -> int:
        """Its wait status, once it has ended."""
        self.ended.wait()
        return self.status


def _packed(message: list[Any]) -> bytes:
    return json.dumps(message).encode()  # surrogates become escapes, and come back


# -- its process ----------------------------------------------------------------------------------


def _serve(channel: socket.socket, prepare: Callable[[], Iterable[int]]) -> NoReturn:
    try:
        os.setsid()
        descriptors = list(prepare())
        _hold_nothing_but((channel.fileno(), *descriptors))
        os.umask(UMASK)
        os.chdir(CWD)
        socket.send_fds(channel, [b"0"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _Starter(channel).run()
    except OSError as error:  # only up to there is anybody told
        channel.send(str(error.errno or errno.EIO).encode())
    finally:
        os._exit(0)


def _hold_nothing_but(keep: Iterable[int]) -> None:
    """A helper has no descriptors, not even 0 to 2; what is opened from now on closes at exec."""
    close_descriptors(open_descriptors(), tuple(keep))
    for descriptor in range(3):
        if descriptor not in keep:
            with suppress(OSError):
                os.close(descriptor)


class _Starter:
    """Starts helpers, and waits for their ends."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._running: dict[int, tuple[int, int]] = {}  # pidfd -> number, pid

    def run(self) -> None:
        wanted = True
        while wanted or self._running:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._running:
                    self._ended(descriptor)
                elif message := self._channel.recv(_MESSAGE_MAX):
                    self._start(*json.loads(message))
                else:
                    wanted = False
                    self._poll.unregister(self._channel)

    def _start(self, number: int, path: str, *arguments: str) -> None:
        """What the kernel's own thread does before it becomes the helper."""
        error: int = 0
        more: int | str = ""
        try:
            pid = os.posix_spawn(
                path,
                (path, *arguments),
                ENVIRONMENT,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
            pidfd = os.pidfd_open(pid)
            self._running[pidfd] = number, pid
            more = pid
            self._poll.register(pidfd, select.POLLIN)
        except OSError as failure:
            error = failure.errno or errno.EIO
            more = _head(path) if error == errno.ENOEXEC else ""
        self._tell([number, "executed", error, more])

    def _ended(self, pidfd: int) -> None:
        number, pid = self._running.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        self._tell([number, "ended", os.waitpid(pid, 0)[1], ""])

    def _tell(self, message: list[Any]) -> None:
        with suppress(OSError):  # nobody is there any more
            self._channel.send(_packed(message))


def _head(path: str) -> str:
    """The first bytes of a file, which may be none that can be read."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(4).decode("latin-1")
    return ""
