"""A folder that stands for a machine's `/` or `/sys`, and may come from a stranger.

Every path is walked by the kernel as in a chroot (RESOLVE_IN_ROOT): no link and no `..` leads out.
Only plain files are read, and no more of them than was asked for.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from loader.errors import UserError
from modfs.linux import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

ENTRIES_MOST = 200_000
"""Of one folder, in all that is read of a machine: a server with 448 processors has 30,000."""
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_TRIES = 100
_TAIL = ".tailed"  # sos cuts what is too long, and links to the end of it
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # a pipe would wait for who writes


class Folder:
    """One such folder. What is not there, or may not be read, reads as None or nothing; what is
    there and was not read to its end is told by ``cut``, what is only another file's end by
    ``tails``."""

    def __init__(self, root: Path, fd: int | None = None) -> None:
        """``fd``: of the folder, where it is open already. OSError: there is no such folder."""
        self.root = root
        try:
            self._fd = os.open(root, _FOLDER) if fd is None else fd
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(root)) from None
        self.cut: list[str] = []
        self.tails: list[str] = []

    def below(self, path: str) -> Folder | None:
        """A folder in it, to stay in; None: there is no such folder."""
        try:
            return Folder(self.root / path, self._open(path, _FOLDER))
        except (OSError, ValueError):
            return None

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *unused: object) -> None:
        os.close(self._fd)

    def _open(self, path: str, flags: int) -> int:
        """A descriptor. OSError, ValueError: there is no such thing below the root."""
        for _ in range(_TRIES):
            try:
                return openat2(self._fd, path, flags, _RESOLVE)
            except OSError as error:
                if (
                    error.errno != errno.EAGAIN
                ):  # a folder was renamed: it may have been in the path
                    raise
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)

    def read_bytes(self, path: str, most: int = 1 << 20) -> bytes | None:
        """What is in the file ``path``, at most that many bytes of it."""
        try:
            fd = self._open(path, _FILE)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            return self._read(fd, path, most)
        except OSError:  # some files of sysfs refuse to be read
            return None
        finally:
            os.close(fd)

    def _read(self, fd: int, path: str, most: int) -> bytes:
        parts: list[bytes] = []
        left = most + 1
        while left and (part := os.read(fd, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        found = b"".join(parts)
        if (self.link(path) or "").endswith(_TAIL):
            self.tails.append(path)
        if len(found) > most:
            self.cut.append(path)
        return found[:most]

    def read(self, path: str, most: int = 1 << 20) -> str | None:
        """The same as text. What is no UTF-8 stands there as surrogates."""
        found = self.read_bytes(path, most)
        return None if found is None else found.decode("utf-8", "surrogateescape")

    def names(self, path: str = ".") -> list[str]:
        """What is in a folder, in order. UserError: too much to be a machine's."""
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (OSError, ValueError):
            return []
        try:
            found = os.listdir(fd)
        except OSError:
            return []
        finally:
            os.close(fd)
        if len(found) > ENTRIES_MOST:
            raise UserError(f"{self.root}/{path}: more than {ENTRIES_MOST} entries in one folder")
        return sorted(found)

    def link(self, path: str) -> str | None:
        """Where the symbolic link ``path`` leads, as it is written; None if it is none."""
        try:
            fd = self._open(path, os.O_PATH | os.O_NOFOLLOW)
        except (OSError, ValueError):
            return None
        try:
            return os.readlink("", dir_fd=fd)
        except OSError:
            return None
        finally:
            os.close(fd)

    def is_folder(self, path: str) -> bool:
        """Is there a folder ``path``?"""
        try:
            os.close(self._open(path, os.O_PATH | os.O_DIRECTORY))
        except (OSError, ValueError):
            return False
        return True

    def is_file(self, path: str) -> bool:
        """Is there anything that can be read as a file, by name alone?"""
        try:
            fd = self._open(path, os.O_PATH)
        except (OSError, ValueError):
            return False
        try:
            return stat.S_ISREG(os.fstat(fd).st_mode)
        finally:
            os.close(fd)
