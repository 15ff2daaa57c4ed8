"""What was seen of a kernel, one event after the other, whatever it was read from.

An event's ``kind`` is the function or the tracepoint: ``load_module`` for its entry,
``load_module%return`` for its return, ``sys_finit_module`` and ``sys_finit_module%return`` for the
system call, ``module_load`` for the tracepoint of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

RETURN = "%return"

# Functions that give memory to modules, and what types of it are theirs (enum execmem_type).
ALLOCATORS = ("execmem_alloc", "execmem_alloc_rw", "module_alloc")
EXECMEM_MODULE_TEXT, EXECMEM_MODULE_DATA = 0, 4

# enum kernel_read_file_id: a module, and since 7.0 a compressed one
READING_MODULE = (2, 7)

SYSTEM_CALLS = ("finit_module", "init_module", "delete_module")

Value = int | str | None
"""None: the kernel could not fetch it."""


class Event(NamedTuple):
    """One event.

    ``n``: its place among all. ``at``: seconds by the recording's clock. ``task``, ``tid``: the
    task's name and number. ``fields``: what came with it, by name.
    """

    n: int
    at: float
    task: str
    tid: int
    kind: str
    fields: Mapping[str, Value]

    def number(self, name: str) -> int | None:
        """A field that is a number, None if it is not there or is none."""
        value = self.fields.get(name)
        return value if isinstance(value, int) else None

    def text(self, name: str) -> str | None:
        """A field that is a text, None if it is not there or is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) and value else None


class Moment(NamedTuple):
    """A mark that a person set: ``moment NAME`` written to trace_marker."""

    n: int
    at: float
    name: str


class Lost(NamedTuple):
    """Something of the source that was not seen: what (a key of gaps.GAPS), how often.

    ``n``: from when on; 0 where that is not known, so it may have been any time.
    """

    n: int
    gap: str
    times: int
