"""What a call wasted: the bytes by which it moved the kernel's counters, by their kind."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from loader.engine.outcomes import BECOMING, DECOMPRESS, KREAD, LOAD
from loader.engine.stats import becoming_bytes, load_bytes
from loader.release import Release


class Wasted(NamedTuple):
    """Bytes, by the counter that has them. ``kread`` may be less than 0 (before 6.5)."""

    kread: int = 0
    decompress: int = 0
    becoming: int = 0
    load: int = 0

    @property
    def total(self) -> int:
        """Of all kinds."""
        return sum(self)


NOTHING = Wasted()


class Counted(Protocol):
    """What of a call decides what it wasted; see loader.observe.call.ObservedCall."""

    @property
    def call(self) -> str | None: ...
    @property
    def outcome(self) -> str: ...
    @property
    def result(self) -> int | None: ...
    @property
    def argument(self) -> int | None: ...
    @property
    def read(self) -> int | None: ...
    @property
    def length(self) -> int | None: ...
    @property
    def clen(self) -> int | None: ...


def wasted(call: Counted, release: Release) -> Wasted:
    """What ``call`` wasted, as a kernel of that ``release`` counts it; what is not known is 0."""
    outcome = call.outcome
    if outcome == BECOMING:
        return Wasted(becoming=becoming_bytes(call.length or 0, call.clen or 0))
    if outcome == LOAD:
        return Wasted(load=load_bytes(call.length or 0, call.clen or 0))
    if outcome == DECOMPRESS:
        return Wasted(decompress=call.clen or 0)
    return Wasted(kread=_lost_in_kread(call, release)) if outcome == KREAD else NOTHING


def _lost_in_kread(call: Counted, release: Release) -> int:
    """init_module loses the bytes that it was given; finit_module before 6.5 its errno."""
    if call.call == "init_module":
        return call.argument or 0
    if release.kread_errno_not_counted:
        return 0
    return -(call.result or (-call.read if call.read is not None else 0))
