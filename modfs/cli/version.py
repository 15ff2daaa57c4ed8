"""What --version tells: what it is, and what it runs on."""

from __future__ import annotations

import os
import sys


def told() -> str:
    """Two lines; three for an ordinary user."""
    import modfs as package  # "from modfs import" would look the version up twice
    from modfs.fuse.server import described

    host = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    lines = [
        f"modfs {package.__version__}",
        f"Python {python}, {described()}, {host.sysname} {host.release}",
    ]
    if os.geteuid():
        from modfs.run import user_ids

        lines.append(user_ids.described())
    return "\n".join(lines)
