"""Mounting and unmounting: in the background or not, checked before and after, cleaned up."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from loader.errors import UserError, in_words
from modfs.mount.aside import Silent, aside
from modfs.mount.descriptors import close_descriptors, open_descriptors
from modfs.mount.log_file import set_up_log
from modfs.mount.mountinfo import DEAD, FS_TYPE, SERVER, Mount, find, umount_lazily
from modfs.mount.notify import notify
from modfs.mount.options import MountOptions
from modfs.mount.pid_file import pid_file
from modfs.mount.serve import serve
from modfs.mount.stderr import CapturedStderr, reason

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel


K = TypeVar("K")
log = logging.getLogger("modfs")


@dataclass(frozen=True, slots=True)
class Manner:
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


ENGINE: Kind[LiveKernel] = Kind(serve, lambda live: live.config.release.title, _listen)

_READY = b"\0mounted"


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
    manner: Manner = Manner(),
) -> int:
    """Mount; returns the exit status of the server, or 0 once a background mount answers.

    ``make`` builds a kernel of that ``kind`` in the process that will serve it. UserError.
    """
    mountpoint = _prepare(mountpoint, options)
    if foreground:
        return _serve_logged(make, mountpoint, options, kind, manner, lambda: None)
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() == 0:
        os.close(read_end)
        _background(make, mountpoint, options, kind, manner, write_end)
    os.close(write_end)
    said = b""
    while not said.endswith(_READY) and (more := os.read(read_end, 4096)):
        said += more
    if not said.endswith(_READY):
        raise UserError(said.decode(errors="replace") or f"{mountpoint}: the server ended early")
    _check(mountpoint)
    return 0


def _background(
    make: Callable[[], K],
    mountpoint: str,
    options: MountOptions,
    kind: Kind[K],
    manner: Manner,
    status: int,
) -> None:
    """The server's process: a session of its own, which tells ``status`` how the start went."""
    code = 1
    try:
        manner = manner.absolute()
        inherited = open_descriptors() - {status}
        _leave_the_caller()

        def made() -> K:
            live = make()  # which may read what the caller has open, as /dev/fd/63
            close_descriptors(inherited, keep=(0, 1, 2))
            return live

        def ready() -> None:
            os.write(status, _READY)
            os.close(status)

        code = _serve_logged(made, mountpoint, options, kind, manner, ready)
    except UserError as error:
        os.write(status, str(error).encode())
    except BaseException as error:
        log.exception("the server failed")
        os.write(status, f"{mountpoint}: {error or type(error).__name__}".encode())
    finally:
        os._exit(code)


def _leave_the_caller() -> None:
    """Nothing of the caller's is left but its limits and its OOM score."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _serve_logged(
    make: Callable[[], K],
    mountpoint: str,
    options: MountOptions,
    kind: Kind[K],
    manner: Manner,
    ready: Callable[[], None],
) -> int:
    """Serve with the log set up; what libfuse says while it mounts becomes a UserError."""
    reopen = set_up_log(manner.log_file, manner.verbose)
    live = make()
    if manner.verbose:
        kind.listen(live, _forward_kernel_log())
    mounted = threading.Event()
    with pid_file(manner.pid_file), CapturedStderr() as said:

        def ready_and_heard() -> None:
            said.restore()
            mounted.set()
            log.info("mounted on %s, process %d", mountpoint, os.getpid())
            ready()
            notify("READY=1", f"STATUS={kind.title(live)} on {mountpoint}")

        status = kind.serve(live, mountpoint, options, ready_and_heard, reopen)
    log.info("unmounted %s", mountpoint)
    if not mounted.is_set():
        raise UserError(f"{mountpoint}: {reason(said.text)}")
    return status


def _check(mountpoint: str) -> None:
    try:
        aside(lambda: _read_server(mountpoint))
    except Silent:
        raise UserError(f"{mountpoint}: mounted, but does not answer") from None
    except OSError as error:
        raise UserError(f"{mountpoint}: mounted, but does not answer: {in_words(error)}") from None


def _forward_kernel_log() -> Callable[[str], None]:
    """A listener that leaves the writing to a thread: it is called with the kernel's lock held."""
    lines: queue.Queue[str] = queue.Queue(maxsize=10_000)
    kernel = logging.getLogger("kernel")

    def write() -> None:
        while True:
            kernel.info("%s", lines.get())

    def listen(line: str) -> None:
        with suppress(queue.Full):  # the ring in kmsg still has it
            lines.put_nowait(line)

    threading.Thread(target=write, daemon=True).start()
    return listen
