"""Opening files in this process, for clients that may do all that it may and see what it sees.

A file system that asks somebody else, such as one that FUSE or NFS serves, may never answer. Nobody
could end that wait. So only what is surely local is opened here, and everything else by a deputy.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from contextlib import suppress
from pathlib import Path

from modfs.linux import (
    AT_FDCWD,
    RESOLVE_CACHED,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    openat2,
    place,
)

# Their names in /proc/filesystems. What is mounted from elsewhere, or by whom, is not in it.
_LOCAL = {
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs",
    "ntfs3", "overlay", "ramfs", "rootfs", "squashfs", "tmpfs", "udf", "vfat", "xfs", "zfs",
}  # fmt: skip


class Mounts:
    """Which mounts are of local file systems. mountinfo(5) is read again when it has changed."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._fd, select.POLLPRI)
        self._local: frozenset[int] = frozenset()
        self._read()

    def local(self, mount: int) -> bool:
        """Are its files opened without asking anybody?"""
        if self._changes.poll(0):
            self._read()
        return mount in self._local

    def _read(self) -> None:
        found = set()
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            mounted, _, kind = line.partition(" - ")
            if kind.split()[0] in _LOCAL:
                found.add(int(mounted.split()[0]))
        self._local = frozenset(found)


class Home:
    """The files as this process sees them."""

    def __init__(self) -> None:
        """OSError: there is no /proc."""
        self.root = place("/proc/thread-self/root")
        self._mounts = Mounts()
        self._root_is_local = self._mounts.local(self.root.mount)  # it stays as long as we do

    def open(self, path: str, flags: int, folder: int = AT_FDCWD) -> int | None:
        """A descriptor for ``path``, which starts in ``folder`` if it is relative.

        None: a deputy has to open it. OSError: as open(2).
        """
        absolute = path.startswith("/")
        if not (self._root_is_local if absolute else self._mounts.local(place("", folder).mount)):
            return None
        try:
            return openat2(folder, path, flags, RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ELOOP):
                raise
        with suppress(OSError):
            return self._open_elsewhere(path, flags, folder)
        return None

    def _open_elsewhere(self, path: str, flags: int, folder: int) -> int | None:
        """On another mount, if nobody has to be asked to get there. OSError: not so."""
        resolve = RESOLVE_CACHED | RESOLVE_NO_MAGICLINKS
        found = openat2(folder, path, os.O_PATH, resolve)
        try:
            local = self._mounts.local(place("", found).mount)
            if local and stat.S_ISREG(os.fstat(found).st_mode):
                return os.open(f"/proc/self/fd/{found}", flags | os.O_CLOEXEC)
            return None
        finally:
            os.close(found)
