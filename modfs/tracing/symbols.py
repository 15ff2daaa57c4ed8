"""The kernel's functions by addresses (/proc/kallsyms)."""

from __future__ import annotations

from pathlib import Path

_PLACE = Path("/proc/kallsyms")
_CODE = frozenset(b"tTwW")
_MOST = 10_000  # addresses that are remembered


class Symbols:
    """Looks an address up once, through the whole list, and remembers what it was."""

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
        best, name = 0, None
        try:
            with self._place.open("rb") as file:
                for line in file:
                    start, kind, rest = line.split(None, 2)
                    if kind[0] in _CODE:
                        place = int(start, 16)
                        if best < place <= address:
                            best, name = place, rest.split()[0].decode()
        except (OSError, ValueError):
            return None
        return name
