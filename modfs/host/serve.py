"""Serving a mount of this machine's own kernel."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from modfs.fuse.server import make_server
from modfs.host.directory import HostDirectory
from modfs.host.kernel import HostKernel
from modfs.mount.background import Kind
from modfs.mount.ending import ENDING, Ending
from modfs.mount.options import MountOptions, mount_options


def serve(
    kernel: HostKernel,
    mountpoint: str,
    options: MountOptions,
    ready: Callable[[], None],
    hung_up: Callable[[], None] | None = None,
) -> int:
    """Mount and serve until unmounted; ``ready`` is called once files can be read.

    At the end nothing of ours is left in tracefs. Not 0: it could not be mounted, and why was said
    on descriptor 2. UserError.
    """
    try:
        server = make_server(mount_options(options.fuse))
        ending = Ending(kernel, server, mountpoint, hung_up)
        files = HostDirectory(kernel, ending.begin)

        def mounted() -> None:
            ending.mounted()
            ready()

        with ending.watching(files):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            return server.run(mountpoint, files, mounted)
    finally:
        kernel.shutdown()


def _title(kernel: HostKernel) -> str:
    return os.uname().release


def _listen(kernel: HostKernel, heard: Callable[[str], None]) -> None:
    """The kernel logs by itself."""


HOST: Kind[HostKernel] = Kind(serve, _title, _listen)
