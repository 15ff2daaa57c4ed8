"""One FUSE connection from outside: which processes serve it, and how it is cut."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from modfs.linux import CLONE_NEWNS, MS_PRIVATE, MS_REC, failure, libc
from modfs.mount.aside import Silent, aside
from modfs.mount.mountinfo import Mount, mount_number

_CONTROL = "/sys/fs/fuse/connections"  # where fusectl is mounted, if it is


# -- who serves it ---------------------------------------------------------------------------------


class Server:
    """A process that has a connection open, held so that no other can get its number."""

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self._descriptor = descriptor

    def send(self, what: int) -> None:
        """A signal. It may be gone already."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, what)

    def ended(self, seconds: float) -> bool:
        """Wait for its end, but not longer than that."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        os.close(self._descriptor)


def servers(mount: Mount) -> list[Server]:
    """The processes that serve ``mount`` for certain: the kernel says so, not the server.

    They have /dev/fuse open, which tells its connection (fuse_dev_show_fdinfo, 6.16; none on older
    kernels), and are wholly of the user who mounted it: a descriptor can be given to others.
    """
    return [server for name in os.listdir("/proc") if (server := _server(name, mount))]


def _server(name: str, mount: Mount) -> Server | None:
    if not name.isdigit() or not _serves(name, mount):
        return None
    try:
        descriptor = os.pidfd_open(int(name))
    except OSError:
        return None
    if _serves(name, mount):  # still: so it is the process that is held now
        return Server(int(name), descriptor)
    os.close(descriptor)
    return None


def _serves(name: str, mount: Mount) -> bool:
    try:
        status = Path(f"/proc/{name}/status").read_bytes().splitlines()
        users = next(line.split()[1:] for line in status if line.startswith(b"Uid:"))
        return {int(user) for user in users} == {mount.user()[0]} and any(
            number == mount.connection for number in _connections(name)
        )
    except OSError:  # it has ended, or is none of ours
        return False


def _connections(name: str) -> Iterator[int]:
    for fd in os.listdir(f"/proc/{name}/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/{name}/fd/{fd}").endswith("/fuse"):
                continue
            for line in Path(f"/proc/{name}/fdinfo/{fd}").read_text().splitlines():
                if line.startswith("fuse_connection:"):
                    yield int(line.split()[1])


# -- its end ---------------------------------------------------------------------------------------


def abort(mount: Mount) -> bool:
    """Cut the connection: whoever waits in the mount is let go. False: it could not be done.

    Root can; who mounted it can where fusectl is mounted.
    """
    try:
        return bool(aside(lambda: _abort(mount)))
    except (OSError, Silent):
        return False


def _abort(mount: Mount) -> bool:
    root = os.open(mount.place, os.O_PATH)
    if mount_number(root) != mount.number:  # held by now, so that its connection is no other's
        return False
    abort_connection(mount.connection)
    return True


def abort_connection(number: int) -> None:
    """Cut it, in a process or thread that ends soon: it may get a mount namespace. OSError."""
    switch = Path(_CONTROL, str(number), "abort")
    if os.geteuid() == 0 and not switch.exists():
        _mount_fusectl()
    switch.write_text("1")


def _mount_fusectl() -> None:
    """Where nobody else can see it. OSError."""
    if (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        or libc.mount(b"fusectl", _CONTROL.encode(), b"fusectl", 0, None)
    ):
        raise failure()
