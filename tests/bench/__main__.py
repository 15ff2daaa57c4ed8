"""Run the measurements and print them as one table: ``make bench``, ``make bench ONLY=stats``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from tests.bench.harness import HERE, Row


def names() -> list[str]:
    """Of all measurements: ``stats`` for bench_stats.py."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def table(title: str, rows: Iterable[Row]) -> Table:
    drawn = Table(title=title, title_justify="left")
    for heading in ("what", "against", "figure", "target", "", "measured"):
        drawn.add_column(heading, justify="right" if heading in ("figure", "target") else "left")
    for row in rows:
        bound = "at least" if row.at_least else "at most"
        drawn.add_row(
            row.what,
            row.against,
            f"{number(row.figure)} {row.unit}",
            f"{bound} {number(row.target)}",
            "reached" if row.reached else "[bold]short[/]",
            row.detail,
        )
    return drawn


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
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table(f"{os.cpu_count()} processors", rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
