"""Run the measurements and print them as one table: ``make bench``, ``make bench ONLY=stats``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator

from modfs.cli.table import aligned
from tests.bench.harness import HERE, Row


def names() -> list[str]:
    """Of all measurements: ``stats`` for bench_stats.py."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table."""
    cells = [["WHAT", "AGAINST", "FIGURE", "TARGET", "", "MEASURED"]]
    for row in rows:
        figure = f"{number(row.figure)} {row.unit}"
        target = f"{'at least' if row.at_least else 'at most'} {number(row.target)}"
        reached = "reached" if row.reached else "SHORT"
        cells.append([row.what, row.against, figure, target, reached, row.detail])
    return aligned(cells, left=(0, 1, 4, 5))


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(names())
    if unknown:
        print(
            f"no such measurement: {', '.join(sorted(unknown))} (there are: {', '.join(names())})"
        )
        return 2
    rows: list[Row] = []
    for name in wanted or names():
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.bench.bench_{name}").rows()
    print(f"{os.cpu_count()} processors", *table(rows), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
