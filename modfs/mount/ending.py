"""How a server ends: when it is told to, and then for certain.

Told by a signal, by whoever reads the file END of the mount, or by a connection that was cut. Those
who wait in requests are let go; but a request may also compute, or hang in somebody else's file
system. So there is an end to the server's patience as well: END_SECONDS after it was told, the
mount and the connection are taken away and the process ends, whatever it is in the middle of.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from loader.errors import UserError
from modfs.fuse.server import INTERRUPTS, WAKES_MAIN
from modfs.mount.connection import abort_connection
from modfs.mount.mountinfo import Mount, mounts, top_mount, umount_lazily
from modfs.mount.notify import notify

if TYPE_CHECKING:
    from modfs.fuse.server import Server

log = logging.getLogger("modfs")

END_SECONDS = 10.0
_CLOSE_SECONDS = 1.0  # for those who were let go, to hear of it and close
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a server."""


class Served(Protocol):
    """A kernel that is served: those who wait in it can be woken, and let go for good."""

    def wake(self) -> None: ...

    def shutdown(self) -> None: ...


class Closing(Protocol):
    """Files that somebody may still have open."""

    def let_go(self) -> None: ...

    def wait_until_closed(self, seconds: float) -> None: ...


class Ending:
    """Watches over one server.

    A client's own signals, which are passed on as INTERRUPTS to the thread that serves it, end its
    waits here as well. Python's handlers run in the main thread only, and that may be inside
    libfuse; but each signal, in whichever thread, also writes a byte to a pipe. One thread reads
    that and keeps the time; another one, which may have to wait for locks, does what follows.
    """

    def __init__(
        self,
        live: Served,
        server: Server,
        mountpoint: str,
        hung_up: Callable[[], None] | None = None,
    ) -> None:
        """``hung_up`` is called at SIGHUP; without it, that ends the server like the others."""
        self._live, self._server = live, server
        self._mountpoint = mountpoint
        self._hung_up = hung_up
        self._end_at = frozenset(ENDING) - ({signal.SIGHUP} if hung_up else set())
        self._mount: Mount | None = None
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._told = threading.Event()
        self._ending = self._over = False

    def begin(self) -> None:
        """End the server, from any thread; returns at once."""
        with suppress(BlockingIOError):  # then there is enough to read
            os.write(self._write_end, bytes((signal.SIGTERM,)))

    def mounted(self) -> None:
        """The file system is there: learn which one is ours, and hear when it is cut."""
        self._mount = top_mount(self._mountpoint)
        with suppress(BlockingIOError):
            os.write(self._write_end, b"\0")  # no signal has this number

    @contextmanager
    def watching(self, files: Closing) -> Iterator[None]:
        """Signals are heard inside this block, which the main thread has to enter."""
        old_fd = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        ours = (*ENDING, INTERRUPTS, WAKES_MAIN)
        old = {number: signal.signal(number, _noted) for number in ours}
        # A thread whose wait went on by itself need not have Python's lock to go on with it.
        signal.siginterrupt(INTERRUPTS, False)
        threads = [
            threading.Thread(target=self._watch, daemon=True),
            threading.Thread(target=self._act, args=(files,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over = True
            self._told.set()
            signal.set_wakeup_fd(old_fd)
            os.close(self._write_end)
            for thread in threads:
                thread.join()
            for number, handler in old.items():
                signal.signal(number, handler)

    # -- the two threads ----------------------------------------------------------------------

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._read_end, select.POLLIN)
        deadline: float | None = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = [fd for fd, _ in poll.poll(left)]
            told = os.read(self._read_end, 4096) if self._read_end in ready else None
            if not ready:
                self._force()
            elif told == b"":  # closed: it is over
                break
            elif told is None:
                poll.unregister(ready[0])
            elif 0 in told and self._server.descriptor is not None:
                poll.register(self._server.descriptor, 0)  # fuse_dev_poll: POLLERR once it is cut
            if told and self._hung_up and signal.SIGHUP in told:
                self._hung_up()
            if deadline is None and (told is None or not self._end_at.isdisjoint(told)):
                self._ending, deadline = True, time.monotonic() + END_SECONDS
            self._told.set()
        os.close(self._read_end)

    def _act(self, files: Closing) -> None:
        ended = False
        while not self._over:
            self._told.wait()
            self._told.clear()
            if self._ending and not ended:
                ended = True
                notify("STOPPING=1")
                self._live.shutdown()
                files.let_go()
                files.wait_until_closed(_CLOSE_SECONDS)
                self._server.exit()
            self._live.wake()
        self._live.shutdown()

    def _force(self) -> None:
        """End now. Closing /dev/fuse cuts the connection; but a thread that hangs keeps it open."""
        log.error(
            "requests go on %d seconds after the end was asked for: they are lost", END_SECONDS
        )
        ours = self._mount
        with suppress(OSError, UserError):
            if ours and any(row[:2] == ours[:2] for row in mounts()):
                os.open(ours.place, os.O_PATH)  # holds it, and so the number of its connection
                if top_mount(ours.place) == ours:
                    umount_lazily(ours.place)
                abort_connection(ours.connection)
        os._exit(1)


def _noted(number: int, frame: object) -> None:
    """The wakeup descriptor has already told."""
