"""Which FUSE library serves the mounts here."""

from __future__ import annotations

import ctypes
import os
from importlib.metadata import PackageNotFoundError, version

from modfs.fuse.files import INSTALL_FUSE

LIBRARY = "libfuse.so.2"
"""The one that fusepy is to load."""


def described() -> str:
    """Such as "libfuse 2.9 by fusepy 3.0.1"; what is missing, if there is none.

    Without fusepy's own module: its imports take longer than all that --version does.
    """
    try:
        number = ctypes.CDLL(os.environ.get("FUSE_LIBRARY_PATH", LIBRARY)).fuse_version()
    except OSError:
        return f"no libfuse 2 ({INSTALL_FUSE})"
    try:
        by = version("fusepy")
    except PackageNotFoundError:
        return f"libfuse {number // 10}.{number % 10} and no fusepy"
    return f"libfuse {number // 10}.{number % 10} by fusepy {by}"
