"""Packed copies of a module, whole and damaged, in the three formats that kernels unpack."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Iterator

import zstandard

_HEADS = {"zst": 4, "gz": 3, "xz": 6}  # bytes that tell the format


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32)


_PACKERS: dict[str, Callable[[bytes], bytes]] = {"zst": _zstd, "gz": _gzip, "xz": _xz}


def packed(name: str, good: bytes) -> Iterator[tuple[str, bytes]]:
    """Files of ``good``, a module called ``name``: whole, cut, damaged, with more behind it."""
    for suffix, pack in _PACKERS.items():
        data = pack(good)
        yield f"{name}.ko.{suffix}", data
        yield f"{name}_half.ko.{suffix}", data[: len(data) // 2]
        yield f"{name}_end.ko.{suffix}", data[:-1]
        yield f"{name}_head.ko.{suffix}", data[: _HEADS[suffix]]
        yield f"{name}_more.ko.{suffix}", data + b"more behind it"
        yield f"{name}_twice.ko.{suffix}", data + data
        yield f"{name}_nothing.ko.{suffix}", pack(b"")
        yield f"{name}_words.ko.{suffix}", pack(b"no module at all\n" * 7)
        yield f"{name}_zeros.ko.{suffix}", pack(bytes(8192))
        middle = len(data) // 2
        damage = bytes(byte ^ 0x55 for byte in data[middle : middle + 16])
        yield f"{name}_hurt.ko.{suffix}", data[:middle] + damage + data[middle + 16 :]
    yield f"{name}_crc64.ko.xz", lzma.compress(good, check=lzma.CHECK_CRC64)
    yield f"{name}_nocheck.ko.xz", lzma.compress(good, check=lzma.CHECK_NONE)
    yield f"{name}_old.ko.xz", lzma.compress(good, format=lzma.FORMAT_ALONE)
    yield f"{name}_checksum.ko.zst", zstandard.ZstdCompressor(write_checksum=True).compress(good)
    stream = zstandard.ZstdCompressor().compressobj()
    yield f"{name}_stream.ko.zst", stream.compress(good) + stream.flush()
