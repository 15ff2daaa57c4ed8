"""From ``modfs mount`` to the first ``cat`` that works, against the start of a Python."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.bench.harness import MODFS, PYTHON, Row, in_turn, run_quietly, timed


def rows() -> Iterable[Row]:
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder:
        pair = in_turn(
            lambda: _mount_and_cat(Path(folder)),
            lambda: timed(lambda: run_quietly([PYTHON, "-c", "pass"])),
            rounds=15,
        )
    yield pair.row("modfs mount until the first cat", "python -c pass", 15)


def _mount_and_cat(folder: Path) -> float:
    def work() -> None:
        run_quietly([MODFS, "mount", folder])
        run_quietly(["cat", folder / "stats"])

    try:
        return timed(work)
    finally:
        subprocess.run(["fusermount", "-u", folder], check=True)
