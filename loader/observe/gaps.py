"""What is not known: every kind of it, what it makes uncertain, and how much of it there was.

A number that is not known is never guessed in silence: a call carries the gaps that it has, and the
account counts them beside the counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

_BYTES = ("invalid_becoming_bytes", "invalid_mod_bytes")
_SIZES = ("total_mod_size", "total_text_size")
_ALL = ("all",)


class Gap(NamedTuple):
    """One kind. ``about``: in words. ``affects``: fields of the statistics that may be wrong;
    none: what was missed could be told from other events."""

    about: str
    affects: tuple[str, ...] = ()


GAPS: dict[str, Gap] = {
    # -- of the source
    "lost": Gap("events lost by the kernel's buffer", _ALL),
    "overwritten": Gap("events overwritten before they were read", _ALL),
    "missing": Gap("events missing from the text, by its own header", _ALL),
    "cut": Gap("the text ends in the middle", _ALL),
    "damaged": Gap("lines that are half an event", _ALL),
    "torn": Gap("pages of the kernel's buffer that are cut or damaged", _ALL),
    "foreign": Gap("records of the kernel's buffer that no format describes", _ALL),
    "misses": Gap("probes missed, by the kernel's count", _ALL),
    "no-calls": Gap(
        "recordings without events of system calls: what failed before load_module is not in them",
        ("failed_kreads", "invalid_kread_bytes"),
    ),
    # -- of a call
    "begin": Gap("calls whose beginning was not seen"),
    "stray": Gap("ends of calls of which nothing else was seen", _ALL),
    "end": Gap("calls under way at the end, or whose end was not seen", _ALL),
    "died": Gap("tasks that ended in the middle of a call", _ALL),
    "returns": Gap("returns of load_module not seen; told from other events"),
    "length-same-file": Gap("lengths without signature taken from another load of the same file"),
    "length-signed": Gap("lengths known only with signature", _BYTES),
    "length": Gap("lengths not known", _BYTES),
    "clen": Gap("lengths of compressed files not known", (*_BYTES, "invalid_decompress_bytes")),
    "memory": Gap("modules whose memory was not seen", _SIZES),
    "memory-same-file": Gap("modules whose memory is taken from another load of the same file"),
    "memory-differs": Gap("modules whose memory is not what another source says", _SIZES),
    "text": Gap("modules whose kinds of memory were not seen", ("total_text_size",)),
    "name-same-file": Gap("duplicates named after another load of the same file"),
    "name-file": Gap("duplicates named after their file", ("duplicates",)),
    "name": Gap("duplicates whose name is not known", ("duplicates",)),
    "phase": Gap(
        "failures that may be of becoming or of load",
        ("failed_becoming", "failed_load_modules", *_BYTES, "duplicates"),
    ),
    "decompress": Gap(
        "failures that may be of kread or of decompress",
        ("failed_kreads", "failed_decompress", "invalid_decompress_bytes"),
    ),
    "between": Gap(
        "failed calls of which nothing else was seen: a failed kread, or another's load",
        ("failed_kreads", "invalid_kread_bytes"),
    ),
    "result": Gap("loads whose result was not seen", _ALL),
}


class Gaps:
    """How often each kind was met."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, names: Iterable[str], count: int = 1) -> None:
        """``count`` more of each of ``names``."""
        for name in names:
            self._counts[name] += count

    def names(self) -> set[str]:
        """The kinds that were met."""
        return set(self._counts)

    def counts(self) -> dict[str, int]:
        """How often each kind was met."""
        return dict(self._counts)

    def rows(self) -> list[tuple[int, str, str]]:
        """(how often, what, fields that may be wrong or a dash), in the order of GAPS."""
        return [
            (self._counts[name], gap.about, ", ".join(gap.affects) or "-")
            for name, gap in GAPS.items()
            if self._counts[name]
        ]

    def affected(self) -> set[str]:
        """Fields of the statistics that may be wrong."""
        return {field for name in self._counts for field in GAPS[name].affects}
