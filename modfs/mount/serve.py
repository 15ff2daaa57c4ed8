"""Serving a mount: the file system, and the signals that end waits or the server."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modfs.mount.options import MountOptions, mount_options

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel
    from modfs.fuse.server import Server
    from modfs.mount.directory import ModulesDirectory


_GRACE_SECONDS = 1.0


def serve(
    live: LiveKernel, mountpoint: str, options: MountOptions, ready: Callable[[], None]
) -> int:
    """Mount and serve until unmounted; ``ready`` is called once requests can come.

    Not 0: libfuse could not mount, and has said why on descriptor 2. UserError.
    """
    from modfs.fuse.server import Server
    from modfs.mount.directory import ModulesDirectory

    server = Server(mountpoint, mount_options(options.fuse))
    files = ModulesDirectory(live, server, options.control_mode)
    with _signals(live, server, files):
        return server.run(files, ready)


@contextmanager
def _signals(live: LiveKernel, server: Server, files: ModulesDirectory) -> Iterator[None]:
    """Let signals end waits: a client's own, which libfuse passes on as SIGUSR1 to the thread that
    serves it, and those that end the server.

    Python's handlers run in the main thread only, and that is inside libfuse; but each signal, in
    whichever thread, also writes a byte to a pipe, and a thread of ours reads that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # the program around us has its own way with signals
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    old_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, _noted) for number in (*ending, signal.SIGUSR1)}

    def watch() -> None:
        while numbers := os.read(read_end, 4096):
            if any(number in ending for number in numbers):
                live.shutdown()
                files.wait_until_closed(_GRACE_SECONDS)  # let writers hear of it, and close
                server.exit()
            live.wake()
        os.close(read_end)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        live.shutdown()
        signal.set_wakeup_fd(old_fd)
        os.close(write_end)
        watcher.join()
        for number, handler in old.items():
            signal.signal(number, handler)


def _noted(number: int, frame: object) -> None:
    """The wakeup descriptor has already told."""
