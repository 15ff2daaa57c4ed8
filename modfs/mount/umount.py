"""Unmounting: whoever waits in a request is let go."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from loader.errors import UserError
from modfs.mount.mountinfo import FS_TYPE, SERVER, mounted_type, umount_lazily

_LEAVE_SECONDS = 10.0


def umount(mountpoint: str) -> None:
    """Unmount; whoever waits in a request is let go with ENOTCONN. UserError."""
    mountpoint = os.path.realpath(mountpoint)
    kind = mounted_type(mountpoint)
    if kind != FS_TYPE:
        raise UserError(f"{mountpoint}: modfs is not mounted here")
    try:
        number = int(Path(mountpoint, SERVER).read_text())
        process = os.pidfd_open(number)
    except PermissionError:
        raise UserError(f"{mountpoint}: mounted by another user") from None
    except (OSError, ValueError):
        umount_lazily(mountpoint)
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.poll(_LEAVE_SECONDS * 1000)
    except PermissionError:
        raise UserError(f"{mountpoint}: mounted by another user") from None
    finally:
        os.close(process)
    umount_lazily(mountpoint)
