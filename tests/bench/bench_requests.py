"""Duplicate requests a second: of the engine, of ``control``, of writers that race.

Each is taken again and again until a million were made, so that what grows with the number of
requests would show: the figure for "flat" is the rate of the first thousands over that of the last.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from loader.errors import LoadError
from loader.live import Live
from tests.bench.harness import Row, made_modules, modfs_served, request, timed

MILLION = 1_000_000
LINES = 1000  # of one write
WRITERS = 8


def rows() -> Iterable[Row]:
    with made_modules() as [module]:
        yield from _rates("engine API", 150_000, _engine(module), LINES)
        with modfs_served() as modfs:
            control = modfs.root / "control"
            request(control, f"insmod {module}")
            yield from _rates("control, many lines a write", 40_000, _lines(control, module), LINES)
            writers = _writers(control, module, LINES)
            what = "control, 8 writers, a line a write"
            yield from _rates(what, 8_000, writers, WRITERS * LINES, total=200_000)


def _rates(
    what: str, target: float, batch: Callable[[], None], size: int, total: int = MILLION
) -> Iterable[Row]:
    batch()
    rates = [size / timed(batch) for _ in range(total // size)]
    tenth = max(1, len(rates) // 10)
    first, last = statistics.median(rates[:tenth]), statistics.median(rates[-tenth:])
    yield Row(
        f"duplicates, {what}",
        "absolute",
        statistics.median(rates),
        target,
        "a second",
        at_least=True,
        detail=f"{total:,} requests",
    )
    yield Row(
        "… the first tenth of them",
        "the last tenth",
        first / last,
        1.1,
        detail=f"{first:,.0f} : {last:,.0f} a second",
    )


def _engine(module: Path) -> Callable[[], None]:
    engine = Live()
    descriptor = os.open(module, os.O_RDONLY)
    engine.finit_module(descriptor)

    def batch() -> None:
        for _ in range(LINES):
            try:  # noqa: SIM105, for suppress() would take a part of what is measured
                engine.finit_module(descriptor)
            except LoadError:
                pass

    return batch


def _lines(control: Path, module: Path) -> Callable[[], None]:
    line = f"insmod {module}"
    return lambda: request(control, *[line] * LINES)


def _writers(control: Path, module: Path, lines_each: int) -> Callable[[], None]:
    """Eight processes, each with ``control`` opened for itself as a shell would."""
    line = f"insmod {module}\n".encode()

    def writer() -> None:
        descriptor = os.open(control, os.O_WRONLY)
        for _ in range(lines_each):
            with contextlib.suppress(FileExistsError):
                os.write(descriptor, line)

    def batch() -> None:
        children = [_forked(writer) for _ in range(WRITERS)]
        for child in children:
            os.waitpid(child, 0)

    return batch


def _forked(work: Callable[[], None]) -> int:
    """Do ``work`` in a child process, whose id is returned."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child
