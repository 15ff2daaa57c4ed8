"""What a server of views never looks at: the views themselves.

A thread that does waits for another thread of the same server, and if the server is killed then,
neither can end: the connection is cut when its last descriptor is closed, and a process that waits
closes none.
"""

from __future__ import annotations

import os
from pathlib import Path

from modfs.linux import device_unasked


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

    def has(self, tid: int, fd: int) -> bool:
        """Is the descriptor ``fd`` of a thread one of its files? OSError: there is none.

        It is not fetched to see: closing it is a question to its server, too.
        """
        return device_unasked(b"/proc/%d/fd/%d" % (tid, fd)) == self._number

    def stand_in(self, tid: int, fd: int) -> int:
        """A descriptor to take for one that it has: of an empty file, opened in the same way.

        Files of procfs and debugfs have the size 0 as well, so that kernel_read_file says EINVAL.
        OSError: the thread is gone.
        """
        lines = Path(f"/proc/{tid}/fdinfo/{fd}").read_text().splitlines()
        flags = int(next(line.split()[1] for line in lines if line.startswith("flags:")), 8)
        empty = os.memfd_create("empty", os.MFD_CLOEXEC)
        try:
            access = flags & (os.O_ACCMODE | os.O_PATH)
            return os.open(f"/proc/self/fd/{empty}", access | os.O_CLOEXEC)
        finally:
            os.close(empty)
