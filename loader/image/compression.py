"""Unpack a module as the kernel does (module_decompress, kernel/module/decompress.c, 5.17 on).

The kernel fills one page after another and each format ends in its own way: zstd stops at the first
page that is not full, so a stream cut short is accepted with what came out; xz must reach its
footer; gzip must reach the end of the deflate data. The libraries used here decode the same
formats but are choosier or more generous, so each function below puts the kernel's rule around
one of them. Whatever follows the first frame or stream is ignored by all three.
"""

from __future__ import annotations

import errno
import lzma
import re
import zlib
from collections.abc import Callable

import zstandard

from loader.errors import Failure
from loader.image.huffman import literals_end_exactly
from loader.packings import GZIP, XZ, ZSTD

_GZIP_DEFLATE = b"\x08"  # the method, after the magic
_GZIP_HEADER = 10  # bytes: magic, flags, time, extra flags, operating system
_GZIP_FLAG_NAME = 0x08
_XZ_STREAM_HEADER = 12  # bytes
_XZ_CHECK_CRC32 = 1  # lib/xz knows no integrity check above this one
_XZ_FILTER_LZMA2 = 0x21
_XZ_FILTERS_BCJ = frozenset(range(0x04, 0x0C))

# Output kept while unpacking; above it, a first pass only counts, so that a file that would grow
# past the limit never takes its memory.
_KEEP = 64 << 20
_CHUNK = 1 << 20

# ZSTD_ErrorCode (zstd_errors.h) by the words that the library uses for them.
_ZSTD_STATUS: tuple[tuple[str, int], ...] = (
    ("Unknown frame descriptor", 10),
    ("Version not supported", 12),
    ("Unsupported frame parameter", 14),
    ("Frame requires too much memory", 16),
    ("Data corruption detected", 20),
    ("Restored data doesn't match checksum", 22),
    ("Dictionary is corrupted", 30),
    ("Dictionary mismatch", 32),
)

# enum xz_ret (include/linux/xz.h)
_XZ_OK, _XZ_FORMAT_ERROR, _XZ_OPTIONS_ERROR, _XZ_DATA_ERROR = 0, 5, 6, 7
_Z_BUF_ERROR, _Z_DATA_ERROR = -5, -3


class DecompressError(Exception):
    """The kernel would not unpack this: ``failure`` holds the errno and the log line."""

    def __init__(self, number: int, *log: str) -> None:
        super().__init__(*log)
        self.failure = Failure(number, log)


def decompress(compression: str, data: bytes, limit: int, strict_zstd: bool = True) -> bytes:
    """The module inside ``data``, by the one format that the kernel was built for.

    ``strict_zstd``: with the zstd of kernels before 6.15 (see loader.huffman).
    DecompressError: EINVAL where the kernel rejects the data, ENOMEM when more than ``limit``
    bytes would come out, EOPNOTSUPP for a kernel without module decompression ("none").
    """
    unpack = _UNPACK.get(compression)
    if unpack is None:
        raise DecompressError(errno.EOPNOTSUPP)
    module = unpack(data, limit)
    if strict_zstd and compression == ZSTD.name and not _has_checksum(data):
        _check_huffman(data)
    return module


def _bounded(open_stream: Callable[[], Callable[[int], bytes]], limit: int) -> bytes:
    """Everything a stream yields, in memory only once it is known to stay within ``limit``."""
    read = open_stream()
    kept: list[bytes] = []
    total = 0
    while chunk := read(_CHUNK):
        total += len(chunk)
        if total > limit:
            raise DecompressError(errno.ENOMEM)
        if total <= _KEEP:
            kept.append(chunk)
        else:
            kept.clear()
    if total <= _KEEP:
        return b"".join(kept)
    read = open_stream()
    return b"".join(iter(lambda: read(_CHUNK), b""))


# -- zstd -----------------------------------------------------------------------------------------


def _zstd_error(error: zstandard.ZstdError) -> DecompressError:
    text = str(error)
    status = next((code for words, code in _ZSTD_STATUS if words in text), 1)
    return DecompressError(errno.EINVAL, f"ZSTD-decompression failed with status {status}")


_ZSTD_CHECKSUM = 0x04  # frame header descriptor
_ZSTD_CORRUPTION = 20


def _has_checksum(frame: bytes) -> bool:
    """A checksum has already told damaged literals from sound ones (if the frame is whole)."""
    return bool(frame[4] & _ZSTD_CHECKSUM)


def _check_huffman(frame: bytes) -> None:
    if not literals_end_exactly(frame):
        line = f"ZSTD-decompression failed with status {_ZSTD_CORRUPTION}"
        raise DecompressError(errno.EINVAL, line)


def _unpack_zstd(data: bytes, limit: int) -> bytes:
    """module_zstd_decompress: the first frame, whole or cut short."""
    if not data.startswith(ZSTD.magic):
        raise DecompressError(errno.EINVAL, "not a zstd compressed module")
    try:
        size = zstandard.get_frame_parameters(data).content_size
    except zstandard.ZstdError:
        raise DecompressError(
            errno.EINVAL, "ZSTD-compressed data has an incomplete frame header"
        ) from None
    known = size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)
    if known and size > limit:
        raise DecompressError(errno.ENOMEM)
    if known and size <= _KEEP:
        try:
            return zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError:
            pass  # damaged or cut short: the stream decoder tells which

    def open_stream() -> Callable[[int], bytes]:
        return zstandard.ZstdDecompressor().stream_reader(data).read

    try:
        return _bounded(open_stream, limit)
    except zstandard.ZstdError as error:
        raise _zstd_error(error) from None


# -- gzip -----------------------------------------------------------------------------------------


def _gzip_header_length(data: bytes) -> int:
    """Bytes before the deflate data, 0 if this is no gzip file (module_gzip_header_len).

    Of the optional parts only the file name is understood.
    """
    if len(data) < _GZIP_HEADER or not data.startswith(GZIP.magic + _GZIP_DEFLATE):
        return 0
    if not data[3] & _GZIP_FLAG_NAME:
        return _GZIP_HEADER
    return data.find(b"\0", _GZIP_HEADER) + 1


def _unpack_gzip(data: bytes, limit: int) -> bytes:
    """module_gzip_decompress: raw deflate data up to its end; no check of CRC and length."""
    start = _gzip_header_length(data)
    if not start:
        raise DecompressError(errno.EINVAL, "not a gzip compressed module")

    def failed(status: int) -> DecompressError:
        return DecompressError(errno.EINVAL, f"decompression failed with status {status}")

    def open_stream() -> Callable[[int], bytes]:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        rest = data[start:]

        def read(size: int) -> bytes:
            nonlocal rest
            out = inflate.decompress(rest, size)
            rest = inflate.unconsumed_tail
            if not out and not inflate.eof:
                raise failed(_Z_BUF_ERROR)  # no progress: the input ended too early
            return out

        return read

    try:
        return _bounded(open_stream, limit)
    except zlib.error as error:
        status = re.match(r"Error (-?\d+)", str(error))
        raise failed(int(status[1]) if status else _Z_DATA_ERROR) from None


# -- xz -------------------------------------------------------------------------------------------


def _xz_header_status(data: bytes) -> int:
    """What lib/xz says to the stream header and the first block's filters; 0 if all is well.

    It knows fewer integrity checks and filters than liblzma.
    """
    if len(data) < _XZ_STREAM_HEADER:
        return _XZ_OK
    flags = data[6:8]
    if zlib.crc32(flags) != int.from_bytes(data[8:12], "little"):
        return _XZ_DATA_ERROR
    if flags[0] or flags[1] > _XZ_CHECK_CRC32:
        return _XZ_OPTIONS_ERROR
    return _xz_block_status(data[_XZ_STREAM_HEADER:])


def _xz_block_status(block: bytes) -> int:
    """Filters of one block: LZMA2 last, at most one branch converter before it."""
    size = (block[0] + 1) * 4 if block and block[0] else 0
    if not size or len(block) < size:
        return _XZ_OK  # the index, or cut short
    flags, position = block[1], 2
    if flags & 0x3E:
        return _XZ_OPTIONS_ERROR  # more than two filters, or reserved bits
    for present in (0x40, 0x80):  # optional compressed and uncompressed size
        if flags & present:
            while position < size and block[position] & 0x80:
                position += 1
            position += 1
    if flags & 1:
        if position >= size or block[position] not in _XZ_FILTERS_BCJ:
            return _XZ_OPTIONS_ERROR
        position += 1
        if position >= size or block[position] != 0:
            return _XZ_OPTIONS_ERROR  # a start offset
        position += 1
    if position >= size or block[position] != _XZ_FILTER_LZMA2:
        return _XZ_OPTIONS_ERROR
    return _XZ_OK


def _xz_status(error: lzma.LZMAError) -> int:
    text = str(error)
    if "options" in text:
        return _XZ_OPTIONS_ERROR
    return _XZ_FORMAT_ERROR if "format" in text else _XZ_DATA_ERROR


def _unpack_xz(data: bytes, limit: int) -> bytes:
    """module_xz_decompress: the first stream, which must reach the end of its footer."""
    if not data.startswith(XZ.magic):
        raise DecompressError(errno.EINVAL, "not an xz compressed module")

    def failed(status: int) -> DecompressError:
        return DecompressError(errno.EINVAL, f"decompression failed with status {status}")

    if status := _xz_header_status(data):
        raise failed(status)

    def open_stream() -> Callable[[int], bytes]:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
        rest = data

        def read(size: int) -> bytes:
            nonlocal rest
            while not decoder.eof:
                out = decoder.decompress(rest, size)
                rest = b""
                if out:
                    return out
                if decoder.needs_input:
                    raise failed(_XZ_OK)  # the input ended before the stream did
            return b""

        return read

    try:
        return _bounded(open_stream, limit)
    except lzma.LZMAError as error:
        raise failed(_xz_status(error)) from None


_UNPACK: dict[str, Callable[[bytes, int], bytes]] = {
    ZSTD.name: _unpack_zstd,
    GZIP.name: _unpack_gzip,
    XZ.name: _unpack_xz,
}
