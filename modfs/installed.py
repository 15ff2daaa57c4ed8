"""Versions of packages that are installed.

By the names of their folders: importlib.metadata says the same, and takes three times as long to be
imported as Python takes to start.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_ENDS = (".dist-info", ".egg-info")


def version(package: str) -> str | None:
    """That of ``package``, whose name is one word; None: it is not installed."""
    for folder in sys.path:
        with suppress(OSError):
            for name in os.listdir(folder or os.curdir):
                found, dash, rest = name.partition("-")
                if dash and found.lower() == package and rest.endswith(_ENDS):
                    return rest.rpartition(".")[0].partition("-")[0]
    from importlib import metadata  # which also looks into archives

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
