"""What a file system of ours does, and what it can know of who asks, whoever serves it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol


class Attributes(NamedTuple):
    """What getattr tells: ``mode`` with the type of the file; ``size`` in bytes."""

    mode: int
    size: int = 0
    links: int = 1
    inode: int = 0


class Nature(NamedTuple):
    """What never changes of a path, so that less has to be asked.

    ``waits``: an operation on it may wait for anything but a lock that is soon free. ``flushes``:
    something happens when it is closed. ``lasts``: what getattr tells stays as it is.
    """

    waits: bool = True
    flushes: bool = True
    lasts: bool = False


class FileSystem(Protocol):
    """What a file system does. Paths are bytes from the mount's root; errors are OSError."""

    uid: int
    gid: int

    def getattr(self, path: bytes) -> Attributes: ...

    def nature(self, path: bytes) -> Nature:
        """Of a path that is there."""

    def text(self, path: bytes) -> bytes | None:
        """What is in a file now. None: see modfs.fuse.measured; its size is that of getattr."""

    def readlink(self, path: bytes) -> bytes: ...

    def opendir(self, path: bytes) -> int: ...

    def readdir(self, directory: int) -> Iterable[bytes]: ...

    def releasedir(self, directory: int) -> None: ...

    def open(self, path: bytes, flags: int) -> int: ...

    def read(self, handle: int, size: int, offset: int) -> bytes: ...

    def poll(self, handle: int, notify: Callable[[], None] | None) -> bool | int:
        """Can it be read now? Each can be written, but where the answer is a poll(2) mask."""

    def write(self, handle: int, data: bytes) -> int: ...

    def flush(self, handle: int) -> None: ...

    def release(self, handle: int) -> None: ...


class Operation(Protocol):
    """The operation that the calling thread carries out, as its server knows it."""

    def client(self) -> tuple[int, int, int]:
        """(uid, gid, thread number) of who asks for it."""

    def interrupted(self) -> bool:
        """Has a signal been sent to who asks for it? To be asked before each wait for anything."""


DIRECTORY = Attributes(stat.S_IFDIR | 0o755, links=2)
