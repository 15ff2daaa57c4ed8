"""Serving a mount, until it is unmounted or the server is told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from modfs.mount.ending import Ending
from modfs.mount.options import MountOptions, mount_options

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel


def serve(
    live: LiveKernel,
    mountpoint: str,
    options: MountOptions,
    ready: Callable[[], None],
    hung_up: Callable[[], None] | None = None,
) -> int:
    """Mount and serve until unmounted; ``ready`` is called once requests can come.

    ``hung_up`` is called at SIGHUP; without it, that ends the server. In another thread than the
    main one signals are left to the program around it. Not 0: libfuse could not mount, and has said
    why on descriptor 2. UserError.
    """
    from modfs.fuse.server import Server
    from modfs.mount.directory import ModulesDirectory

    server = Server(mount_options(options.fuse))
    if threading.current_thread() is not threading.main_thread():
        files = ModulesDirectory(live, server, options.control_mode)
        return server.run(mountpoint, files, ready)
    ending = Ending(live, server, mountpoint, hung_up)
    files = ModulesDirectory(live, server, options.control_mode, ending.begin)

    def mounted() -> None:
        ending.mounted()
        ready()

    with ending.watching(files):
        return server.run(mountpoint, files, mounted)
