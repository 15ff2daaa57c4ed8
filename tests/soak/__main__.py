"""make soak: one mount, as many clients and mishaps as the time allows, and the sums at the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from modfs.cli.table import aligned
from tests.soak.disturbances import DISTURBANCES
from tests.soak.requests import COUNTERS, write_modprobe_tree
from tests.soak.server import Use, soaked
from tests.soak.soak import Soak, run

_GROWTH = 48 << 20  # bytes of memory that a server may take more than when it was warm
_THREADS = 16  # libfuse keeps ten that idle; a few are ours


def measures(soak: Soak) -> None:
    """Memory, descriptors and threads do not grow."""
    first, last = soak.uses[0], soak.uses[-1]
    if last.resident > first.resident + _GROWTH:
        soak.wrong(f"memory grew from {first.resident} to {last.resident} bytes")
    if last.descriptors > first.descriptors:
        soak.wrong(f"descriptors grew from {first.descriptors} to {last.descriptors}")
    if last.threads > max(first.threads, _THREADS):
        soak.wrong(f"threads grew from {first.threads} to {last.threads}")


def table(soak: Soak, seconds: float) -> Iterator[str]:
    """All that there is to tell."""
    sums, first, last = soak.sums, soak.uses[0], soak.uses[-1]
    rows = [["WHAT", "FIGURE", ""]]
    rows.append(["time", f"{seconds:.0f} s", ""])
    rate = f"{sums.requests / seconds:,.0f} a second"
    rows.append(["requests", f"{sums.requests:,}", rate])
    rows.append(["  not told how they ended", f"{sums.unknown:,}", ""])
    for name, count in sums.answers.most_common():
        rows.append([f"  {name}", f"{count:,}", ""])
    for one in DISTURBANCES:
        reason = soak.skipped.get(one.name, "")
        figure = f"skipped: {reason}" if reason else ""
        rows.append([one.name, f"{soak.counts[one.name]:,}", figure])
    rows.append(["clients killed or interrupted", f"{soak.counts['victims']:,}", ""])
    found = soak.server.counters()
    for counter in COUNTERS:
        told = f"clients were told {sums.least[counter]:,} to {sums.most[counter]:,}"
        rows.append([f"counter {counter}", f"{found[counter]:,}", told])
    for name in Use._fields:
        before = f"{getattr(first, name):,} when warm"
        rows.append([f"server's {name}", f"{getattr(last, name):,}", before])
    rows.append(["violations", str(len(soak.violations)), ""])
    return aligned(rows, left=(0, 2))


def soak_once(minutes: float, modules: int, writers: int = 4, readers: int = 2) -> int:
    """One run with its table; 1: something was violated."""
    with tempfile.TemporaryDirectory(prefix="modfs-soak-") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        write_modprobe_tree(folder / "tree", writers)
        with soaked(folder, folder / "tree") as server:
            soak = Soak(folder, server, writers, readers)
            begin = time.monotonic()
            try:
                run(soak, minutes, modules)
                measures(soak)
                print(*table(soak, time.monotonic() - begin), sep="\n", flush=True)
            finally:
                soak.end()
    return bool(soak.violations)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--modules", type=int, default=10_000, help="loaded at once at the start")
    given = parser.parse_args()
    if os.geteuid() or not os.access("/dev/fuse", os.W_OK):
        print("the soak needs root and /dev/fuse", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return soak_once(given.minutes, given.modules)
    except KeyboardInterrupt:
        print("interrupted; all that was started is ended", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
