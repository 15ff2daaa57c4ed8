"""What described devices need in a sandbox, beside their view: what udev writes stays in it.

/sys     devices, bus, class, block and dev are the view's
/dev     a few of the host's nodes, and room for links
/run     udev's own folder, empty
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from loader.errors import UserError, in_words
from modfs.devices import uevents
from modfs.devices.view import FOLDERS
from modfs.linux import CLONE_NEWNET, CLONE_NEWUSER, failure, libc
from modfs.run import sandbox

ENVIRONMENT = {"SYSTEMD_DEVICE_VERIFY_SYSFS": "0"}
"""libudev takes no /sys that is not sysfs, unless it is told to (sd-device; 251 on)."""
VIEW = "sys"
_NODES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "kmsg", "console")
_SHARED = ("pts", "shm", "mqueue", "hugepages")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def enter_network(user: bool) -> socket.socket:
    """A network namespace of our own, and what events are sent into it with. ``user``: this process
    is in a user namespace of ours. UserError."""
    if (user or not _enter_foreign_network()) and libc.unshare(CLONE_NEWNET):
        raise UserError(f"no network namespace can be had: {in_words(failure())}")
    try:
        return uevents.channel()
    except OSError as error:
        raise UserError(f"events of devices cannot be sent: {in_words(error)}") from None


def _enter_foreign_network() -> bool:
    """One that belongs to another user namespace: those of the first one are told of the host's own
    events, too (uevent_net_init). False: there can be none."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        if not libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            theirs.send(b"made")
            theirs.recv(1)  # until it has been entered
        os._exit(0)
    theirs.close()
    try:
        if not ours.recv(4):
            return False
        network = os.open(f"/proc/{child}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        entered = not libc.setns(network, CLONE_NEWNET)
        os.close(network)
        return entered
    finally:
        ours.close()
        os.waitpid(child, 0)


def place_devices() -> None:
    """Put the view at its places, and the rest. UserError."""
    for name in FOLDERS:
        if Path("/sys", name).is_dir():
            sandbox.bind(sandbox.VIEWS / VIEW / name, Path("/sys", name))
    _private_dev()
    sandbox.private_folder(Path("/run/udev"))


def _private_dev() -> None:
    real = sandbox.HOME / "dev"
    real.mkdir()
    sandbox.bind(Path("/dev"), real)
    sandbox.mount_tmpfs(Path("/dev"))
    for name in _NODES:
        if (real / name).exists():
            Path("/dev", name).touch()
            sandbox.bind(real / name, Path("/dev", name))
    for name in _SHARED:
        if (real / name).is_dir():
            Path("/dev", name).mkdir()
            sandbox.bind(real / name, Path("/dev", name))
    for name, target in _LINKS.items():
        with suppress(FileExistsError):
            os.symlink(target, f"/dev/{name}")
