"""Serving a mount, until it is unmounted or the server is told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from loader.errors import UserError
from modfs.mount.options import MountOptions, mount_options

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel
    from modfs.mount.events import Events, EventsFile


def serve(
    live: LiveKernel,
    mountpoint: str,
    options: MountOptions,
    ready: Callable[[], None],
    hung_up: Callable[[], None] | None = None,
) -> int:
    """Mount and serve until unmounted; ``ready`` is called once requests can come.

    ``hung_up`` is called at SIGHUP; without it, that ends the server. In another thread than the
    main one signals are left to the program around it. Not 0: it could not be mounted, and why was
    said on descriptor 2. UserError.
    """
    from modfs.fuse.server import make_server
    from modfs.mount.directory import ModulesDirectory
    from modfs.mount.ending import Ending
    from modfs.mount.events import Events

    server = make_server(mount_options(options.fuse))
    events = Events(live, options.events)
    if threading.current_thread() is not threading.main_thread():
        files = ModulesDirectory(live, server, options.control_mode, events=events)
        return server.run(mountpoint, files, ready)
    ending = Ending(live, server, mountpoint, hung_up)
    mode = options.control_mode
    files = ModulesDirectory(live, server, mode, ending.begin, events=events)
    file = _events_file(events, options.events_file)

    def mounted() -> None:
        ending.mounted()
        ready()

    with ending.watching(files):
        try:
            return server.run(mountpoint, files, mounted)
        finally:
            live.shutdown()
            if file is not None:
                file.close()


def _events_file(events: Events, path: str | None) -> EventsFile | None:
    """UserError: it cannot be opened."""
    from modfs.mount.events import EventsFile
    from modfs.mount.log_file import told

    try:
        return None if path is None else EventsFile(events, path)
    except OSError as error:
        raise UserError(told(path or "", error)) from None
