"""What several processors tell, in the order of its times.

A buffer that had no more may get something meanwhile that is older than what another had later in
the same round. In the next round it shows: so what is given in a round is what is not younger than
all that the rounds before had seen, and not younger than what a buffer has that was not finished.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from operator import attrgetter
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something with a time."""

    @property
    def at(self) -> int:
        """Nanoseconds by the trace's clock."""


T = TypeVar("T", bound=Timed)
_AT = attrgetter("at")


class Merge(Generic[T]):
    """Takes rounds, and gives what can be given by now."""

    def __init__(self) -> None:
        self._waiting: list[T] = []
        self._seen = 0  # the youngest of all rounds

    def round(self, come: Mapping[int, Sequence[T]], unfinished: Set[int]) -> list[T]:
        """What a round makes sure, in order. ``come``: by processors, each in its own order;
        ``unfinished``: those that have more. A round without anything: that was all for now."""
        sure = self._seen
        ends = [items[-1].at for items in come.values() if items]
        for processor in unfinished:
            if items := come.get(processor):
                sure = min(sure, items[-1].at)
        for items in come.values():
            self._waiting += items
        self._seen = max(self._seen, *ends, 0)
        self._waiting.sort(key=_AT)
        split = bisect_right(self._waiting, sure, key=_AT) if ends else len(self._waiting)
        found, self._waiting = self._waiting[:split], self._waiting[split:]
        return found
