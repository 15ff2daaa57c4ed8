"""What libfuse and fusermount say, made into one line for people."""

from __future__ import annotations

import os
import re
import sys
import threading

from modfs.fuse.missing import install_fuse


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
        return f"fusermount is missing: {install_fuse()}"
    if not lines:
        return "it could not be mounted"
    return re.sub(r"^(fuse|fusermount3?): ", "", lines[-1])
