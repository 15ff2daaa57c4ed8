"""Descriptors that a process was born with."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress


def open_descriptors() -> frozenset[int]:
    """Those of this process."""
    listed = map(int, os.listdir("/proc/self/fd"))  # with that of the folder, closed by now
    return frozenset(number for number in listed if os.path.lexists(f"/proc/self/fd/{number}"))


def close_descriptors(numbers: Collection[int], keep: Collection[int]) -> None:
    """Close ``numbers`` but for those to ``keep``."""
    for number in numbers:
        if number not in keep:
            with suppress(OSError):
                os.close(number)
