"""Reading ``stats``, against the least that any FUSE file system takes for as many bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.harness import (
    Pair,
    Row,
    c_served,
    in_turn,
    made_modules,
    modfs_served,
    request,
    run_quietly,
    timed,
)


def rows() -> Iterable[Row]:
    """Twice: to wake a thread on another processor takes several times as long as all else, in a
    virtual machine, and which of the servers is on another than the client is chance."""
    yield from _rows("")
    with _one_processor():
        yield from _rows(", all on one processor")


@contextmanager
def _one_processor() -> Iterator[None]:
    """This process and those that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _rows(where: str) -> Iterable[Row]:
    with made_modules(10) as modules, modfs_served() as modfs:
        stats = modfs.root / "stats"
        for _ in range(2):
            request(modfs.root / "control", *(f"insmod {module}" for module in modules))
        with c_served(stats.read_bytes()) as minimal:
            file = minimal.root / "file"
            yield _row(f"cat stats, whole process{where}", "cat", _cat(stats, file), 1.1)
            yield _row(f"open, read to the end, close{where}", "the same", _read(stats, file), 2.0)


def _row(what: str, against: str, pair: Pair, target: float) -> Row:
    return pair.row(what, f"{against}, C file system", target)


def _cat(ours: Path, theirs: Path) -> Pair:
    def cat(file: Path) -> float:
        return timed(lambda: run_quietly(["cat", file]))

    return in_turn(lambda: cat(ours), lambda: cat(theirs), rounds=500, warm_up=20)


def _read(ours: Path, theirs: Path) -> Pair:
    def read(name: str) -> None:
        descriptor = os.open(name, os.O_RDONLY)
        while os.read(descriptor, 1 << 17):
            pass
        os.close(descriptor)

    names = str(ours), str(theirs)
    return in_turn(
        lambda: timed(lambda: read(names[0])),
        lambda: timed(lambda: read(names[1])),
        rounds=3000,
        warm_up=100,
    )
