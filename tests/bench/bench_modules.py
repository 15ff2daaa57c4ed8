"""Reading and laying out real modules in one process, against ``modinfo -F name`` of the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.bench import kernel_modules
from tests.bench.harness import HERE, PYTHON, Command, Row, in_turn, run_quietly, timed


def rows() -> Iterable[Row]:
    yield _row(".ko", kernel_modules.plain(), rounds=5)
    yield _row(".ko.xz", kernel_modules.compressed(), rounds=3)


def _row(kind: str, modules: list[Path], rounds: int) -> Row:
    ours: Command = [PYTHON, HERE / "lay_out.py", *modules]
    theirs: Command = ["modinfo", "-F", "name", *modules]
    pair = in_turn(
        lambda: timed(lambda: run_quietly(ours)),
        lambda: timed(lambda: run_quietly(theirs)),
        rounds,
    )
    what = f"reading and laying out {len(modules):,} real modules, {kind}"
    return pair.row(what, "modinfo -F name", 1.5)
