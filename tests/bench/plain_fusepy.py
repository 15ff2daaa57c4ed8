"""The file system whose memory is compared with a mount's: one file, served by fusepy as its own
examples do. To be run with a mount point."""

from __future__ import annotations

import errno
import stat
import sys
from typing import Any

from fuse import FUSE, FuseOSError, Operations

_TEXT = b"x" * 336


class Plain(Operations):  # type: ignore[misc]
    """One file."""

    use_ns = True

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != "/file":
            raise FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": len(_TEXT)}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", "file"]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return _TEXT[offset : offset + size]


if __name__ == "__main__":
    FUSE(Plain(), sys.argv[1], foreground=True)
