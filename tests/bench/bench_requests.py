"""Duplicate requests: of the engine, of ``control``, of writers that race.

What one costs is compared with the least that an interpreter takes for the same file, and with the
engine alone. Whether that stays so is measured on two of each: one that has had a million requests,
and a fresh one, in turn.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from loader.calls import File, FinitModule
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from tests.bench.harness import (
    Row,
    c_served,
    in_turn,
    made_modules,
    modfs_served,
    request,
    timed,
)

LINES = 1000  # of one write
WRITERS = 8

Batch = Callable[[], None]


def rows() -> Iterable[Row]:
    with made_modules() as [module]:
        by_path = duplicates(_engine(module), str(module))
        pair = in_turn(lambda: timed(by_path), lambda: timed(_looked_at(module)), rounds=200)
        yield pair.row("a duplicate through the engine API by path", "open, fstat, close", 2.5)
        yield from _rates("engine API", 150_000, _held(module), _held(module), LINES)
        with modfs_served() as used, modfs_served() as fresh:
            controls = [server.root / "control" for server in (used, fresh)]
            for control in controls:
                request(control, f"insmod {module}")
            one, other = (_lines(control, module) for control in controls)
            pair = in_turn(lambda: timed(other), lambda: timed(by_path), rounds=100)
            what = "a duplicate in a batch of 1,000 control lines"
            yield pair.row(what, "through the engine API", 1.5)
            yield from _rates("control, 1,000 lines a write", 40_000, one, other, LINES)
            one, other = (_writers(control, module) for control in controls)
            what = "control, 8 writers, a line a write"
            yield from _rates(what, 8_000, one, other, WRITERS * LINES, batches=25)
        yield from _against_c(module)


def _against_c(module: Path) -> Iterable[Row]:
    """A line a write, and a write that is thrown away."""
    with modfs_served() as modfs, c_served(b"") as minimal:
        control = modfs.root / "control"
        request(control, f"insmod {module}")
        ours, theirs = (_writers(path, module) for path in (control, minimal.root / "file"))
        pair = in_turn(lambda: _each(ours), lambda: _each(theirs), rounds=9)
    against = "a write by 8 writers, C file system"
    yield Row("one line a write, 8 writers", against, pair.ratio, 2.5, detail=str(pair))


def _each(batch: Batch) -> float:
    """Seconds for a write."""
    return timed(batch) / (WRITERS * LINES)


def _rates(
    what: str, target: float, used: Batch, fresh: Batch, size: int, batches: int = 1000
) -> Iterable[Row]:
    """``size``: the requests of a batch; ``batches``: what the used one gets of them first."""
    rate = statistics.median(size / timed(used) for _ in range(batches))
    made = f"{size * batches:,} requests"
    yield Row(what, "duplicates", rate, target, "a second", at_least=True, detail=made)
    pair = in_turn(lambda: timed(used), lambda: timed(fresh), rounds=15)
    yield pair.row("… after 1,000,000 of them", "a fresh one", 1.05)


def _engine(module: Path) -> LiveKernel:
    """One that has it."""
    engine = LiveKernel()
    engine.call(FinitModule(str(module)))
    return engine


def _held(module: Path) -> Batch:
    """Duplicates by a descriptor."""
    return duplicates(_engine(module), os.open(module, os.O_RDONLY))


def duplicates(engine: LiveKernel, file: File) -> Batch:
    """LINES of them, of what is loaded already."""

    def batch() -> None:
        for _ in range(LINES):
            try:  # noqa: SIM105, for suppress() would take a part of what is measured
                engine.call(FinitModule(file))
            except LoadError:
                pass

    return batch


def _looked_at(module: Path) -> Batch:
    """The least that an interpreter can do to know which file a path leads to."""
    path = str(module)

    def batch() -> None:
        for _ in range(LINES):
            descriptor = os.open(path, os.O_RDONLY)
            os.fstat(descriptor)
            os.close(descriptor)

    return batch


def _lines(control: Path, module: Path) -> Batch:
    line = f"insmod {module}"
    return lambda: request(control, *[line] * LINES)


def _writers(control: Path, module: Path) -> Batch:
    """Eight processes, each with ``control`` opened for itself as a shell would."""
    line = f"insmod {module}\n".encode()

    def writer() -> None:
        descriptor = os.open(control, os.O_WRONLY)
        for _ in range(LINES):
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
