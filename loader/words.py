"""Words that people and files use for modules, sizes and times, each read in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from loader.errors import UserError

MODULE_FILE = re.compile(r"(?s)[^/]+\.ko(?:\.zst|\.gz|\.xz)?")
"""What the name of a module's file looks like."""

# A number of at most 30 digits: Python refuses to read integers of thousands.
_QUANTITY = re.compile(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([A-Za-zµ/]*)\s*")
# Bytes. With a B as the SI and the IEC have it; a letter alone is a power of two, as to the
# kernel (memparse) and to dd.
_SIZES: dict[str, int] = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", 1):
    _SIZES |= {f"{_letter}B": 1000**_power, f"{_letter}iB": 1024**_power, _letter: 1024**_power}
_SIZES |= {"k": _SIZES["K"], "kB": _SIZES["KB"], "m": _SIZES["M"], "g": _SIZES["G"]}
_TIMES: dict[str, float] = {"": 1.0, "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_RATES = {"": 1, **{f"{unit}/s": scale for unit, scale in _SIZES.items() if unit}}

SIZE_WANTED = 'a size such as 4096, "16k" or "20 MB"'
TIME_WANTED = 'a time such as 0.002 or "2 ms"'
RATE_WANTED = 'a rate above 0 such as "900 MB/s"'
# The most that the kernel counts in (loff_t), and far more than any wait lasts: 30 years.
SIZE_MOST = 2**63 - 1
SECONDS_MOST = 1e9
_MANY = 200  # words
_SHOWN = 60  # characters of a wrong value that a message repeats


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
    import difflib  # only for those who mistyped

    word, known = word[:_SHOWN], list(known)
    if len(known) > _MANY:  # thousands of modules: only those that look alike are compared
        known = [each for each in known if _is_similar(word, each)]
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _is_similar(word: str, other: str) -> bool:
    return abs(len(word) - len(other)) <= 2 and (word[:1] == other[:1] or set(word) == set(other))


def printable(text: str) -> str:
    """For people, on one line: what would move a terminal's cursor, or colour it, is told as
    Python writes it. Names come from whoever has made a file or named a program."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """A wrong value for a message: on one line, and not all of what is long."""
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        text = repr(value if isinstance(value, str | float | int) else str(value))
    except ValueError:  # a number of more digits than Python writes
        text = "such a number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def parse_size(value: object) -> int:
    """Bytes: a number, or text such as "16k", "20 MB" (20,000,000), "2 MiB", "0x4c0". UserError."""
    if isinstance(value, str) and re.fullmatch(r"\s*0[xX][0-9a-fA-F]{1,16}\s*", value):
        value = int(value, 16)
    return round(_quantity(value, _SIZES, SIZE_MOST, SIZE_WANTED))


def parse_seconds(value: object) -> float:
    """Seconds: a number, or text such as "2 ms". UserError."""
    return float(_quantity(value, _TIMES, SECONDS_MOST, TIME_WANTED))


def parse_rate(value: object) -> float:
    """Bytes a second, above 0: a number, or text such as "900 MB/s". UserError."""
    rate = float(_quantity(value, _RATES, SIZE_MOST, RATE_WANTED))
    if not rate > 0:
        raise UserError(f"{RATE_WANTED} is needed, not {shown(value)}")
    return rate


def _quantity(value: object, units: Mapping[str, float], most: float, what: str) -> float:
    number: object = value
    unit = ""
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
        number, unit = float(match[1]) if "." in match[1] else int(match[1]), match[2]
    if not isinstance(number, int | float) or isinstance(number, bool) or unit not in units:
        raise UserError(f"{what} is needed, not {shown(value)}")
    # Compared first: a product of absurd numbers may be more than a float can be. NaN fails too.
    if not (0 <= number <= most and number * units[unit] <= most):
        raise UserError(f"{what} is needed, from 0 to {most:.3g}, not {shown(value)}")
    return number * units[unit]


def readable_size(size: int) -> str:
    """Bytes as a person says them."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(size) >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size} B"
