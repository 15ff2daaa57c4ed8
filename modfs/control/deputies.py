"""The server's side of the office: orders, and waiting for what comes of them."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from loader.engine.threads import SHUT_DOWN
from loader.errors import LoadError
from modfs.control import messages
from modfs.control.identity import Identity
from modfs.control.walk import Numbers, Own
from modfs.linux import wait_readable

# -I and -S: nothing of the environment or the folder, and no set-up that takes long.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from modfs.control.office import main; main()"
_PACKAGES = str(Path(__file__).resolve().parents[2])
_CLOSING_MS = 3000
_KEPT = ("LD_LIBRARY_PATH",)  # without which some Pythons do not start


class Order(NamedTuple):
    """A file to be opened. ``account``: who may hold up whom. ``root``: a descriptor of the
    client's root folder, -1 for ours; ``folder``: of that where ``path`` starts, -1 for none.
    ``path`` None: ``folder`` itself is opened anew, in our world. ``closing``: the client waits in
    a close, perhaps in execve, and so may all that the path leads through."""

    account: str
    identity: Identity
    numbers: Numbers
    path: str | None
    flags: int
    root: int = -1
    folder: int = -1
    closing: bool = False


class Deputies:
    """Those of one server. They begin with the first order, and end with the server."""

    def __init__(self, interrupted: Callable[[], bool]) -> None:
        """``interrupted``: has the client of this thread's operation been sent a signal?"""
        self._interrupted = interrupted
        self._lock = threading.Lock()
        self._office: socket.socket
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: set[socket.socket] = set()
        self._over = False

    def open(self, order: Order) -> int | Own:
        """A descriptor, or what has to be fetched first. LoadError: open(2)'s errno; EINTR: the
        client was sent a signal; EAGAIN: no deputy could be had, or somebody killed it; ETIMEDOUT:
        it took too long for a client that closes."""
        if self._interrupted():  # before the first line of many, or between two
            raise LoadError(errno.EINTR)
        try:
            ours, theirs = messages.pair()
            with ours:
                with theirs:
                    self._send(order, ours, theirs)
                return self._answer(order, ours)
        except OSError as error:
            raise LoadError(error.errno or errno.EIO) from None

    def _send(self, order: Order, ours: socket.socket, theirs: socket.socket) -> None:
        what = order._asdict() | {"root": order.root >= 0, "folder": order.folder >= 0}
        del what["closing"]
        descriptors = [fd for fd in (theirs.fileno(), order.root, order.folder) if fd >= 0]
        with self._lock:
            if self._over:
                raise LoadError(SHUT_DOWN)
            if self._process is None or self._process.poll() is not None:
                self._office, self._process = _start()
            messages.send(self._office, what, tuple(descriptors))
            self._waiting.add(ours)

    def _answer(self, order: Order, ours: socket.socket) -> int | Own:
        try:
            self._wait(ours, _CLOSING_MS if order.closing else -1)
            answer, opened = messages.receive(ours)
            if order.root >= 0:  # nobody shall find the client's root in use any more
                with suppress(LoadError):
                    self._wait(ours)
        except EOFError:
            raise LoadError(SHUT_DOWN if self._over else errno.EAGAIN) from None
        except messages.NotAllOfIt:
            raise LoadError(errno.EMFILE) from None
        finally:
            self._waiting.discard(ours)
        if opened:
            return opened[0]
        if isinstance(answer, list):
            return Own(*answer)
        raise LoadError(answer)

    def _wait(self, ours: socket.socket, milliseconds: int = -1) -> None:
        while True:
            try:
                if wait_readable(ours.fileno(), milliseconds):
                    return
                raise LoadError(errno.ETIMEDOUT)
            except InterruptedError:
                if self._interrupted():
                    raise LoadError(errno.EINTR) from None

    def let_go(self) -> None:
        """End it: whoever waits gets SHUT_DOWN."""
        with self._lock:
            self._over = True
            if self._process is not None:
                self._office.close()
            for each in tuple(self._waiting):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The connection to a new office. OSError: no process can be had."""
    ours, theirs = messages.pair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGES],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd="/",
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,  # Ctrl-C is for the server
        )
    return ours, process
