"""How many bytes of files the engine holds at one time.

This is the server's own memory, not the simulated kernel's (Config.memory_limit). Loads that find
no room wait in the order in which they came. Nobody waits for anything else while holding a share,
so that each wait ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable

_MOST = 1 << 30


def default_budget() -> int:
    """Bytes: a gibibyte, on small machines a quarter of the memory."""
    return min(_MOST, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)


class Share:
    """What one load has of the budget, in bytes, once it is ``granted``."""

    __slots__ = ("granted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.granted = False


class Budget:
    """Used with the kernel's lock held. ``wakeup(share)`` is called when a share is granted."""

    def __init__(self, limit: int, wakeup: Callable[[Hashable], None]) -> None:
        self.limit = limit
        self.left = limit
        self._wakeup = wakeup
        self._asked: dict[Share, None] = {}  # the longest ago first

    def ask(self, size: int) -> Share:
        """A share, which may have to be waited for. ``size``: no more than the limit."""
        share = Share(size)
        self._asked[share] = None
        self._grant()
        return share

    def give(self, share: Share) -> None:
        """It is no longer needed, or no longer waited for."""
        if share.granted:
            self.left += share.size
        else:
            self._asked.pop(share, None)
        share.size = 0
        self._grant()

    def _grant(self) -> None:
        while self._asked:
            first = next(iter(self._asked))
            if first.size > self.left:
                return
            del self._asked[first]
            self.left -= first.size
            first.granted = True
            self._wakeup(first)
