"""Words that people and files use for modules, sizes and times, each read in one place."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping

from loader.errors import UserError

MODULE_FILE = re.compile(r"(?s)[^/]+\.ko(?:\.zst|\.gz|\.xz)?")
"""What the name of a module's file looks like."""

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ/]*)\s*")
# Bytes. With a B as the SI and the IEC have it; a letter alone is a power of two, as to the
# kernel (memparse) and to dd.
_SIZES: dict[str, int] = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", 1):
    _SIZES |= {f"{_letter}B": 1000**_power, f"{_letter}iB": 1024**_power, _letter: 1024**_power}
_SIZES |= {"k": _SIZES["K"], "kB": _SIZES["KB"], "m": _SIZES["M"], "g": _SIZES["G"]}
_TIMES: dict[str, float] = {"": 1.0, "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def canonical(name: str) -> str:
    """The module's name as the kernel spells it: `_` for each `-`."""
    return name.replace("-", "_")


def module_name(path: str | os.PathLike[str]) -> str:
    """The canonical name of the module in a file: all before the first dot, as kmod takes it."""
    return canonical(os.path.basename(path).partition(".")[0])


def module_or_alias(text: str) -> str:
    """A module's canonical name; what has a colon is a modalias and stays as it is."""
    return text if ":" in text else canonical(text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean X?"`` for the nearest of the known words, empty if none is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def parse_size(value: object) -> int:
    """Bytes: a number, or text such as "16k", "20 MB" (20,000,000), "2 MiB", "0x4c0". UserError."""
    if isinstance(value, str) and value.strip()[:2] in ("0x", "0X"):
        try:
            return int(value, 16)
        except ValueError:
            pass  # said below, with what would do
    return round(_quantity(value, _SIZES, 'a size such as 4096, "16k" or "20 MB"'))


def parse_seconds(value: object) -> float:
    """Seconds: a number, or text such as "2 ms". UserError."""
    return float(_quantity(value, _TIMES, 'a time such as 0.002 or "2 ms"'))


def parse_rate(value: object) -> float:
    """Bytes a second, above 0: a number, or text such as "900 MB/s". UserError."""
    units = {"": 1, **{f"{unit}/s": scale for unit, scale in _SIZES.items() if unit}}
    what = 'a rate above 0 such as "900 MB/s"'
    rate = float(_quantity(value, units, what))
    if not rate > 0:
        raise UserError(f"{what} is needed, not {value!r}")
    return rate


def _quantity(value: object, units: Mapping[str, float], what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300:
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise UserError(f"{what} is needed, not {value!r}")
    number = float(match[1]) if "." in match[1] else int(match[1])
    return number * units[match[2]]
