"""kernel/locking/semaphore.c: so many may have it at once, and the others get it as they came."""

from __future__ import annotations

from collections.abc import Callable, Hashable


class Waiter:
    """One who found no room. ``up``: somebody who had it has handed it over."""

    __slots__ = ("up",)

    def __init__(self) -> None:
        self.up = False


class Semaphore:
    """Used with the kernel's lock held. ``wakeup(waiter)`` is called when it was handed over."""

    def __init__(self, count: int, wakeup: Callable[[Hashable], None]) -> None:
        self.count = count
        self._wakeup = wakeup
        self._waiters: dict[Waiter, None] = {}  # the longest ago first

    def down(self) -> Waiter | None:
        """None: it is had at once; otherwise what to wait for."""
        if self.count:
            self.count -= 1
            return None
        waiter = Waiter()
        self._waiters[waiter] = None
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """The wait is over. Whoever did not get it gets it no more."""
        self._waiters.pop(waiter, None)

    def up(self) -> None:
        """Give it back: to the first who waits, if anybody does."""
        if not self._waiters:
            self.count += 1
            return
        first = next(iter(self._waiters))
        del self._waiters[first]
        first.up = True
        self._wakeup(first)
