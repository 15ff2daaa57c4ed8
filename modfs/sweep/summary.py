"""What a sweep came to: median and 5 to 95 % over the seeds, for each machine, kernel and size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from statistics import median, quantiles
from typing import NamedTuple

from loader.words import readable_size
from modfs.sweep.plan import Point
from modfs.sweep.rows import Row


class Spread(NamedTuple):
    """Of a number, over the seeds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """5, 50 and 95 %, linear between the values."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        parts = quantiles(values, n=20, method="inclusive")
        return cls(parts[0], median(values), parts[-1])


# what it is called, its field, how it is written
_NUMBERS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("FAILED", "failed", lambda value: f"{value:.0f}"),
    ("WASTED", "wasted_bytes", lambda value: readable_size(round(value))),
    ("BOOT", "boot_seconds", lambda value: f"{value:.2f} s"),
)


class Summary:
    """Takes rows, keeps the three numbers of each."""

    def __init__(self, points: Iterable[Point]) -> None:
        self._points = {point.digest: point for point in points}
        self._seen: dict[str, list[tuple[float, ...]]] = {digest: [] for digest in self._points}

    def add(self, row: Row) -> None:
        """A row of one of the points."""
        numbers = tuple(float(row[field]) for _, field, _ in _NUMBERS)
        self._seen[row["digest"]].append(numbers)

    def table(self) -> Iterator[list[str]]:
        """Rows for people, the heading first. ALL-BUT-ONE: see Run.baseline."""
        headings = [heading for name, _, _ in _NUMBERS for heading in (name, "5-95 %")]
        yield ["MACHINE", "KERNEL", "CPUS", "SEEDS", "ALL-BUT-ONE", *headings]
        for digest, point in self._points.items():
            if seen := self._seen[digest]:
                machine = point.run.machine
                numbers = machine.processors, len(seen), point.run.baseline
                row = [point.name, point.run.kernel, *map(str, numbers)]
                for (_, _, told), values in zip(_NUMBERS, zip(*seen, strict=True), strict=True):
                    spread = Spread.of(list(values))
                    row += [told(spread.median), _range(told(spread.low), told(spread.high))]
                yield row


def _range(low: str, high: str) -> str:
    number, _, unit = low.partition(" ")
    same = unit and high.endswith(f" {unit}")
    return f"{number if same else low}-{high}"
