"""Who serves a file system of ours: this process by itself, or libfuse in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, Protocol

from loader.errors import UserError

if TYPE_CHECKING:
    from modfs.fuse.files import FileSystem

INTERRUPTS = signal.SIGUSR1  # sent to the thread whose client was sent a signal
WAKES_MAIN = signal.SIGUSR2  # by libfuse's server: whoever calls Server.exit has handlers for both

CHOSEN = "MODFS_FUSE"
"""In the environment: "device", as it is without, or "libfuse"."""
LIBRARY = "FUSE_LIBRARY_PATH"
"""In the environment: a libfuse, which is then taken. fusepy and mfusepy look at it as well."""
_DEVICE, _LIBFUSE = "device", "libfuse"


class Server(Protocol):
    """One file system. ``run`` mounts it and serves it until it is unmounted or ``exit`` is called;
    ``serve`` serves what is mounted already."""

    descriptor: int | None
    """/dev/fuse, once it is mounted. poll(2) tells POLLERR when the connection is cut."""
    sought: Callable[[int], int | None]
    """Asked for the size of an open file, which lseek(2) wants to know for SEEK_END and SEEK_DATA;
    None: that of its path. (fstat(2) asks for the path's.)"""

    def run(
        self, mountpoint: str, files: FileSystem, mounted: Callable[[], None] = lambda: None
    ) -> int:
        """Mount ``files`` and serve them; returns when the file system is gone.

        ``mounted`` is called once it answers. Not 0: it could not be mounted, for a reason that
        was printed to descriptor 2. UserError: the same, for one that it tells.
        """

    def serve(self, descriptor: int, files: FileSystem, ready: Callable[[], None]) -> None:
        """Serve a connection of /dev/fuse that somebody has mounted, and close it in the end.

        Returns when it is cut. ``ready`` as ``mounted`` of ``run``. UserError: it cannot be served.
        """

    def exit(self) -> None:
        """End ``run``, from any thread. Whoever waits in an operation must be let go first."""

    def interrupted(self) -> bool:
        """Has the client of the operation that runs in this thread been sent a signal?"""

    def client(self) -> tuple[int, int, int]:
        """(uid, gid, pid) of the client of the operation that runs in this thread."""

    def nonblocking(self) -> bool:
        """Has the file that is read in this thread O_NONBLOCK?"""


def described() -> str:
    """What serves here, in a few words. UserError."""
    if _chosen() == _LIBFUSE:
        from modfs.fuse.library import described

        return described()
    from modfs.fuse.protocol import FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION

    return f"FUSE {FUSE_KERNEL_VERSION}.{FUSE_KERNEL_MINOR_VERSION}"


def _chosen() -> str:
    """What the environment says. UserError: something else than there is."""
    said = os.environ.get(CHOSEN) or (_LIBFUSE if os.environ.get(LIBRARY) else _DEVICE)
    if said not in (_DEVICE, _LIBFUSE):
        raise UserError(f"{CHOSEN}={said}: neither {_DEVICE} nor {_LIBFUSE}")
    return said


def make_server(words: Iterable[str], without: Container[str] = ()) -> Server:
    """For ``words`` as after mount's -o. ``without``: operations that are to be ENOSYS.

    By libfuse where that is asked for, or where a word might mean something to it alone. UserError:
    it is missing.
    """
    from modfs.fuse.options import Options

    words = tuple(words)
    options = Options.of(words)
    if _chosen() == _LIBFUSE or options is None:
        from modfs.fuse.through_libfuse import LibfuseServer

        return LibfuseServer(words, without)
    from modfs.fuse.direct import DirectServer

    return DirectServer(options, without)
