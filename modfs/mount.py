"""Mounting and unmounting: in the background or not, checked before and after, cleaned up."""

from __future__ import annotations

import errno
import logging
import os
import queue
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loader.live import Live
    from modfs.filesystem import ModulesDirectory
    from modfs.fuse import Server

log = logging.getLogger("modfs")

FS_TYPE = "fuse.modfs"
_SERVER = ".control/server"  # holds the process number of the server
_READY = b"\0mounted"
_LEAVE_SECONDS = 10.0
_GRACE_SECONDS = 1.0

# For mount(8) and /etc/fstab; they say nothing to a FUSE file system.
_GENERIC = frozenset(
    (
        *("rw", "auto", "noauto", "user", "nouser", "users", "nofail", "defaults", "_netdev"),
        *("dev", "nodev", "suid", "nosuid", "exec", "noexec"),
        *("atime", "noatime", "relatime", "norelatime"),
    )
)
_INSTALL_FUSE = "install it with: apt-get install fuse"


class MountError(Exception):
    """It cannot be mounted or unmounted; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What -o means here: options for FUSE, our own, and the mode of the control file."""

    fuse: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    control_mode: int = 0o600

    @classmethod
    def parse(cls, texts: tuple[str, ...], own: frozenset[str]) -> MountOptions:
        """From the texts after -o. ``own``: names that are options of the command. MountError."""
        fuse: list[str] = []
        found: list[tuple[str, str]] = []
        mode = 0o600
        for word in (word for text in texts for word in text.split(",") if word):
            name, _, value = word.partition("=")
            if name == "control_mode":
                mode = _octal(value)
            elif name in own:
                found.append((name, value))
            elif name not in _GENERIC and not name.startswith(("x-", "comment")):
                fuse.append(word)
        return cls(tuple(fuse), tuple(found), mode)


def _octal(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise MountError(f"control_mode={text}: not a mode such as 0660")
    return mode


# -- what is mounted where ------------------------------------------------------------------------


def mounted_type(mountpoint: str) -> str | None:
    """The type of the file system mounted exactly there, None if there is none."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if place == mountpoint:
            found = fields[fields.index("-") + 1]
    return found


def _is_dead(mountpoint: str) -> bool:
    """Mounted, but its server is gone: only opening a file tells."""
    try:
        os.close(os.open(f"{mountpoint}/{_SERVER}", os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def _fusermount(*arguments: str) -> str:
    """Run fusermount; what it complained about."""
    program = shutil.which("fusermount") or shutil.which("fusermount3")
    if program is None:
        raise MountError(f"fusermount is missing: {_INSTALL_FUSE}")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def _prepare(mountpoint: str, options: MountOptions) -> None:
    """Everything that can be said before libfuse is asked. MountError."""
    if mounted_type(mountpoint) == FS_TYPE:
        if not _is_dead(mountpoint):
            raise MountError(f"{mountpoint}: modfs is already mounted here")
        umount_lazily(mountpoint)
    try:
        names = os.listdir(mountpoint)
    except FileNotFoundError:
        raise MountError(f"{mountpoint}: no such directory; make it with mkdir") from None
    except NotADirectoryError:
        raise MountError(f"{mountpoint}: not a directory") from None
    except OSError as error:
        raise MountError(f"{mountpoint}: {error.strerror}") from None
    if names and "nonempty" not in options.fuse:
        raise MountError(f"{mountpoint}: not empty; choose an empty directory, or -o nonempty")
    if not os.path.exists("/dev/fuse"):
        raise MountError("/dev/fuse is missing: the kernel has no FUSE; try modprobe fuse")


# -- serving --------------------------------------------------------------------------------------


def mount_options(more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """FUSE's options for our files. Names and attributes change only by our own hand, so the
    kernel may remember them; sizes and contents it may not."""
    fixed = ("entry_timeout=86400", "attr_timeout=86400", "negative_timeout=0", "direct_io", "intr")
    names = ("fsname=modfs", "subtype=modfs", "default_permissions", "use_ino")
    return (*names, *fixed, *more)


def serve(live: Live, mountpoint: str, options: MountOptions, ready: Callable[[], None]) -> int:
    """Mount and serve until unmounted; ``ready`` is called once requests can come.

    Not 0: libfuse could not mount, and has said why on descriptor 2. MountError.
    """
    from modfs.filesystem import ModulesDirectory
    from modfs.fuse import LibfuseMissing, Server

    files = ModulesDirectory(live, options.control_mode)
    files.when_mounted = ready
    try:
        server = Server(files, mountpoint, mount_options(options.fuse))
    except LibfuseMissing:
        raise MountError(f"libfuse 2 is missing: {_INSTALL_FUSE}") from None
    files.serve(server.client, server.interrupted)
    with _signals(live, server, files):
        return server.run()


@contextmanager
def _signals(live: Live, server: Server, files: ModulesDirectory) -> Iterator[None]:
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


# -- in the foreground and in the background ------------------------------------------------------


def mount(
    make: Callable[[], Live],
    mountpoint: str,
    options: MountOptions,
    *,
    foreground: bool = False,
    log_file: str | None = None,
    verbose: bool = False,
) -> int:
    """Mount; returns the exit status of the server, or 0 once a background mount answers.

    ``make`` builds the engine in the process that will serve it. MountError.
    """
    mountpoint = os.path.realpath(mountpoint)
    _prepare(mountpoint, options)
    if foreground:
        return _serve_logged(make, mountpoint, options, log_file, verbose, lambda: None)
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() == 0:
        os.close(read_end)
        _background(make, mountpoint, options, log_file, verbose, write_end)
    os.close(write_end)
    said = b""
    while not said.endswith(_READY) and (more := os.read(read_end, 4096)):
        said += more
    if not said.endswith(_READY):
        raise MountError(said.decode(errors="replace") or f"{mountpoint}: the server ended early")
    _check(mountpoint)
    return 0


def _background(
    make: Callable[[], Live],
    mountpoint: str,
    options: MountOptions,
    log_file: str | None,
    verbose: bool,
    status: int,
) -> None:
    """The server's process: a session of its own, which tells ``status`` how the start went."""
    code = 1
    try:
        os.setsid()
        log_file = os.path.abspath(log_file) if log_file else None
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)

        def ready() -> None:
            os.write(status, _READY)
            os.close(status)

        code = _serve_logged(make, mountpoint, options, log_file, verbose, ready)
    except MountError as error:
        os.write(status, str(error).encode())
    except BaseException as error:
        log.exception("the server failed")
        os.write(status, f"{mountpoint}: {error or type(error).__name__}".encode())
    finally:
        os._exit(code)


def _serve_logged(
    make: Callable[[], Live],
    mountpoint: str,
    options: MountOptions,
    log_file: str | None,
    verbose: bool,
    ready: Callable[[], None],
) -> int:
    """Serve with the log set up; what libfuse says while it mounts becomes a MountError."""
    _set_up_log(log_file, verbose)
    live = make()
    if verbose:
        live.kernel.log.listener = _forward_kernel_log()
    mounted = threading.Event()
    with CapturedStderr() as said:

        def ready_and_heard() -> None:
            said.restore()
            mounted.set()
            log.info("mounted on %s, process %d", mountpoint, os.getpid())
            ready()

        status = serve(live, mountpoint, options, ready_and_heard)
    log.info("unmounted %s", mountpoint)
    if not mounted.is_set():
        raise MountError(f"{mountpoint}: {reason(said.text)}")
    return status


class CapturedStderr:
    """Descriptor 2 goes to memory until ``restore``; libfuse writes there, not through Python."""

    def __init__(self) -> None:
        self.text = ""
        self._lock = threading.Lock()
        self._saved: int | None = None

    def __enter__(self) -> CapturedStderr:
        sys.stderr.flush()
        self._memory = os.memfd_create("stderr")
        self._saved = os.dup(2)
        os.dup2(self._memory, 2)
        return self

    def restore(self) -> None:
        """Back to where it went before."""
        with self._lock:
            if self._saved is None:
                return
            os.dup2(self._saved, 2)
            os.close(self._saved)
            self._saved = None
            size = os.fstat(self._memory).st_size
            self.text = os.pread(self._memory, size, 0).decode(errors="replace")
            os.close(self._memory)

    def __exit__(self, *exception: object) -> None:
        self.restore()


def reason(said: str) -> str:
    """libfuse's and fusermount's last words, as one line with what to do."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("user_allow_other" in line for line in lines):
        return "allow_other needs the line user_allow_other in /etc/fuse.conf"
    if any("/dev/fuse" in line and "ermission" in line for line in lines):
        return "no permission for /dev/fuse; ask for it, or mount as root"
    if any("fusermount" in line and "No such file" in line for line in lines):
        return f"fusermount is missing: {_INSTALL_FUSE}"
    if not lines:
        return "it could not be mounted"
    return lines[-1].removeprefix("fuse: ").removeprefix("fusermount: ")


def _check(mountpoint: str) -> None:
    """Does it answer? Only opening and reading a file tells."""
    try:
        Path(mountpoint, _SERVER).read_bytes()
    except OSError as error:
        raise MountError(f"{mountpoint}: mounted, but does not answer: {error.strerror}") from None


def _set_up_log(log_file: str | None, verbose: bool) -> None:
    form = "%(asctime)s %(name)s: %(message)s"
    level = logging.INFO if verbose else logging.WARNING
    if log_file is None:
        logging.basicConfig(format=form, level=level)
        return
    try:
        logging.basicConfig(filename=log_file, format=form, level=min(level, logging.INFO))
    except OSError as error:
        raise MountError(f"{log_file}: {error.strerror}") from None


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


# -- unmounting -----------------------------------------------------------------------------------


def umount_lazily(mountpoint: str) -> None:
    """Take a mount away, also from under open files and from a server that is dead. MountError."""
    if mounted_type(mountpoint) == FS_TYPE and (problem := _fusermount("-u", "-z", mountpoint)):
        raise MountError(f"{mountpoint}: {problem}")


def umount(mountpoint: str) -> None:
    """Unmount; whoever waits in a request is let go with ENOTCONN. MountError."""
    mountpoint = os.path.realpath(mountpoint)
    kind = mounted_type(mountpoint)
    if kind != FS_TYPE:
        raise MountError(f"{mountpoint}: modfs is not mounted here")
    try:
        number = int(Path(mountpoint, _SERVER).read_text())
        process = os.pidfd_open(number)
    except PermissionError:
        raise MountError(f"{mountpoint}: mounted by another user") from None
    except (OSError, ValueError):
        umount_lazily(mountpoint)
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.poll(_LEAVE_SECONDS * 1000)
    except PermissionError:
        raise MountError(f"{mountpoint}: mounted by another user") from None
    finally:
        os.close(process)
    umount_lazily(mountpoint)
