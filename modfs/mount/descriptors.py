"""Descriptors that a process was born with."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress


def open_descriptors() -> frozenset[int]:
    """Those of this process; one of them, the folder that told, is closed by now."""
    return frozenset(map(int, os.listdir("/proc/self/fd")))


def close_descriptors(numbers: Collection[int], keep: Collection[int]) -> None:
    """Close ``numbers`` but for those to ``keep``."""
    for number in numbers:
        if number not in keep:
            with suppress(OSError):
                os.close(number)
