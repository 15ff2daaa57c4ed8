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
from modfs.linux import CLONE_NEWNET, failure, libc
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


def enter_network() -> socket.socket:
    """A network namespace of our own, and what events are sent into it with. UserError."""
    if libc.unshare(CLONE_NEWNET):
        raise UserError(f"no network namespace can be had: {in_words(failure())}")
    try:
        return uevents.channel()
    except OSError as error:
        raise UserError(f"events of devices cannot be sent: {in_words(error)}") from None


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
