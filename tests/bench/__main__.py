"""Run the measurements and print them as one table: ``make bench``, ``make bench ONLY=stats``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from modfs.cli.table import aligned
from tests.bench.comparison import Run, changes, number, read, write
from tests.bench.harness import HERE, Row


def names() -> list[str]:
    """Of all measurements: ``stats`` for bench_stats.py."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table."""
    cells = [["WHAT", "AGAINST", "FIGURE", "SPREAD", "TARGET", "", "MEASURED"]]
    for row in rows:
        figure = f"{number(row.figure)} {row.unit}"
        spread = f"{number(row.spread.low)} to {number(row.spread.high)}" if row.spread else ""
        target = reached = ""
        if row.target is not None:
            target = f"{'at least' if row.at_least else 'at most'} {number(row.target)}"
            reached = "reached" if row.reached else "SHORT"
        cells.append([row.what, row.against, figure, spread, target, reached, row.detail])
    return aligned(cells, left=(0, 1, 5, 6))


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("names", nargs="*", help="ONLY='NAME ...'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows: JSON=FILE")
    parser.add_argument("--base", type=Path, metavar="FILE", help="compare with them: BASE=FILE")
    given = parser.parse_args(words)
    unknown = set(given.names) - set(names())
    if unknown:
        print(
            f"no such measurement: {', '.join(sorted(unknown))} (there are: {', '.join(names())})"
        )
        return 2
    try:
        base = read(given.base) if given.base else None
    except (OSError, ValueError) as error:
        print(f"{given.base}: {error}")
        return 2
    rows: list[Row] = []
    for name in given.names or names():
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.bench.bench_{name}").rows()
    print(f"{os.cpu_count()} processors", *table(rows), sep="\n")
    if given.json:
        write(given.json, rows)
    if base:
        print(*_compared(rows, base, given.base), sep="\n")
    return 0


def _compared(rows: list[Row], base: Run, file: Path) -> Iterator[str]:
    lines = changes(rows, base)
    yield f"\nBeyond noise, since {file} ({base.machine}, {base.processors} processors):"
    yield from lines or ["nothing"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
