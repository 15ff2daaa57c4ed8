"""What loads of one file had in common: what one of them did not show is known from another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from loader.calls import MANGLED
from loader.observe.underway import Underway

_MOST = 65536  # files that are remembered, the last used ones


@dataclass(slots=True)
class Known:
    """What is known of a file: the module's name, bytes without signature, its memory."""

    name: str | None = None
    length: int | None = None
    memory: tuple[tuple[int | None, int], ...] = ()


class Files:
    """By inode and size, by module's name and size, by task and size: any may not have been seen.

    The last is for insmod, which tries init_module with the bytes that finit_module refused.

    With a flag that ignores versions the signature is not cut off (module_sig_check): such loads
    are kept apart.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Known] = OrderedDict()

    def learn(self, load: Underway, name: str | None, memory: bool) -> None:
        """Keep what ``load`` showed. ``memory``: it has all of its memory."""
        for key in _keys(load):
            known = self._known.setdefault(key, Known())
            self._known.move_to_end(key)
            known.name = name or known.name
            if load.stripped is not None:
                known.length = load.stripped
            if memory and not known.memory:
                known.memory = load.memory
        while len(self._known) > _MOST:
            self._known.popitem(last=False)

    def known(self, load: Underway) -> Known:
        """What other loads of the file showed; nothing if there was none."""
        found = Known()
        for key in _keys(load):
            known = self._known.get(key, Known())
            found.name = found.name or known.name
            found.length = known.length if found.length is None else found.length
            found.memory = found.memory or known.memory
        return found


def _keys(load: Underway) -> list[Hashable]:
    mangled = bool((load.flags or 0) & MANGLED)
    keys: list[Hashable] = []
    if load.ino is not None and load.dev is not None and load.read is not None:
        keys.append((load.dev, load.ino, load.read, mangled))
    if load.raw is not None:
        keys.append(("task", load.task.tid, load.raw, mangled))
    name = load.found or load.laid_out_name
    if name is not None and load.raw is not None:
        keys.append((name, load.raw, mangled))
    return keys
