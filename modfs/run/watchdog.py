"""A server that does not answer is cut off, so that nobody waits for it and cannot be killed.

Whoever looks at a FUSE file waits until it is answered; once the server has taken the question up,
not even SIGKILL ends that (request_wait_answer, fs/fuse/dev.c). So a process of its own looks at
the root of the views every few seconds, and the keeper waits for word of that.
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import NoReturn

from modfs.linux import MNT_DETACH, MNT_FORCE, PR_SET_PDEATHSIG, libc

EVERY_SECONDS = 5.0
ANSWER_SECONDS = 30.0  # a machine that is short of everything may take long
END_SECONDS = 5.0  # to be killed in


class Watchdog:
    """Over the server of one mount, from inside its namespace."""

    def __init__(self, mountpoint: Path) -> None:
        """To be made by a process of one thread. The server is asked from now on."""
        # Held, because others may mount over the way to it.
        self._above = os.open(mountpoint.parent, os.O_PATH | os.O_CLOEXEC)
        self._name = os.fsencode(mountpoint.name)
        self._heard, heard = os.pipe()
        root = os.open(mountpoint, os.O_PATH | os.O_CLOEXEC)
        self._asker = os.fork()
        if not self._asker:
            _ask(root, heard)
        os.close(heard)
        os.close(root)

    def watch(self, until: int) -> bool:
        """Returns when ``until`` can be read; False: when the server has not answered."""
        poll = select.poll()
        for descriptor in (until, self._heard):
            poll.register(descriptor, select.POLLIN)
        while ready := dict(poll.poll((EVERY_SECONDS + ANSWER_SECONDS) * 1000)):
            if until in ready:
                return True
            if not os.read(self._heard, 4096):  # the connection is cut: nobody waits
                poll.unregister(self._heard)
                poll.poll()
                return True
        return False

    def cut(self) -> None:
        """Let all go who wait, with ECONNABORTED: a forced umount aborts the connection
        (fuse_umount_begin), which root of a user namespace may do as well."""
        os.fchdir(self._above)
        libc.umount2(self._name, MNT_FORCE | MNT_DETACH)
        self.end()

    def end(self) -> None:
        """Watch no more."""
        os.kill(self._asker, signal.SIGKILL)
        wait_for(self._asker, END_SECONDS)


def _ask(root: int, heard: int) -> NoReturn:
    """A process of its own: what it asks may never be answered."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        while True:
            os.stat(root)  # nothing is remembered of it: the server has to answer
            os.write(heard, b".")
            time.sleep(EVERY_SECONDS)
    finally:
        os._exit(0)


def wait_for(process: int, seconds: float) -> None:
    """Wait for a child's end, but not longer than that."""
    held = os.pidfd_open(process)
    try:
        poll = select.poll()
        poll.register(held, select.POLLIN)
        poll.poll(seconds * 1000)
        os.waitpid(process, os.WNOHANG)
    finally:
        os.close(held)
