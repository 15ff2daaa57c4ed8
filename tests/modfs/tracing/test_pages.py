"""Pages made by hand, by the kernel's description (events/header_page, events/header_event)."""

from __future__ import annotations

import struct

from modfs.tracing.formats import PageFormat
from modfs.tracing.pages import read_page

FORM = PageFormat(timestamp=0, commit=8, commit_size=8, data=16, size=4096)
T0 = 5_000_000_000


def word(kind: int, delta: int) -> bytes:
    return struct.pack("<I", delta << 5 | kind)


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def page(data: bytes, flags: int = 0, behind: bytes = b"") -> bytes:
    return (struct.pack("<QQ", T0, len(data) | flags) + data + behind).ljust(4096, b"\0")


def read(data: bytes) -> list[tuple[int, bytes]]:
    found = read_page(page(data), FORM)
    assert not found.damaged and not found.lost
    return [(at - T0, page(data)[start:end]) for at, start, end in found.records]


def test_lengths() -> None:
    short, long = b"abcdefgh", b"x" * 200
    data = word(2, 10) + short + word(0, 5) + number(204) + long
    assert read(data) == [(10, short), (15, long)]


def test_a_length_that_is_no_multiple_of_a_word() -> None:
    assert read(word(0, 1) + number(9) + b"abcde\0\0\0" + word(1, 1) + b"next") == [
        (1, b"abcde\0\0\0"),
        (2, b"next"),
    ]


def test_longer_times() -> None:
    """Kind 30 adds to the time, kind 31 sets it but for its five upper bits."""
    second = 1_000_000_000
    data = word(30, second & 0x7FFFFFF) + number(second >> 27) + word(1, 3) + b"abcd"
    assert read(data) == [(second + 3, b"abcd")]
    stamp = T0 + 7 * second
    data = word(31, stamp & 0x7FFFFFF) + number(stamp >> 27) + word(1, 4) + b"abcd"
    assert read(data) == [(7 * second + 4, b"abcd")]


def test_padding() -> None:
    """What was given up is skipped, with its time; without a time it ends the page."""
    data = word(29, 7) + number(8) + b"gone" + word(1, 2) + b"abcd"
    assert read(data) == [(9, b"abcd")]
    assert read(word(1, 2) + b"abcd" + word(29, 0) + b"whatever") == [(2, b"abcd")]


def test_lost_events() -> None:
    data = word(1, 1) + b"abcd"
    missed, stored = 1 << 31, 1 << 30
    assert read_page(page(data, missed), FORM).lost == 1  # it does not say how many
    found = read_page(page(data, missed | stored, struct.pack("<Q", 300)), FORM)
    assert (found.lost, len(found.records), found.damaged) == (300, 1, False)


def test_pages_that_are_cut() -> None:
    """What was whole is there; that there was more is told."""
    whole = page(word(2, 10) + b"abcdefgh" + word(1, 5) + b"next")
    for length in range(1, 16 + 20):
        found = read_page(whole[:length], FORM)
        assert found.damaged
        assert len(found.records) == (length >= 16 + 12)
    assert not read_page(whole[: 16 + 20], FORM).damaged


def test_records_that_go_beyond_their_page() -> None:
    for data in (
        word(20, 1) + b"abcd",
        word(0, 1),
        word(0, 1) + number(1 << 31) + b"abcd",
        word(30, 1),
        word(29, 1) + number(400),
    ):
        found = read_page(page(data), FORM)
        assert found.damaged and not found.records
    zero = read_page(page(word(0, 1) + number(0) + b"abcd"), FORM)
    assert zero.damaged or len(zero.records) <= 2  # it does not go on for ever
