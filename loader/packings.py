"""How module files are packed: one table of the formats, and the reading and writing of them.

What the kernel itself makes of a packed module is loader.image.compression's matter; here is what
userspace (kmod, depmod, Kbuild) does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any, NamedTuple

from loader.errors import UserError
from loader.words import shown


class Packing(NamedTuple):
    """One format: its ``name`` in /sys/module/compression, the ``suffix`` of such files, and the
    ``magic`` bytes by which kmod knows one."""

    name: str
    suffix: str
    magic: bytes


ZSTD = Packing("zstd", ".zst", b"\x28\xb5\x2f\xfd")
GZIP = Packing("gzip", ".gz", b"\x1f\x8b")
XZ = Packing("xz", ".xz", b"\xfd7zXZ\x00")
PACKINGS = (ZSTD, GZIP, XZ)
NOT_PACKED = "none"
NAMES: tuple[str, ...] = (*(packing.name for packing in PACKINGS), NOT_PACKED)
"""What a kernel can be told to unpack by itself."""
SUFFIXES: tuple[str, ...] = tuple(packing.suffix.removeprefix(".") for packing in PACKINGS)
MAGIC_BYTES = max(len(packing.magic) for packing in PACKINGS)
"""Bytes of a file's start that tell how it is packed."""

_MAGICS = tuple(packing.magic for packing in PACKINGS)
_MODULE_LIMIT = 256 << 20  # bytes of an unpacked module that are looked at


def named(name: str | None) -> Packing | None:
    """The packing of that name, or of files with that ending; None for "none". UserError."""
    if name in (None, NOT_PACKED):
        return None
    for packing in PACKINGS:
        if name in (packing.name, packing.suffix.removeprefix(".")):
            return packing
    raise UserError(f"no compression {shown(name)}: known are {', '.join(NAMES)}")


def by_suffix(path: str | os.PathLike[str]) -> Packing | None:
    """How a file is packed by its name; None if not."""
    text = os.fspath(path)
    return next((packing for packing in PACKINGS if text.endswith(packing.suffix)), None)


def by_magic(start: bytes) -> Packing | None:
    """How a file is packed by its first MAGIC_BYTES; None if not."""
    if not start.startswith(_MAGICS):  # most files
        return None
    return next(packing for packing in PACKINGS if start.startswith(packing.magic))


def read_module(path: str | os.PathLike[str], packing: Packing | None = None) -> bytes:
    """A module's bytes, unpacked; empty for what cannot be read.

    ``packing``: the file's, where its name does not tell.
    """
    import lzma
    import zlib

    import zstandard

    opener = _OPENERS[packing or by_suffix(path)]
    try:
        with opener(path) as file:
            data: bytes = file.read(_MODULE_LIMIT)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError):
        return b""
    return data


def compress(data: bytes, packing: Packing | None) -> bytes:
    """A module's file packed so that the kernel can unpack it; None leaves it as it is."""
    return _COMPRESSORS[packing](data)


# -- each format's library, imported when it is needed --------------------------------------------

Path = str | os.PathLike[str]


def _open_zstd(path: Path) -> IO[bytes]:
    import zstandard

    opened: IO[bytes] = zstandard.open(path, "rb")
    return opened


def _open_gzip(path: Path) -> IO[bytes]:
    import gzip

    opened: Any = gzip.open(path, "rb")  # noqa: SIM115 - the caller closes it
    return opened  # type: ignore[no-any-return]


def _open_xz(path: Path) -> IO[bytes]:
    import lzma

    opened: Any = lzma.open(path, "rb")  # noqa: SIM115 - the caller closes it
    return opened  # type: ignore[no-any-return]


_OPENERS: dict[Packing | None, Callable[[Path], IO[bytes]]] = {
    None: lambda path: open(path, "rb"),  # noqa: SIM115 - the caller closes it
    ZSTD: _open_zstd,
    GZIP: _open_gzip,
    XZ: _open_xz,
}


def _compress_zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=9).compress(data)


def _compress_gzip(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, compresslevel=6, mtime=0)


def _compress_xz(data: bytes) -> bytes:
    import lzma

    # The kernel's decoder knows no integrity check above CRC32, and xz's default is CRC64.
    return lzma.compress(data, check=lzma.CHECK_CRC32, preset=1)


_COMPRESSORS: dict[Packing | None, Callable[[bytes], bytes]] = {
    None: lambda data: data,
    ZSTD: _compress_zstd,
    GZIP: _compress_gzip,
    XZ: _compress_xz,
}
