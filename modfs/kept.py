"""What modules' files were found to hold, kept from run to run in $XDG_CACHE_HOME/modfs.

A file of facts for each question: for each kernel that was asked about them. An answer is that of a
file with the same device, inode, size and times, so that who reads nothing learns the same. Only
what this user has written, and nobody else may write, is believed; it is numbers and names of a
fixed size, and a sum over all of them. What is damaged, of another version or cut short is as if it
were not there. All of it may be deleted at any time.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any, NamedTuple

from loader.config import MODULE_NAME_LEN, Config

_ENTRIES = 1 << 14  # of one file: three distributions' trees
_FILES = 8
_MAGIC = b"modfs 1\n"
_HEADER = struct.Struct("<8sII")  # magic, CRC-32 of what follows, bytes of the question
_ENTRY = struct.Struct("<QQQQqqQQ7I56s")  # device, inode, kind; the rest of Key; Found
_BYTES_MOST = _HEADER.size + (1 << 16) + _ENTRIES * _ENTRY.size
_NAME = re.compile(r"[0-9a-f]{8}(\.[0-9]+)?")  # with a process's number while it is written
_TEXT = "utf-8", "surrogateescape"

# A file that changes while it is read, or at once afterwards, may have the same time as before:
# clocks tick in milliseconds, and what is mapped is written without a look at the clock until the
# kernel has written it back, half a minute later.
SETTLED = 60  # seconds since a file has changed

# Of whose files nobody but the kernel tells the times (include/uapi/linux/magic.h and others).
_TRUSTED = {
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # xfs
    0x9123683E,  # btrfs
    0x01021994,  # tmpfs
    0xF2F52010,  # f2fs
    0x73717368,  # squashfs
    0xE0F5E1E2,  # erofs
    0x2FC12FC1,  # zfs
    0xCA451A4E,  # bcachefs
}


class Key(NamedTuple):
    """A file as it was: its numbers, bytes, times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Key:
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )


class Found(NamedTuple):
    """What was found in it: bytes of the module, of the file if the kernel unpacked it (else 0),
    of each kind of memory, and the module's name."""

    length: int
    clen: int
    layout: tuple[int, ...]
    name: str


def question(config: Config, *more: object) -> str:
    """Of a kernel of this ``config``: its answers depend on that, on ``more``, and on the code that
    finds them."""
    facts = {field.name: getattr(config, field.name) for field in fields(config)}
    facts["blacklist"] = sorted(config.blacklist)
    return f"{facts} {more} {_code()}"


def _code() -> list[tuple[str, int, int]]:
    """The files of loader and loader.image, as they are: who changes them asks anew."""
    import loader.image

    found = []
    for folder in (*loader.__path__, *loader.image.__path__):
        with suppress(OSError), os.scandir(folder) as files:
            stats = ((file.path, file.stat()) for file in files if file.name.endswith(".py"))
            found += [(path, each.st_size, each.st_mtime_ns) for path, each in stats]
    return sorted(found)


class Kept:
    """The answers to one question. Nothing here raises: what cannot be kept is found anew."""

    def __init__(self, question: str) -> None:
        """``question``: all that an answer depends on besides the file."""
        self._question = question.encode(*_TEXT)
        self._name = f"{zlib.crc32(self._question):08x}"
        self._entries: dict[tuple[int, int, int], tuple[Any, ...]] = {}
        with suppress(OSError), _folder(make=False) as folder:
            self._entries = {entry[:3]: entry for entry in self._read(folder)}

    def get(self, key: Key, kind: int) -> Found | None:
        """What was found in this file, which was taken to be of this kind."""
        entry = self._entries.get((key.device, key.inode, kind))
        if entry is None or entry[3:6] != key[2:]:
            return None
        length, clen, *layout, name = entry[6:]
        return Found(length, clen, tuple(layout), name.rstrip(b"\0").decode(*_TEXT))

    def keep(self, found: Iterable[tuple[str, Key, int, Found]]) -> None:
        """Write down what was found: path, key, kind, answer. The oldest are forgotten."""
        news = dict(self._worth_keeping(found))
        if not news:
            return
        with suppress(OSError), _folder(make=True) as folder:
            entries = {entry[:3]: entry for entry in self._read(folder)}  # others' as well
            for number in news:
                entries.pop(number, None)
            entries |= news
            self._write(folder, list(entries.values())[-_ENTRIES:])
            _tidy(folder)

    def _worth_keeping(
        self, found: Iterable[tuple[str, Key, int, Found]]
    ) -> Iterator[tuple[tuple[int, int, int], tuple[Any, ...]]]:
        settled = time.time_ns() - SETTLED * 10**9
        trusted: dict[int, bool] = {}
        for path, key, kind, (length, clen, layout, text) in found:
            name = text.encode(*_TEXT)
            if key.changed > settled or len(name) > MODULE_NAME_LEN or name.endswith(b"\0"):
                continue
            if key.device not in trusted:
                trusted[key.device] = _is_trusted(path, key.device)
            if trusted[key.device]:
                number = key.device, key.inode, kind
                yield number, (*number, *key[2:], length, clen, *layout, name)

    # -- the file ---------------------------------------------------------------------------------

    def _read(self, folder: int) -> Iterator[tuple[Any, ...]]:
        """The entries; none of a file that is not all right. OSError."""
        try:
            fd = os.open(self._name, _READ, dir_fd=folder)
        except FileNotFoundError:
            return
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not _is_ours(status, stat.S_IFREG) or status.st_size > _BYTES_MOST:
                return
            data = file.read(_BYTES_MOST)
        if len(data) < _HEADER.size:
            return
        magic, checksum, length = _HEADER.unpack_from(data)
        content = memoryview(data)[_HEADER.size :]
        if magic != _MAGIC or zlib.crc32(content) != checksum:
            return
        entries = content[length:]
        if content[:length] == self._question and len(entries) % _ENTRY.size == 0:
            yield from _ENTRY.iter_unpack(entries)

    def _write(self, folder: int, entries: list[tuple[Any, ...]]) -> None:
        """All at once: who reads meanwhile has the old one. OSError."""
        content = self._question + b"".join(_ENTRY.pack(*entry) for entry in entries)
        header = _HEADER.pack(_MAGIC, zlib.crc32(content), len(self._question))
        name = f"{self._name}.{os.getpid()}"
        fd = os.open(name, _WRITE, 0o600, dir_fd=folder)
        try:
            with open(fd, "wb") as file:
                file.write(header + content)
            os.rename(name, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise


# -- the folder -----------------------------------------------------------------------------------

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def _folder(make: bool) -> Iterator[int]:
    """A descriptor of $XDG_CACHE_HOME/modfs, or of ~/.cache/modfs. OSError: it is not there, or
    not ours alone; of a home that is not ours (after su or sudo), or where anybody may put a link
    in our way (/tmp), nothing is used."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    parts = [home, "modfs"] if home else [os.environ.get("HOME", ""), ".cache", "modfs"]
    if not os.path.isabs(parts[0]):
        raise FileNotFoundError(errno.ENOENT, "no home", parts[0])
    folder = os.open(parts[0], _FOLDER)
    try:
        for part in parts[1:]:
            above = os.fstat(folder)
            if above.st_uid != os.geteuid() or above.st_mode & stat.S_IWOTH:
                raise PermissionError(errno.EPERM, "others can put a link there", part)
            below = _below(folder, part, make)
            os.close(folder)
            folder = below
        if not _is_ours(os.fstat(folder), stat.S_IFDIR):
            raise PermissionError(errno.EPERM, "not ours alone", parts[-1])
        yield folder
    finally:
        os.close(folder)


def _below(folder: int, part: str, make: bool) -> int:
    """OSError."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(part, 0o700, dir_fd=folder)
    return os.open(part, _FOLDER, dir_fd=folder)


def _is_ours(status: os.stat_result, kind: int) -> bool:
    """Of that kind, this user's, and nobody else may write to it."""
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_IFMT(status.st_mode) == kind and status.st_uid == os.geteuid() and not others


def _tidy(folder: int) -> None:
    """Forget the questions that were answered longest ago, and what a killed process has left."""
    names = [name for name in os.listdir(folder) if _NAME.fullmatch(name)]
    written = {name: os.stat(name, dir_fd=folder).st_mtime for name in names}
    latest = sorted((name for name in names if "." not in name), key=lambda name: -written[name])
    left = [name for name in names if "." in name and written[name] < time.time() - SETTLED]
    for name in [*latest[_FILES:], *left]:
        os.unlink(name, dir_fd=folder)


def _is_trusted(path: str, device: int) -> bool:
    from modfs.linux import file_system_type  # which takes ctypes, and is not needed to read

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.fstat(fd).st_dev == device and file_system_type(fd) in _TRUSTED
        finally:
            os.close(fd)
    except OSError:
        return False
