"""A system call about modules as it was seen: who made it, what it went through, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from loader.observe.events import Lost, Moment

# How a call ended, as far as the statistics go.
LIVE = "live"
INIT_FAILED = "init"  # its init routine failed: the kernel counts that nowhere
KREAD, DECOMPRESS, BECOMING, LOAD = "kread", "decompress", "becoming", "load"
SHARED = "shared"  # it waited for another's load of the same inode and got that one's result
REFUSED = "refused"  # before anything was read
REMOVED, KEPT = "removed", "kept"
UNKNOWN = "unknown"
OUTCOMES = (
    LIVE, INIT_FAILED, KREAD, DECOMPRESS, BECOMING, LOAD, SHARED, REFUSED, REMOVED, KEPT, UNKNOWN,
)  # fmt: skip

PHASES = ("read", "unpacked", "checked", "laid_out", "allocated", "init", "initialized")
"""Steps of a load that have a time: file read, unpacked, load_module entered, early checks over,
memory got, init begins, init ended."""


class Task(NamedTuple):
    """Who made a call. ``command``, ``exe``, ``unit``: where /proc could be asked in time."""

    name: str
    tid: int
    parent: int | None = None
    command: str | None = None
    exe: str | None = None
    uid: int | None = None
    unit: str | None = None


class ObservedFile(NamedTuple):
    """The file that was read. ``size`` in bytes; ``dev`` as the kernel's dev_t."""

    name: str | None = None
    dev: int | None = None
    ino: int | None = None
    size: int | None = None


NO_FILE = ObservedFile()


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """One call.

    ``n``: the event at which the kernel had counted it; calls are accounted in that order.
    ``duplicate_n``: the event at which a duplicate was noticed, in whose order they are listed.
    ``begin``, ``end`` and ``phases``: seconds by the recording's clock. ``result``: 0 or an errno;
    None: not seen. Bytes: ``read`` what the file's reading gave, ``length`` without signature,
    ``clen`` of the compressed file, ``argument`` the length given to init_module; ``memory``: the
    types and sizes of what it got. ``gaps``: what is not known of it (gaps.GAPS).
    """

    n: int
    call: str
    task: Task
    outcome: str
    begin: float | None = None
    end: float | None = None
    result: int | None = None
    flags: int | None = None
    params: str | None = None
    file: ObservedFile = NO_FILE
    argument: int | None = None
    read: int | None = None
    length: int | None = None
    clen: int | None = None
    module: str | None = None
    taints: str = ""
    memory: tuple[tuple[int | None, int], ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    duplicate: bool = False
    duplicate_n: int | None = None
    asked_by: str | None = None
    gaps: tuple[str, ...] = ()

    @property
    def memory_size(self) -> int:
        """Bytes of all its memory, init's included."""
        return sum(size for _, size in self.memory)


class ModuleRequest(NamedTuple):
    """The kernel asked for a module itself (__request_module). ``result``: None if not seen."""

    n: int
    at: float
    task: Task
    module: str
    wait: bool | None = None
    function: str | None = None
    result: int | None = None


Item = ObservedCall | ModuleRequest | Moment | Lost
"""What events amount to."""
