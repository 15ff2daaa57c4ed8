"""The kernel's functions by addresses (/proc/kallsyms)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PLACE = Path("/proc/kallsyms")
_MOST = 10_000  # addresses that are remembered


class Symbols:
    """Looks an address up once, and remembers what it was: the list is long, and the kernel makes
    it anew for each who reads it."""

    def __init__(self, place: Path = _PLACE) -> None:
        self._place = place
        self._names: dict[int, str] = {}

    def __call__(self, address: int) -> str:
        """The function's name; the address in hexadecimal where nobody tells."""
        name = self._names.get(address)
        if name is None:
            if len(self._names) >= _MOST:
                self._names.clear()
            name = self._names[address] = self._find(address) or f"{address:#x}"
        return name

    def _find(self, address: int) -> str | None:
        """The last function that begins there or before."""
        try:
            text = self._place.read_bytes()
            kernel = text.rfind(b"\n", 0, text.find(b"\t[") % (len(text) + 1)) + 1
            found = [line for line in _of_modules(text[kernel:]) if line[0] <= address]
            start, name = max([*found, _of_kernel(text, kernel, address)])
        except (OSError, ValueError, IndexError):
            return None
        return name if start else None  # all are 0 for those who may not know


def _of_modules(text: bytes) -> Iterator[tuple[int, str]]:
    """Their functions; each module has its own order."""
    for line in text.splitlines():
        start, kind, name = line.split()[:3]
        if kind in b"tTwW":
            yield int(start, 16), name.decode()


def _of_kernel(text: bytes, end: int, address: int) -> tuple[int, str]:
    """The kernel's own are in the order of their addresses. Of several names the first is taken, as
    the kernel does."""
    low, high = 0, end  # lines that begin before low are not above the address
    while low < high:
        place = text.rfind(b"\n", 0, (low + high) // 2) + 1
        if place < low:
            place = low
        if int(text[place : text.index(b" ", place)], 16) > address:
            high = place
        else:
            low = text.index(b"\n", place) + 1
    if not low:
        return 0, ""
    last = text.rfind(b"\n", 0, low - 1) + 1
    start = text[last : text.index(b" ", last)]
    first = last
    while first and text.startswith(start, before := text.rfind(b"\n", 0, first - 1) + 1):
        first = before
    return int(start, 16), text[first : text.index(b"\n", first)].split()[2].decode()
