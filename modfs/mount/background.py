"""Mounting and unmounting: in the background or not, checked before and after, cleaned up."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from loader.errors import UserError, in_words
from modfs.mount import head_start
from modfs.mount.aside import Silent, aside
from modfs.mount.mountinfo import DEAD, FS_TYPE, SERVER, Mount, find, umount_lazily
from modfs.mount.options import MountOptions
from modfs.mount.serve import serve

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel


K = TypeVar("K")


class Manner(NamedTuple):
    """How a server lives: where its log and its process number go, None for nowhere; ``verbose``
    logs what the kernel would log as well."""

    log_file: str | None = None
    pid_file: str | None = None
    verbose: bool = False

    def absolute(self) -> Manner:
        """The same from another working directory."""
        log_file, pid_file = (
            path and os.path.abspath(path) for path in (self.log_file, self.pid_file)
        )
        return Manner(log_file, pid_file, self.verbose)


class Kind(NamedTuple, Generic[K]):
    """A kind of kernel: how it is served, what it is called, and who hears what it logs."""

    serve: Callable[..., int]
    title: Callable[[K], str]
    listen: Callable[[K, Callable[[str], None]], None]


def _listen(live: LiveKernel, listener: Callable[[str], None]) -> None:
    live.kernel.log.listener = listener


def _title(live: LiveKernel) -> str:
    return live.config.release.title


ENGINE: Kind[LiveKernel] = Kind(serve, _title, _listen)


class Order(NamedTuple):
    """What a server is to do. ``make`` builds a kernel of that ``kind`` in the server's process;
    ``mountpoint`` is a real path. All of it can be pickled."""

    make: Callable[[], Any]
    mountpoint: str
    options: MountOptions
    kind: Kind[Any]
    manner: Manner


READY = b"\0mounted"
"""What a server says once it answers."""


def _prepare(path: str, options: MountOptions) -> str:
    """Everything that can be said before libfuse is asked; the mountpoint's real path. UserError.

    Whatever is mounted there already may belong to a server that never answers.
    """
    try:
        place, there = find(path)
        if there and there.type == FS_TYPE:
            _clear(path, there)
        names = aside(lambda: os.listdir(place))
    except Silent:
        raise UserError(f"{path}: who serves it does not answer; try modfs umount") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such directory; make it with mkdir") from None
    except NotADirectoryError:
        raise UserError(f"{path}: not a directory") from None
    except OSError as error:
        raise UserError(f"{path}: {in_words(error)}") from None
    if names and "nonempty" not in options.fuse:
        raise UserError(f"{path}: not empty; choose an empty directory, or -o nonempty")
    if not os.path.exists("/dev/fuse"):
        raise UserError("/dev/fuse is missing: the kernel has no FUSE; try modprobe fuse")
    return place


def _clear(path: str, there: Mount) -> None:
    """Take away what a dead server left. UserError: it is not dead; Silent."""
    try:
        aside(lambda: _read_server(there.place))
    except OSError as error:
        if error.errno in DEAD:
            umount_lazily(there.place)
            return
    raise UserError(f"{path}: modfs is already mounted here")


def _read_server(place: str) -> None:
    """Only opening and reading a file tells whether anybody answers. OSError."""
    Path(place, SERVER).read_bytes()


# -- in the foreground and in the background ------------------------------------------------------


def mount(
    make: Callable[[], K],
    mountpoint: str,
    options: MountOptions,
    *,
    kind: Kind[Any] = ENGINE,
    foreground: bool = False,
    manner: Manner | None = None,
) -> int:
    """Mount; returns the exit status of the server, or 0 once a background mount answers.

    ``make`` builds a kernel of that ``kind`` in the process that will serve it. UserError.
    """
    manner = manner or Manner()
    mountpoint = _prepare(mountpoint, options)
    if foreground:
        from modfs.mount.background_server import serve_logged

        return serve_logged(Order(make, mountpoint, options, kind, manner), lambda: None)
    sys.stdout.flush()
    sys.stderr.flush()
    told = _begin(Order(make, mountpoint, options, kind, manner.absolute()))
    try:
        _hear(told, mountpoint)
        _check(mountpoint)
    except KeyboardInterrupt:
        _take_back(told, mountpoint)
        raise
    return 0


def _hear(told: int, mountpoint: str) -> None:
    """Until the server answers. UserError: it does not; in its words."""
    said = b""
    while not said.endswith(READY) and (more := os.read(told, 4096)):
        said += more
    if not said.endswith(READY):
        raise UserError(said.decode(errors="replace") or f"{mountpoint}: the server ended early")


def _take_back(told: int, mountpoint: str) -> None:
    """Ctrl-C: a server that is not ready yet ends when it cannot tell it; from one that is, the
    mount is taken."""
    os.close(told)
    with suppress(OSError, Silent, UserError):
        place, there = find(mountpoint)
        if there and there.type == FS_TYPE:
            umount_lazily(place)


def _begin(order: Order) -> int:
    """Have a process serve; a descriptor to read how that goes."""
    early = head_start.take(order)
    if early is not None:
        return early
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        from modfs.mount.background_server import serve_in_background

        os.close(read_end)
        serve_in_background(order, write_end)
    os.close(write_end)
    return read_end


def _check(mountpoint: str) -> None:
    try:
        aside(lambda: _read_server(mountpoint))
    except Silent:
        raise UserError(f"{mountpoint}: mounted, but does not answer") from None
    except OSError as error:
        raise UserError(f"{mountpoint}: mounted, but does not answer: {in_words(error)}") from None
