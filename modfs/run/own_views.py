"""What a server of views never looks at: the views themselves.

A thread that does waits for another thread of the same server, and if the server is killed then,
neither can end: the connection is cut when its last descriptor is closed, and a process that waits
closes none.
"""

from __future__ import annotations

import os
from fcntl import F_GETFL, fcntl
from pathlib import Path

from modfs.linux import device_unasked

WITHOUT = ("flush",)
"""What the views do without. Each close(2) waits for the answer to FUSE_FLUSH, unless one was
ENOSYS (fuse_flush, fs/fuse/file.c); the keeper closes the first."""


class OwnViews:
    """The file system that this process serves.

    ``device``: MAJOR:MINOR.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        major, minor = device.split(":")
        self._number = (int(major), int(minor))

    def seen_by(self) -> list[int]:
        """The threads of this process in whose namespace it is mounted."""
        return [
            int(task.name)
            for task in Path("/proc/self/task").iterdir()
            if any(
                row.split(b" ", 3)[2] == self._device.encode()
                for row in (task / "mountinfo").read_bytes().splitlines()
            )
        ]

    def instead(self, fd: int) -> int:
        """``fd`` itself, to be read; if it is of these files, another one, and ``fd`` is closed.

        That is of an empty file, opened in the same way: files of procfs and debugfs have the size
        0 as well, so that kernel_read_file says EINVAL. OSError.
        """
        if device_unasked(fd) != self._number:
            return fd
        access = fcntl(fd, F_GETFL) & (os.O_ACCMODE | os.O_PATH)
        os.close(fd)  # which asks nobody: see WITHOUT
        empty = os.memfd_create("empty", os.MFD_CLOEXEC)
        try:
            return os.open(f"/proc/self/fd/{empty}", access | os.O_CLOEXEC)
        finally:
            os.close(empty)
