"""What the server holds in memory after a million requests, against after ten thousand."""

from __future__ import annotations

from collections.abc import Iterable

from tests.bench.harness import Row, made_modules, modfs_served, request, resident_bytes

FEW, MANY = 10_000, 1_000_000
LINES = 1000  # of one write


def rows() -> Iterable[Row]:
    with made_modules() as [module], modfs_served() as modfs:
        lines = [f"insmod {module}"] * LINES
        made, after = 0, {}
        for enough in (FEW, MANY):
            while made < enough:
                request(modfs.root / "control", *lines)
                made += LINES
            after[enough] = resident_bytes(modfs.pid)
    yield Row(
        "memory after 1,000,000 requests",
        "after 10,000",
        after[MANY] / after[FEW],
        1.05,
        detail=f"{after[MANY] / 1e6:.1f} MB : {after[FEW] / 1e6:.1f} MB",
    )
