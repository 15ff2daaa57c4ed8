"""modfs verify --through-mount: the steps asked of a real mount, as a program would ask them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader.engine.threads import LiveKernel
from loader.errors import UserError
from modfs.fuse.server import Server
from modfs.mount.directory import ModulesDirectory
from modfs.mount.mountinfo import umount_lazily
from modfs.mount.options import mount_options
from modfs.verify.answerers import Mounted

_START_SECONDS = 10.0


@contextmanager
def through_mount(live: LiveKernel) -> Iterator[Mounted]:
    """``live`` mounted in a temporary folder, served by a thread. UserError."""
    ready = threading.Event()
    with tempfile.TemporaryDirectory(prefix="modfs-verify-") as name:
        server = Server(mount_options())
        files = ModulesDirectory(live, server)
        thread = threading.Thread(target=server.run, args=(name, files, ready.set))
        thread.start()
        try:
            if not ready.wait(_START_SECONDS):
                raise UserError("could not mount: see what libfuse says above")
            mounted = Mounted(Path(name))
            yield mounted
            mounted.kernel.close()
        finally:
            live.shutdown()
            umount_lazily(name)
            thread.join()
