"""What --version tells: what it is, and what it runs on."""

from __future__ import annotations

import os
import sys


def told() -> str:
    """Two lines."""
    import modfs as package  # "from modfs import" would look the version up twice
    from modfs.fuse.server import described

    host = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"modfs {package.__version__}\n"
        f"Python {python}, {described()}, {host.sysname} {host.release}"
    )
