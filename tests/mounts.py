"""What tests and measurements do with a mount."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def ask(mount: Path, *lines: str) -> None:
    """Write requests to ``control`` in one write. OSError: the first one's that failed.

    Not by Python's own file objects: they write again what a write refused when they are closed.
    """
    descriptor = os.open(mount / "control", os.O_WRONLY)
    try:
        os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
    finally:
        os.close(descriptor)


def unmount_below(folder: Path) -> None:
    """End every mount in ``folder``, the innermost first, whatever state it is in."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mountpoint in reversed([point for point in mounted if Path(point).is_relative_to(folder)]):
        if subprocess.run(["fusermount", "-u", mountpoint], capture_output=True).returncode:
            subprocess.run(["fusermount", "-uz", mountpoint], capture_output=True)
