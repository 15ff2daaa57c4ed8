"""What a server holds in memory: when nobody asks for anything, against a file system that fusepy
serves; after a million requests, against after ten thousand."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.bench.harness import (
    HERE,
    MODFS,
    PYTHON,
    Row,
    made_modules,
    modfs_served,
    request,
    resident_bytes,
    served,
)

FEW, MANY = 10_000, 1_000_000
LINES = 1000  # of one write


def rows() -> Iterable[Row]:
    yield _idle()
    yield _used()


def _idle() -> Row:
    """In the background, as most mounts are."""
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder:
        subprocess.run([MODFS, "mount", folder], check=True)
        try:
            ours = resident_bytes(int(Path(folder, ".control/server").read_text()))
        finally:
            subprocess.run(["fusermount", "-u", folder], check=True)
    with served([PYTHON, str(HERE / "plain_fusepy.py"), "{}"], "file") as plain:
        (plain.root / "file").read_bytes()
        theirs = resident_bytes(plain.pid)
    return Row(
        "memory of an idle mount",
        "one file, by fusepy",
        ours / theirs,
        1.3,
        detail=f"{ours / 1e6:.1f} MB : {theirs / 1e6:.1f} MB",
    )


def _used() -> Row:
    with made_modules() as [module], modfs_served() as modfs:
        lines = [f"insmod {module}"] * LINES
        made, after = 0, {}
        for enough in (FEW, MANY):
            while made < enough:
                request(modfs.root / "control", *lines)
                made += LINES
            after[enough] = resident_bytes(modfs.pid)
    return Row(
        "memory after 1,000,000 requests",
        "after 10,000",
        after[MANY] / after[FEW],
        1.05,
        detail=f"{after[MANY] / 1e6:.1f} MB : {after[FEW] / 1e6:.1f} MB",
    )
