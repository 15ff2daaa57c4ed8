"""From ``modfs mount`` to the first ``cat`` that works, and ``--version``, against the start of a
Python."""

from __future__ import annotations

import compileall
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.bench.harness import HERE, MODFS, PYTHON, Row, in_turn, run_quietly, timed


def rows() -> Iterable[Row]:
    for package in ("loader", "modfs"):  # as they are once they are installed
        compileall.compile_dir(HERE.parents[1] / package, quiet=1)
    yield from _mount()
    yield from _version()


def _start() -> float:
    return timed(lambda: run_quietly([PYTHON, "-c", "pass"]))


def _mount() -> Iterable[Row]:
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder:
        pair = in_turn(
            lambda: _mount_and_cat(Path(folder)),
            _start,
            rounds=15,
        )
    yield pair.row("modfs mount until the first cat", "python -c pass", 8)


def _version() -> Iterable[Row]:
    pair = in_turn(lambda: timed(lambda: run_quietly([MODFS, "--version"])), _start, rounds=25)
    yield pair.row("modfs --version", "python -c pass", 3)


def _mount_and_cat(folder: Path) -> float:
    def work() -> None:
        run_quietly([MODFS, "mount", folder])
        run_quietly(["cat", folder / "stats"])

    try:
        return timed(work)
    finally:
        subprocess.run(["fusermount", "-u", folder], check=True)
