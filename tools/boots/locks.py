"""Locks of the kernel that tasks waited for, read from the lines of a trace.

The event tells a lock by its address only, which stands in the line without a name: the recording
has a list of the addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tools.boots.facts import Contention

LOCKS = ("module_mutex", "idem_lock", "vmap_purge_lock", "free_vmap_area_lock", "text_mutex",
         "jump_label_mutex")  # fmt: skip
"""Those that are watched: the loader's, the allocator's of its memory, and of patching."""

# contention_begin: 0xffffffff82a1b2c0 (flags=MUTEX); contention_end: 0xffffffff82a1b2c0 (ret=0)
_LINE = re.compile(
    r".{1,16}-(\d+) +\[\d+\] +\S+ +([\d.]+): contention_(begin|end): (?:0x)?([0-9a-f]+) "
)


def names(lines: Iterable[str]) -> dict[int, str]:
    """Of the locks, by address: lines as in /proc/kallsyms."""
    rows = (line.split() for line in lines)
    return {int(row[0], 16): row[2] for row in rows}


def contended(lines: Sequence[str], known: Mapping[int, str]) -> list[Contention]:
    """All waits whose end was seen, by their ends. One who spins, then sleeps, begins twice."""
    since: dict[tuple[int, int], float] = {}
    found = []
    for line in lines:
        if (match := _LINE.match(line)) is None:
            continue
        key = int(match[1]), int(match[4], 16)
        if match[3] == "begin":
            since.setdefault(key, float(match[2]))
        elif key in since:
            lock = known.get(key[1], f"{key[1]:x}")
            found.append(Contention(key[0], lock, since.pop(key), float(match[2])))
    return found
