"""Open files of the mount: texts, and the control file that takes requests."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import NoReturn

from modfs.control.client import Client
from modfs.control.opener import Asked, Opener, Ours
from modfs.control.requests import Requests

_LINE_MAX = 64 << 10  # bytes of one request
_SPARE = 1024  # closed control nodes that are kept before one is used again
_TOLD = 1 << 16  # names that nobody opened, before the first is taken to be forgotten


def encoded(text: str) -> bytes:
    """A text as readers get it."""
    return text.encode("utf-8", "surrogateescape")


class TextFile:
    """An open file whose text is composed when it is first read, and again after a seek to 0."""

    __slots__ = ("_compose", "_text")

    def __init__(self, compose: Callable[[], str]) -> None:
        self._compose = compose
        self._text: bytes | None = None

    def read(self, size: int, offset: int) -> bytes:
        """Part of the text; empty past its end."""
        if self._text is None or offset == 0:
            self._text = encoded(self._compose())
        return self._text[offset : offset + size]

    def write(self, data: bytes) -> int:
        """OSError: EINVAL, as of a file that has no way to be written."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def flush(self) -> None: ...

    def release(self) -> None: ...


class ControlFile(TextFile):
    """An open control node: whole lines run as they are written, an unfinished one at close."""

    __slots__ = ("_asked", "_closed", "_left_by", "_opener", "_pending", "_requests", "_skip")

    def __init__(
        self,
        requests: Requests,
        ours: Ours,
        asked: Callable[[], Asked],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(requests.text)
        self._requests = requests
        self._opener = Opener(ours, asked())
        self._asked = asked
        self._closed = closed
        self._pending = b""
        self._skip = False  # the rest of a line that is too long
        self._left_by: Client | None = None  # who has written last, and not a whole line

    def write(self, data: bytes) -> int:
        """Run the lines that ``data`` completes, in order; how many bytes were taken, which is all
        unless a signal came. OSError: the first errno; EPERM: it is not who opened that writes;
        EINTR: nothing was taken."""
        client = self._opener.writer(self._asked())
        if client.refused:
            return self._refuse(client, data)
        try:
            taken, number = self._take(client, data)
            if self._pending:
                client.keep()
            self._leave_to(client if self._pending else None)
        finally:
            if client is not self._left_by:
                client.close()
        if number:
            raise OSError(number, os.strerror(number))
        return taken

    def _take(self, client: Client, data: bytes) -> tuple[int, int]:
        """How many bytes of ``data`` were taken, and the first errno, 0 if none."""
        text, number, start = self._pending + data, 0, 0
        *lines, rest = text.split(b"\n")
        for line in lines:
            failed = 0 if self._skip else self._run(line, client)
            if failed == errno.EINTR and not number:
                return self._interrupted(start)
            self._skip = False
            number = number or failed
            start += len(line) + 1
        self._pending = b"" if self._skip else rest
        if len(self._pending) > _LINE_MAX:
            self._pending = b""
            self._skip = True
            self._requests.results.add(client.pid, client.command, "…", "E2BIG (line too long)")
            number = number or errno.E2BIG
        return len(data), number

    def _interrupted(self, start: int) -> tuple[int, int]:
        """A signal has ended the line that begins at ``start``: whoever writes again begins there,
        as after any write that a signal ended."""
        if not start:
            return 0, errno.EINTR
        taken = start - len(self._pending)
        self._pending = b""
        return taken, 0

    def _refuse(self, client: Client, data: bytes) -> NoReturn:
        line = data.strip().partition(b"\n")[0].decode("utf-8", "replace")
        self._requests.results.add(
            client.pid, client.command, line, "EPERM (somebody else opened this file)"
        )
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def _run(self, line: bytes, client: Client) -> int:
        if len(line) > _LINE_MAX:
            self._requests.results.add(client.pid, client.command, "…", "E2BIG (line too long)")
            return errno.E2BIG
        return self._requests.run(line.decode("utf-8", "surrogateescape"), client, client.command)

    # -- unfinished lines -------------------------------------------------------------------------

    def _leave_to(self, client: Client | None) -> None:
        before, self._left_by = self._left_by, client
        if before is not None:
            before.close()

    def flush(self) -> None:
        """At each close(2): run what is left of a line, if its writer closes. OSError: its errno;
        EPERM: its writer is not who opened any more.

        A child that inherited the descriptor may close it while the line is still being written.
        """
        if not self._pending or self._left_by is None:
            return
        closes = self._opener.closes(self._asked(), self._left_by)
        if closes:
            self._finish(self._left_by)
        elif closes is False:
            line, self._pending = self._pending, b""
            self._refuse(self._left_by, line)

    def release(self) -> None:
        """At the last close: nothing written is dropped."""
        try:
            if self._pending and self._left_by is not None:
                self._finish(self._left_by)
        except OSError:
            pass  # nobody is left to be told; the result is there to read
        finally:
            self._leave_to(None)
            self._closed()

    def _finish(self, client: Client) -> None:
        line, self._pending = self._pending, b""
        number = self._run(line, client)
        if number:
            raise OSError(number, os.strerror(number))


class Nodes:
    """Numbers of control nodes, of which no two writers ever share one.

    One that is closed is used again, so that the host's kernel does not have to remember ever more
    names; not at once, for whoever has just been told it may still be about to open it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._free: dict[int, None] = {}  # closed, the longest ago first
        self._told: dict[int, None] = {}  # not opened yet, the longest ago first
        self._open: dict[int, int] = {}  # how often

    def take(self) -> int:
        """A number that nobody has open or is about to open."""
        with self._lock:
            if len(self._free) > _SPARE:
                number = next(iter(self._free))
                del self._free[number]
            elif len(self._told) > _TOLD:
                number = next(iter(self._told))
                del self._told[number]
            else:
                number = self._new()
            self._told[number] = None
            return number

    def _new(self) -> int:
        self._last += 1
        while self._last in self._open or self._last in self._free:
            self._last += 1
        return self._last

    def opened(self, number: int) -> Callable[[], None]:
        """Note that it is open; call the answer at its close."""
        with self._lock:
            self._told.pop(number, None)
            self._free.pop(number, None)
            self._open[number] = self._open.get(number, 0) + 1

        def closed() -> None:
            with self._lock:
                self._open[number] -= 1
                if not self._open[number]:
                    del self._open[number]
                    self._free[number] = None

        return closed
