"""modfs verify --through-mount: the steps asked of a real mount, as a program would ask them.

Who serves a mount must be another process than who asks: a thread that waits for an answer of its
own process cannot be killed. So the server is forked off, in a session of its own, and ends as any
server does (modfs.mount.ending) as soon as nobody holds the other end of a pipe: however the asking
process came to its end.
"""

from __future__ import annotations

import os
import select
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from loader.engine.threads import LiveKernel
from loader.errors import UserError
from modfs.mount.descriptors import close_descriptors, open_descriptors
from modfs.mount.ending import END_SECONDS
from modfs.mount.options import MountOptions
from modfs.mount.serve import serve
from modfs.mount.stderr import CapturedStderr, reason
from modfs.verify.answerers import Mounted

_READY = b"ready"


@contextmanager
def through_mount(live: LiveKernel) -> Iterator[Mounted]:
    """``live`` mounted in a temporary folder, served by a process of its own. UserError."""
    folder = tempfile.mkdtemp(prefix="modfs-verify-")
    server = _Server(live, folder)
    try:
        server.await_ready()
        mounted = Mounted(Path(folder))
        try:
            yield mounted
        finally:
            mounted.kernel.close()
    finally:
        server.end()


class _Server:
    """The server's process, seen by who asks."""

    def __init__(self, live: LiveKernel, folder: str) -> None:
        end, self._end = os.pipe()  # nothing is written: closing it is the word
        self._said, say = os.pipe()
        self._process = os.fork()
        if not self._process:
            _serve(live, folder, end, say)
        os.close(end)
        os.close(say)

    def await_ready(self) -> None:
        """UserError: it could not mount."""
        said = b""
        while said != _READY and (more := os.read(self._said, 4096)):
            said += more
        if said != _READY:
            raise UserError(f"could not mount: {said.decode(errors='replace') or 'it ended'}")

    def end(self) -> None:
        """Have it end, and wait; it cuts its connection in the end, whatever it does."""
        os.close(self._end)
        os.close(self._said)
        process = os.pidfd_open(self._process)
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            if not poll.poll((END_SECONDS + 5) * 1000):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
        os.waitpid(self._process, 0)


def _serve(live: LiveKernel, folder: str, end: int, say: int) -> NoReturn:
    """The server's process: nothing of the other one's is open in it, nor its terminal its own."""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # somebody may wait for the end of what is printed there
            os.dup2(null, descriptor)
        close_descriptors(open_descriptors(), keep=(0, 1, 2, end, say))
        _serve_until(live, folder, end, say)
    except BaseException as error:
        os.write(say, str(error).encode()[:4096])
    finally:
        with suppress(OSError):
            os.rmdir(folder)
        os._exit(0)


def _serve_until(live: LiveKernel, folder: str, end: int, say: int) -> None:
    def end_with_the_pipe() -> None:
        os.read(end, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    with CapturedStderr() as said:

        def ready() -> None:
            said.restore()
            threading.Thread(target=end_with_the_pipe, daemon=True).start()
            os.write(say, _READY)

        if serve(live, folder, MountOptions(), ready):
            said.restore()
            os.write(say, reason(said.text).encode())
