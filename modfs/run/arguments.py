"""Arguments of caught calls."""

from __future__ import annotations

from modfs import linux


def text(data: bytes) -> str:
    """What a program calls something."""
    return data.decode("utf-8", "surrogateescape")


def signed(number: int) -> int:
    """An int argument as C sees it."""
    number &= 0xFFFFFFFF
    return number - ((number & 1 << 31) << 1)


def folder(number: int) -> int | None:
    """A descriptor that paths begin at; None: the caller's folder."""
    fd = signed(number)
    return None if fd == linux.AT_FDCWD else fd
