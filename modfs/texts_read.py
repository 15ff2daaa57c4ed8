"""The kernel's own texts, read: what modfs.texts writes, and what a real kernel has.

Strict: a text that is not exactly of the kernel's form is refused with the line that is not. Only
its end may be missing, in the middle of a row of duplicates, where the kernel's buffer ended.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from loader.engine.stats import Counters, Duplicate, Snapshot, UnloadedTainted
from loader.errors import UserError
from loader.words import shown
from modfs.texts import AVERAGES, DUPLICATES, PREAMBLE, REASONS, TITLES

_NUMBER = re.compile(r"\d{1,20}")
_UNLOADED = re.compile(r"(.*) \(([A-Z]*)\) (\d{1,20})")
_MOST = (1 << 64) - 1
_MASKS = {words: mask for mask, words in REASONS.items()}


class StatsText(NamedTuple):
    """A ``stats`` text. ``is_cut``: the kernel's buffer was too small for all duplicates."""

    snapshot: Snapshot
    is_cut: bool


def read_stats(text: str, source: str) -> StatsText:
    """What the text says. ``source``: its name for messages. UserError: it is no such text."""
    return _Lines(text, source).read()


class _Lines:
    """The lines of a text, taken one after the other."""

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.split("\n")
        self._source = source
        self._at = 0

    def read(self) -> StatsText:
        values = {field: self._labelled(label) for label, field in PREAMBLE}
        wasted = values.pop("wasted_bytes")
        snapshot = Snapshot.of(Counters(**values))
        if snapshot.wasted_bytes != wasted:
            self._at -= 1
            raise self._wrong(f"{snapshot.wasted_bytes}, the sum of the bytes above,")
        for label, *_ in AVERAGES:
            if self._line.lstrip().startswith(label + "\t"):
                self._labelled(label)
        rows = self._duplicates()
        is_cut = self._lines[-1] != ""
        return StatsText(replace(snapshot, duplicates=tuple(rows)), is_cut)

    @property
    def _line(self) -> str:
        return self._lines[self._at] if self._at < len(self._lines) else ""

    @property
    def _is_last(self) -> bool:
        """What follows the last line end: nothing, or half a row."""
        return self._at == len(self._lines) - 1

    def _labelled(self, label: str) -> int:
        name, tab, number = self._line.partition("\t")
        if self._is_last or name != f"{label:>25}" or not tab or not _NUMBER.fullmatch(number):
            raise self._wrong(f"{shown(label)} and a number")
        if int(number) > _MOST:
            raise self._wrong("a number of 64 bits")
        self._at += 1
        return int(number)

    def _duplicates(self) -> list[Duplicate]:
        if self._is_last and self._line == "":
            return []
        for wanted in (DUPLICATES, TITLES):
            if self._line != wanted and not self._is_cut_off(wanted):
                raise self._wrong(shown(wanted))
            self._at += 1
        rows = []
        while self._at < len(self._lines) - 1:
            rows.append(self._duplicate())
            self._at += 1
        return rows

    def _is_cut_off(self, wanted: str) -> bool:
        return self._at >= len(self._lines) - 1 and wanted.startswith(self._line)

    def _duplicate(self) -> Duplicate:
        name, count, reason = [*self._line.rsplit("\t", 2), "", ""][:3]
        words = reason.strip()
        if words not in _MASKS or not _NUMBER.fullmatch(count.strip()):
            raise self._wrong("a module, how often, and Becoming, Load or both")
        becoming, load = _MASKS[words]
        return Duplicate(name.lstrip(" "), int(count), becoming, load)

    def _wrong(self, wanted: str) -> UserError:
        return UserError(
            f"{self._source}, line {min(self._at, len(self._lines)) + 1}: {wanted} is needed,"
            f" not {shown(self._line)}"
        )


def read_unloaded_tainted(text: str, source: str) -> tuple[UnloadedTainted, ...]:
    """The rows of ``unloaded_tainted``. UserError: it is no such text."""
    rows = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        found = _UNLOADED.fullmatch(line)
        if not found:
            raise UserError(f"{source}, line {number}: NAME (TAINTS) COUNT is needed")
        rows.append(UnloadedTainted(found[1], found[2], int(found[3])))
    return tuple(rows)
