"""What a run has measured as JSON, and which of its figures are other than those of another run."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench.harness import Row, Spread

_BY_ITSELF = 0.1  # how far a figure without a spread moves from run to run
_LEAST = 0.03  # what nobody minds, however often it was measured
_COUNTED = 0.002  # the same of instructions


class Run(msgspec.Struct, frozen=True):
    """A file that ``make bench JSON=FILE`` wrote: the machine, and the rows."""

    machine: str
    processors: int
    python: str
    rows: tuple[Row, ...]
    format: int = 1


def write(path: Path, rows: Sequence[Row]) -> None:
    """OSError."""
    system = os.uname()
    run = Run(
        machine=f"{system.nodename}, {system.sysname} {system.release}, {system.machine}",
        processors=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        rows=tuple(rows),
    )
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


def read(path: Path) -> Run:
    """OSError; ValueError: it is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=Run)


def moved(row: Row, base: Row) -> float:
    """How much greater the figure is than before, as a share of that; 0 where it may be by chance.

    Not by chance is what lies apart: the middle halves of the rounds of the one run and the other
    have nothing in common, and what lies between the figures is more than nobody minds.
    """
    change = row.figure / base.figure - 1 if base.figure else 0.0
    now, then = _reach(row), _reach(base)
    apart = now.low > then.high or now.high < then.low
    return change if apart and abs(change) > (_COUNTED if row.exact else _LEAST) else 0.0


def _reach(row: Row) -> Spread:
    """Where a figure may lie: its spread, and itself, which of a quotient of medians may lie
    beside the rounds' quotients."""
    if row.spread is not None:
        return Spread(min(row.figure, row.spread.low), max(row.figure, row.spread.high))
    margin = 0.0 if row.exact else _BY_ITSELF * row.figure / 2
    return Spread(row.figure - margin, row.figure + margin)


def changes(rows: Sequence[Row], base: Run) -> list[str]:
    """A line for each row that moved beyond noise, and for each that only one of the runs has."""
    before = {(row.what, row.against): row for row in base.rows}
    lines = []
    for row in rows:
        then = before.pop((row.what, row.against), None)
        if then is None:
            lines.append(f"new      {row.what}")
        elif change := moved(row, then):
            better = (change > 0) == row.at_least
            lines.append(
                f"{'better' if better else 'WORSE':8} {row.what}: {number(then.figure)} to"
                f" {number(row.figure)} {row.unit} ({change:+.1%})"
            )
    return lines


def number(value: float) -> str:
    """A figure as the table has it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
