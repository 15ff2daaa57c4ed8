"""The memory that was seen, checked against what else tells of it.

One allocation that was not seen makes a wrong sum, and nothing in the call itself shows it. But the
kinds of memory are got in one order, init's last: so the size that /proc/modules has for a loaded
module is the sum of the first few, or one of them is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import accumulate

from loader.observe.call import LIVE, REMOVED, Item, ObservedCall


class Memory:
    """What was seen of the memory of each module that is loaded now, as far as is known."""

    def __init__(self) -> None:
        self._calls: dict[str, ObservedCall] = {}

    def take(self, item: Item) -> None:
        """One item more; they come in order."""
        if not isinstance(item, ObservedCall) or item.module is None:
            return
        if item.outcome == LIVE:
            self._calls[item.module] = item
        elif item.outcome == REMOVED:
            self._calls.pop(item.module, None)

    def disagreeing(self, sizes: Mapping[str, int]) -> list[ObservedCall]:
        """Those loads whose memory is not that of ``sizes``: bytes without init's, by the names of
        the modules that are loaded."""
        return [
            call
            for name, call in self._calls.items()
            if name in sizes and call.memory and not _agrees(call, sizes[name])
        ]


def check(items: Iterable[Item], sizes: Mapping[str, int]) -> list[Item]:
    """``items``, with a gap where memory does not agree with ``sizes``, which is of their end."""
    checked = list(items)
    memory = Memory()
    for item in checked:
        memory.take(item)
    wrong = {id(call) for call in memory.disagreeing(sizes)}
    return [
        replace(item, gaps=(*item.gaps, "memory-differs"))
        if id(item) in wrong and isinstance(item, ObservedCall)
        else item
        for item in checked
    ]


def _agrees(call: ObservedCall, size: int) -> bool:
    return size in accumulate(bytes for _, bytes in call.memory)


def of_proc_modules(text: str) -> dict[str, int]:
    """Bytes by name, from /proc/modules; those that are not live are left out."""
    sizes = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and words[1].isdigit() and words[4] == "Live":
            sizes[words[0]] = int(words[1])
    return sizes
