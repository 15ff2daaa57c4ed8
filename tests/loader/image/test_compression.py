"""Decompression ends where the kernel's does. Recorded results are in tests/oracle; here are the
rules of behaviour.md 2.5 on data of our own."""

from __future__ import annotations

import errno
import gzip
import lzma
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from loader.image.compression import DecompressError, decompress
from loader.image.huffman import literals_end_exactly

LIMIT = 1 << 20
MODULE = bytes(random.Random(4).choices(b"abcdefgh\0", k=20_000))


def zst(data: bytes = MODULE, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


def xz(data: bytes = MODULE, check: int = lzma.CHECK_CRC32) -> bytes:
    return lzma.compress(data, check=check)


def failure(compression: str, data: bytes, limit: int = LIMIT) -> tuple[int, tuple[str, ...]]:
    with pytest.raises(DecompressError) as caught:
        decompress(compression, data, limit)
    return caught.value.failure.errno, caught.value.failure.log


@pytest.mark.parametrize("extra", [b"", b"junk", zst(b"second frame")])
def test_zstd_first_frame(extra: bytes) -> None:
    assert decompress("zstd", zst() + extra, LIMIT) == MODULE


@pytest.mark.parametrize("options", [{}, {"write_checksum": True}, {"write_content_size": False}])
def test_zstd_cut_short_is_accepted(options: dict[str, Any]) -> None:
    packed = zst(**options)
    for cut in (len(packed) // 2, len(packed) - 1):
        out = decompress("zstd", packed[:cut], LIMIT)
        assert MODULE.startswith(out)


def test_zstd_checksum() -> None:
    packed = bytearray(zst(write_checksum=True))
    packed[-1] ^= 1
    assert failure("zstd", bytes(packed)) == (
        errno.EINVAL,
        ("ZSTD-decompression failed with status 22",),
    )


def test_zstd_other_magic() -> None:
    assert failure("zstd", b"\x7fELF" + MODULE) == (
        errno.EINVAL,
        ("not a zstd compressed module",),
    )
    assert failure("zstd", zst()[:5])[0] == errno.EINVAL


def test_huffman_ends_are_found() -> None:
    """Every byte is damaged in turn, of a frame that is short but has all parts of a long one: a
    table of weights, and literals in four streams.
    """
    packed = zst(MODULE[:2000])
    assert packed[10] & 3 == 2 and packed[10] >> 2 & 3 in (1, 2, 3)  # compressed, four streams
    assert literals_end_exactly(packed)
    found = 0
    for position in range(20, len(packed) - 4):
        damaged = bytearray(packed)
        damaged[position] ^= 0x10
        try:
            zstandard.ZstdDecompressor().decompress(bytes(damaged))
        except zstandard.ZstdError:
            continue
        found += not literals_end_exactly(bytes(damaged))
    assert found  # the library let some pass that the kernel would not


@pytest.mark.parametrize("check", [lzma.CHECK_NONE, lzma.CHECK_CRC32])
def test_xz(check: int) -> None:
    assert decompress("xz", xz(check=check) + b"junk", LIMIT) == MODULE


@pytest.mark.parametrize("check", [lzma.CHECK_CRC64, lzma.CHECK_SHA256])
def test_xz_other_checks(check: int) -> None:
    assert failure("xz", xz(check=check))[0] == errno.EINVAL


def test_xz_filters() -> None:
    delta = [{"id": lzma.FILTER_DELTA, "dist": 4}, {"id": lzma.FILTER_LZMA2}]
    x86 = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2}]
    with_delta = lzma.compress(MODULE, check=lzma.CHECK_CRC32, filters=delta)
    with_x86 = lzma.compress(MODULE, check=lzma.CHECK_CRC32, filters=x86)
    assert failure("xz", with_delta)[0] == errno.EINVAL
    assert decompress("xz", with_x86, LIMIT) == MODULE


def test_xz_must_reach_the_footer() -> None:
    packed = xz()
    for cut in (20, len(packed) // 2, len(packed) - 1):
        assert failure("xz", packed[:cut]) == (
            errno.EINVAL,
            ("decompression failed with status 0",),
        )


def test_xz_lzma_alone() -> None:
    assert failure("xz", lzma.compress(MODULE, format=lzma.FORMAT_ALONE))[0] == errno.EINVAL


def test_gzip() -> None:
    packed = gzip.compress(MODULE)
    assert decompress("gzip", packed[:-8], LIMIT) == MODULE  # CRC and length are not needed
    assert decompress("gzip", packed[:-8] + b"\0" * 8 + b"junk", LIMIT) == MODULE
    assert failure("gzip", packed[:-9])[0] == errno.EINVAL


def test_gzip_header() -> None:
    deflated = zlib.compress(MODULE, wbits=-15)
    plain = b"\x1f\x8b\x08\x00" + bytes(6)
    named = b"\x1f\x8b\x08\x08" + bytes(6) + b"name.ko\0"
    extra = b"\x1f\x8b\x08\x04" + bytes(6) + b"\x04\x00abcd"
    assert decompress("gzip", plain + deflated, LIMIT) == MODULE
    assert decompress("gzip", named + deflated, LIMIT) == MODULE
    assert failure("gzip", extra + deflated)[0] == errno.EINVAL
    assert failure("gzip", named[:-1])[1] == ("not a gzip compressed module",)


def test_none() -> None:
    assert failure("none", zst())[0] == errno.EOPNOTSUPP


@pytest.mark.parametrize(
    ("compression", "packed"),
    [
        ("zstd", zst(bytes(20 << 20))),
        ("zstd", zst(bytes(20 << 20), write_content_size=False)),
        ("gzip", gzip.compress(bytes(20 << 20))),
        ("xz", xz(bytes(20 << 20))),
    ],
)
def test_what_would_grow_too_large_is_enomem(compression: str, packed: bytes) -> None:
    assert failure(compression, packed, 10 << 20) == (errno.ENOMEM, ())


def test_what_is_large_but_allowed_comes_out_whole() -> None:
    data = bytes(70 << 20) + b"end"
    assert decompress("zstd", zst(data, write_content_size=False), 1 << 30) == data


@pytest.mark.parametrize("compression", ["zstd", "gzip", "xz"])
def test_of_what_is_no_module_the_length_is_kept(compression: str) -> None:
    data = MODULE * 200 + b"the end"
    packers: dict[str, Callable[[bytes], bytes]] = {"zstd": zst, "gzip": gzip.compress, "xz": xz}
    packed = packers[compression](data)
    start = b"\x7fELF"
    assert decompress(compression, packed, 1 << 23, start=start) == bytes(len(data))
    assert decompress(compression, packed, 1 << 23, start=MODULE[:4]) == data
    assert decompress(compression, packed, 1 << 23, start=start, end=b"the end") == data
    assert failure(compression, packed, 1 << 20) == (errno.ENOMEM, ())


def test_an_empty_block_is_passed_over() -> None:
    """As zstd's command does: what it unpacks of this frame is what comes out."""
    frame = bytes.fromhex("28b52ffd6028220400000800010024830742")
    assert isinstance(decompress("zstd", frame, 1 << 20), bytes)
