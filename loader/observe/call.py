"""A system call about modules as it was seen: who made it, what it went through, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from loader.calls import Task
from loader.engine.outcomes import BECOMING as BECOMING
from loader.engine.outcomes import DECOMPRESS as DECOMPRESS
from loader.engine.outcomes import INIT_FAILED as INIT_FAILED
from loader.engine.outcomes import KEPT as KEPT
from loader.engine.outcomes import KREAD as KREAD
from loader.engine.outcomes import LIVE as LIVE
from loader.engine.outcomes import LOAD as LOAD
from loader.engine.outcomes import OUTCOMES as OUTCOMES
from loader.engine.outcomes import REFUSED as REFUSED
from loader.engine.outcomes import REMOVED as REMOVED
from loader.engine.outcomes import SHARED as SHARED
from loader.engine.outcomes import UNKNOWN as UNKNOWN
from loader.observe.events import Lost, Moment

PHASES = ("read", "unpacked", "checked", "laid_out", "allocated", "init", "initialized")
"""Steps of a load that have a time: file read, unpacked, load_module entered, early checks over,
memory got, init begins, init ended."""


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
    types and sizes of what it got; ``peak`` the most that it held at one moment, the file's
    contents included. ``alias``: what was asked for, where that is not the module's name; for which
    ``device``. ``waited``: seconds, for the load of the task ``waited_for``. ``reason``: why it
    failed, in words. ``gaps``: what is not known of it (gaps.GAPS).
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
    alias: str | None = None
    device: str | None = None
    waited: float = 0.0
    waited_for: int | None = None
    peak: int | None = None
    reason: str | None = None

    @property
    def memory_size(self) -> int:
        """Bytes of all its memory, init's included."""
        return sum(size for _, size in self.memory)


class ModuleRequest(NamedTuple):
    """The kernel asked for a module itself (__request_module). ``result``: None if not seen.

    ``at``, ``end``: seconds by the recording's clock; ``slot_wait``: of these, how many it waited
    for one of the 50 places.
    """

    n: int
    at: float
    task: Task
    module: str
    wait: bool | None = None
    function: str | None = None
    result: int | None = None
    end: float | None = None
    slot_wait: float | None = None


Item = ObservedCall | ModuleRequest | Moment | Lost
"""What events amount to."""
