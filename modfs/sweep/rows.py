"""A boot's outcome as the row that JSON and Parquet have of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import modfs
from loader.engine.kmod import as_text
from modfs.sweep.plan import Key, Point, Run

if TYPE_CHECKING:
    from loader.simulate.udev import Outcome

Row = dict[str, Any]


def as_row(run: Run, outcome: Outcome, seed: int) -> Row:
    """What came of it. Bytes; virtual seconds."""
    snapshot = asdict(outcome.snapshot)
    del snapshot["unloaded_tainted"], snapshot["modules"]
    return {
        "kernel": run.kernel,
        "compression": run.config.compression,
        "processors": run.machine.processors,
        "memory": run.machine.memory,
        "workers": run.machine.workers,
        "seed": seed,
        "failed": outcome.failed,
        "baseline": run.baseline,
        "wasted_bytes": outcome.snapshot.wasted_bytes,
        "peak_bytes": outcome.peak,
        "out_of_memory": outcome.out_of_memory,
        "killed": outcome.killed,
        "requests": outcome.requests,
        "boot_seconds": round(outcome.boot, 6),
        "waiting_seconds": round(outcome.waiting, 6),
        **_autoload(outcome),
        **snapshot,
    }


def _autoload(outcome: Outcome) -> Row:
    """How the requests of the kernel's own ended, if there were any."""
    if not outcome.autoload:
        return {}
    slot_waits = [request.slot_wait for request in outcome.autoload]
    return {
        "autoload_results": dict(Counter(as_text(one.result) for one in outcome.autoload)),
        "autoload_slot_wait_seconds": round(sum(slot_waits), 6),
        "autoload_slot_wait_longest": round(max(slot_waits), 6),
    }


def boot_row(point: Point, seed: int) -> Row:
    """Boot it, here; the row of a sweep, which says what was booted."""
    from loader.simulate.udev import boot

    named = {"machine": point.name, "digest": point.digest, "modfs": modfs.__version__}
    return named | as_row(point.run, boot(point.run.machine, point.run.config, seed=seed), seed)


def key_of(row: Row) -> Key:
    """Which boot it is. KeyError, ValueError, TypeError: it is no row of a sweep."""
    digest, seed = row["digest"], row["seed"]
    if not isinstance(digest, str) or not isinstance(seed, int):
        raise ValueError
    return Key(digest, seed)
