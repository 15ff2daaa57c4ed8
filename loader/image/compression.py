"""Unpack a module as the kernel does (module_decompress, kernel/module/decompress.c, 5.17 on).

The kernel fills one page after another and each format ends in its own way: zstd stops at the first
page that is not full, so a stream cut short is accepted with what came out; xz must reach its
footer; gzip must reach the end of the deflate data. The libraries used here decode the same
formats but are choosier or more generous, so each function below puts the kernel's rule around
one of them. Whatever follows the first frame or stream is ignored by all three.
"""

from __future__ import annotations

import errno
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator

import zstandard

from loader.errors import Failure
from loader.image.huffman import literals_end_exactly
from loader.packings import GZIP, XZ, ZSTD

_GZIP_DEFLATE = b"\x08"  # the method, after the magic
_GZIP_HEADER = 10  # bytes: magic, flags, time, extra flags, operating system
_GZIP_FLAG_NAME = 0x08
_XZ_STREAM_HEADER = 12  # bytes
_XZ_CHECK_CRC32 = 1  # lib/xz knows no integrity check above this one

# Block flags: reserved bits and those that say more than two filters; one filter before the last;
# the compressed and the uncompressed size are there.
_XZ_UNKNOWN_FLAGS, _XZ_CONVERTER, _XZ_SIZES = 0x3E, 0x01, (0x40, 0x80)
_XZ_FILTER_LZMA2 = b"\x21"
_XZ_FILTERS_BCJ = frozenset(bytes((number,)) for number in range(0x04, 0x0C))

_CHUNK = 1 << 20  # bytes unpacked at a time
_ENDING = 64  # bytes: longer than any end that is looked for
_AT_ONCE = 64 << 20  # bytes of a zstd frame that are unpacked in one step if it tells its size
_WALKED_LITERALS = 32 << 20  # bytes of a module whose Huffman codes are gone through once more

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


def decompress(
    compression: str,
    data: bytes,
    limit: int,
    strict_zstd: bool = True,
    *,
    start: bytes = b"",
    end: bytes = b"",
) -> bytes:
    """The module inside ``data``, by the one format that the kernel was built for.

    ``strict_zstd``: with the zstd of kernels before 6.15 (see loader.huffman). What neither begins
    with ``start`` nor ends with ``end`` is not kept: only its length is true, its bytes are zeros.
    Takes no more memory than what is kept of the module, and an eighth of it.
    DecompressError: EINVAL where the kernel rejects the data, ENOMEM when more than ``limit``
    bytes would come out, EOPNOTSUPP for a kernel without module decompression ("none").
    """
    unpack = _UNPACK.get(compression)
    if unpack is None:
        raise DecompressError(errno.EOPNOTSUPP)
    chunks = _bounded(unpack(data, limit), limit)
    first = next(chunks, b"")
    if first.startswith(start):
        module = _joined(first, chunks)
    else:
        length, tail = _measured(first, chunks)
        if end and tail.endswith(end):
            module = _joined(b"", _bounded(unpack(data, limit), limit))
        else:
            module = bytes(length)  # takes no memory until somebody looks at it
    if strict_zstd and compression == ZSTD.name and len(module) <= _WALKED_LITERALS:
        _check_huffman(data)
    return module


def _bounded(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise DecompressError(errno.ENOMEM)
        yield chunk


def _joined(first: bytes, chunks: Iterator[bytes]) -> bytes:
    """All of it, in one buffer that grows."""
    whole = io.BytesIO(first)
    whole.seek(0, io.SEEK_END)
    whole.writelines(chunks)
    return whole.getvalue()


def _measured(first: bytes, chunks: Iterator[bytes]) -> tuple[int, bytes]:
    """How many bytes they are, and the last ones."""
    length, tail = len(first), first
    for chunk in chunks:
        length += len(chunk)
        tail = tail[-_ENDING:] + chunk
    return length, tail


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
    if not _has_checksum(frame) and not literals_end_exactly(frame):
        line = f"ZSTD-decompression failed with status {_ZSTD_CORRUPTION}"
        raise DecompressError(errno.EINVAL, line)


def _unpack_zstd(data: bytes, limit: int) -> Iterator[bytes]:
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
    whole = _whole_frame(data) if known and size <= _AT_ONCE else None
    if whole is not None:
        yield whole
        return
    reader = zstandard.ZstdDecompressor().stream_reader(data)
    try:
        yield from iter(lambda: reader.read(_CHUNK), b"")
    except zstandard.ZstdError as error:
        raise _zstd_error(error) from None


def _whole_frame(data: bytes) -> bytes | None:
    """The fastest way for most; None if the frame is damaged or cut short: a stream tells which."""
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError:
        return None


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


def _unpack_gzip(data: bytes, limit: int) -> Iterator[bytes]:
    """module_gzip_decompress: raw deflate data up to its end; no check of CRC and length."""
    start = _gzip_header_length(data)
    if not start:
        raise DecompressError(errno.EINVAL, "not a gzip compressed module")
    try:
        yield from _inflated(data, start)
    except zlib.error as error:
        status = re.match(r"Error (-?\d+)", str(error))
        raise _failed(int(status[1]) if status else _Z_DATA_ERROR) from None


def _inflated(data: bytes, start: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces = (data[place : place + _CHUNK] for place in range(start, len(data), _CHUNK))
    while not inflate.eof:
        piece = inflate.unconsumed_tail or next(pieces, b"")
        out = inflate.decompress(piece, _CHUNK)
        if out:
            yield out
        elif not piece:
            raise _failed(_Z_BUF_ERROR)  # no progress: the input ended too early


def _failed(status: int) -> DecompressError:
    """What gzip and xz have in common."""
    return DecompressError(errno.EINVAL, f"decompression failed with status {status}")


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
    """Filters of one block: LZMA2 last, at most one branch converter before it (dec_block_header).

    The header has, each a byte but for the sizes: its own length, flags, the two sizes if they are
    there, and of each filter a number and how many bytes of properties follow.
    """
    length = (block[0] + 1) * 4 if block and block[0] else 0
    if not length or len(block) < length:
        return _XZ_OK  # the index, or cut short
    fields = io.BytesIO(block[1:length])
    flags = fields.read(1)[0]
    if flags & _XZ_UNKNOWN_FLAGS:
        return _XZ_OPTIONS_ERROR
    for size in _XZ_SIZES:
        if flags & size:
            _skip_number(fields)
    if flags & _XZ_CONVERTER:
        known, properties = fields.read(1) in _XZ_FILTERS_BCJ, fields.read(1)
        if not known or properties != b"\0":  # there could be a start offset
            return _XZ_OPTIONS_ERROR
    return _XZ_OK if fields.read(1) == _XZ_FILTER_LZMA2 else _XZ_OPTIONS_ERROR


def _skip_number(fields: io.BytesIO) -> None:
    """All bytes but the last of a number have the highest bit set."""
    while fields.read(1) >= b"\x80":
        pass


def _xz_status(error: lzma.LZMAError) -> int:
    text = str(error)
    if "options" in text:
        return _XZ_OPTIONS_ERROR
    return _XZ_FORMAT_ERROR if "format" in text else _XZ_DATA_ERROR


def _unpack_xz(data: bytes, limit: int) -> Iterator[bytes]:
    """module_xz_decompress: the first stream, which must reach the end of its footer."""
    if not data.startswith(XZ.magic):
        raise DecompressError(errno.EINVAL, "not an xz compressed module")
    if status := _xz_header_status(data):
        raise _failed(status)
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    try:
        while not decoder.eof:
            out = decoder.decompress(data, _CHUNK)
            data = b""  # the decoder has all of it
            if out:
                yield out
            elif decoder.needs_input:
                raise _failed(_XZ_OK)  # the input ended before the stream did
    except lzma.LZMAError as error:
        raise _failed(_xz_status(error)) from None


_UNPACK: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    ZSTD.name: _unpack_zstd,
    GZIP.name: _unpack_gzip,
    XZ.name: _unpack_xz,
}
