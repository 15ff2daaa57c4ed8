"""Tables of the recordings: how many loads failed, of which modules, and what the simplest
prediction says."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from loader.observe.replay import rules
from loader.observe.wasted import wasted
from loader.tree.tree import Tree
from tools.boots.asked import baseline, unpack_tree
from tools.boots.facts import Boot
from tools.boots.reading import read_boot, recordings

_HEAD = ("boot", "CPUs", "kernel", "events", "workers", "calls", "failed", "baseline", "off",
         "init failed", "shared", "killed", "MB wasted", "s to settle")  # fmt: skip


def summary(folder: Path) -> Iterator[tuple[str, ...]]:
    """One row for each recording, after a header."""
    yield _HEAD
    with tempfile.TemporaryDirectory(prefix="modfs-boots-") as scratch:

        @cache
        def tree(kernel: str) -> Tree:
            return unpack_tree(kernel, Path(scratch), folder)

        for boot in map(read_boot, _ordered(folder)):
            yield _row(boot, sum(baseline(boot, tree(boot.machine.kernel)).values()))


def spans(folder: Path) -> Iterator[tuple[str, ...]]:
    """One row for each recording: medians of how long each step took, in milliseconds."""
    yield ("boot", *_SPANS, "lock waits s")
    for boot in map(read_boot, _ordered(folder)):
        medians = (_median(list(span(boot))) for span in _SPANS.values())
        locks = boot.contended
        total = "-" if locks is None else f"{sum(one.end - one.begin for one in locks):.1f}"
        yield (boot.name, *medians, total)


def _median(seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f"{statistics.median(known) * 1000:.1f}" if known else "-"


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else end - begin


# Of events: from the fork to the rules, from the handing out to an idle worker to the rules, the
# rules; of loads: see tools.boots.facts.Load.
_SPANS: dict[str, Callable[[Boot], Iterable[float | None]]] = {
    "forked": lambda boot: (_between(e.handed, e.begin) for e in boot.uevents if e.forked),
    "handed": lambda boot: (_between(e.handed, e.begin) for e in boot.uevents if not e.forked),
    "rules": lambda boot: (_between(e.begin, e.ruled) for e in boot.uevents),
    "read": lambda boot: (load.read for load in boot.loads),
    "check": lambda boot: (load.check for load in boot.loads),
    "copy": lambda boot: (load.copy for load in boot.loads),
    "wait": lambda boot: (load.wait or None for load in boot.loads),
    "link": lambda boot: (load.link for load in boot.loads),
    "init": lambda boot: (load.init for load in boot.loads),
    "undo": lambda boot: (load.undo for load in boot.loads if load.failed),
}


def by_module(path: Path, folder: Path) -> Iterator[tuple[str, ...]]:
    """One row for each module of a recording of which a load or an init failed."""
    boot = read_boot(path)
    with tempfile.TemporaryDirectory(prefix="modfs-boots-") as scratch:
        predicted = baseline(boot, unpack_tree(boot.machine.kernel, Path(scratch), folder))
    failed = Counter(load.module for load in boot.loads if load.failed)
    inits = Counter(load.module for load in boot.loads if load.init_failed)
    live = Counter(load.module for load in boot.loads if load.outcome == "live")
    yield ("module", "failed", "baseline", "init failed", "live")
    names = failed.keys() | inits.keys() | predicted.keys()
    for name in sorted(names, key=lambda name: (-failed[name], -predicted.get(name, 0), name)):
        counts = (failed[name], predicted.get(name, 0), inits[name], live[name])
        yield (name, *map(str, counts))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a text, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            [cells[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        ).rstrip()
        + "\n"
        for cells in rows
    )


def _ordered(folder: Path) -> list[Path]:
    def key(path: Path) -> tuple[object, ...]:
        kernel, processors, *rest = path.name.removesuffix(".txt.zst").split("-")
        return tuple(map(int, kernel.split("."))), int(processors), len(rest), rest

    return sorted(recordings(folder), key=key)


def _row(boot: Boot, predicted: int) -> tuple[str, ...]:
    outcomes = Counter(load.outcome for load in boot.loads)
    release = rules(boot.machine.release)
    waste = sum(wasted(load.call, release).total for load in boot.loads)
    settled = f"{boot.settled - boot.start:.1f}" if boot.in_time else "never"
    off = f"{(predicted - boot.failed) / boot.failed:+.0%}" if boot.failed else "-"
    numbers = (
        boot.machine.processors, boot.machine.kernel, len(boot.uevents), len(boot.workers),
        len(boot.loads), boot.failed, predicted, off, outcomes["init"], outcomes["shared"],
        sum(event.free is None for event in boot.uevents),
        f"{waste / 1e6:.1f}", settled,
    )  # fmt: skip
    return (boot.name, *map(str, numbers))
