"""What is drawn, whatever it is drawn with: calls over time, what each went through and cost."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from loader.errors import UserError
from loader.observe import call as outcomes
from loader.observe.call import ModuleRequest, ObservedCall
from loader.observe.events import Lost, Moment
from loader.observe.recording import Header, Recording
from loader.observe.replay import rules_of
from loader.observe.wasted import wasted
from loader.release import Release

READ, UNPACK, CHECK, LINK, INIT, WAIT, REMOVE, OTHER = (
    "read", "unpack", "check", "link", "init", "wait", "remove", "other",
)  # fmt: skip
KINDS: dict[str, str] = {
    READ: "the file is read",
    UNPACK: "it is unpacked",
    CHECK: "early checks, until memory is laid out",
    LINK: "memory, symbols, relocations",
    INIT: "the init routine runs",
    WAIT: "waits for another's load",
    REMOVE: "a removal",
    OTHER: "what has no name, or was not seen",
}
"""What a part of a bar can be, in the order in which a load comes by them."""

# A phase's moment, and what the call did until then.
_UNTIL = (
    ("read", READ),
    ("unpacked", UNPACK),
    ("checked", OTHER),
    ("laid_out", CHECK),
    ("allocated", LINK),
    ("init", LINK),
    ("initialized", INIT),
)

GOOD = frozenset({outcomes.LIVE, outcomes.SHARED, outcomes.REMOVED})
"""Outcomes that are no failure, unless the result is an errno."""


class Part(NamedTuple):
    """What a call did until ``end``, in seconds; it begins where the part before it ends."""

    kind: str
    end: float


class Bar(NamedTuple):
    """A call. ``begin``, ``end``: seconds; ``wasted``: bytes, by the kernel's own count.

    ``is_open``: its end was not seen, and ``end`` is the last moment at which it was.
    """

    call: ObservedCall
    begin: float
    end: float
    is_open: bool
    parts: tuple[Part, ...]
    wasted: int

    @property
    def failed(self) -> bool:
        """It ended with an errno, or in a way that the statistics count as a failure."""
        return bool(self.call.result) or self.call.outcome not in GOOD | {outcomes.UNKNOWN}

    @property
    def module(self) -> str:
        """The module's name, else the file's, else a question mark."""
        return self.call.module or self.call.file.name or "?"

    @property
    def who(self) -> str:
        """Its task, as ps(1) would tell it apart."""
        return f"{self.call.task.name}-{self.call.task.tid}"

    @property
    def program(self) -> str:
        """Who asked, for all tasks that did the same."""
        if self.call.asked_by:
            return f"the kernel, for {self.call.asked_by}"
        return self.call.task.unit or self.call.task.name

    @property
    def reason(self) -> str:
        """Why it failed, in few words; nothing for what went well."""
        return reason(self.call) if self.failed else ""


class Story(NamedTuple):
    """One source. ``bars`` in the order in which they begin; ``began``: seconds at its first."""

    title: str
    kernel: str
    bars: tuple[Bar, ...]
    requests: tuple[ModuleRequest, ...]
    moments: tuple[Moment, ...]
    left_out: int
    began: float
    ended: float


def story(recording: Recording, title: str) -> Story:
    """What is to be drawn of a recording. UserError: there is nothing in it that has a time."""
    release = rules_of(recording.header)
    items = sorted(recording.items, key=attrgetter("n"))
    bars, left_out = _bars(items, release)
    requests = tuple(item for item in items if isinstance(item, ModuleRequest))
    moments = tuple(item for item in items if isinstance(item, Moment))
    times = [*(bar.begin for bar in bars), *(request.at for request in requests)]
    if not times:
        raise UserError(f"{title}: no call in it has a time, so there is nothing to draw")
    ends = [*(bar.end for bar in bars), *times]
    # A moment set long before or after would leave all else too small to see.
    return Story(
        title, _kernel(recording.header), bars, requests, moments, left_out, min(times), max(ends)
    )


def _kernel(header: Header) -> str:
    """Which it was, as far as is known."""
    if header.release and header.without:
        return f"{header.release} without {', '.join(header.without)}"
    return header.release or (f"{header.since} or later" if header.since else "not known")


def _bars(
    items: Iterable[ObservedCall | ModuleRequest | Moment | Lost], release: Release
) -> tuple[tuple[Bar, ...], int]:
    """All calls that have a time, and how many have none."""
    found, left_out = [], 0
    for item in items:
        if isinstance(item, ObservedCall):
            bar = _bar(item, wasted(item, release).total)
            left_out += bar is None
            found += [bar] if bar else []
    return tuple(sorted(found, key=attrgetter("begin"))), left_out


def _bar(call: ObservedCall, cost: int) -> Bar | None:
    seen = [*([call.begin] if call.begin is not None else []), *call.phases.values()]
    if call.end is not None:
        seen.append(call.end)
    if not seen:
        return None
    begin, end = min(seen), max(seen)
    parts = tuple(_parts(call, begin, end))
    return Bar(call, begin, end, call.end is None, parts, cost)


def _parts(call: ObservedCall, begin: float, end: float) -> Iterator[Part]:
    """What it did one after the other; parts of no length are left out."""
    reached = begin
    for phase, kind in _UNTIL:
        at = call.phases.get(phase)
        if at is not None and at > reached:
            yield Part(kind, at)
            reached = at
    # Whoever is said to have waited did so at last.
    waits = max(reached, end - call.waited) if call.waited else end
    if waits > reached:
        yield Part(OTHER if call.waited else _rest(call), waits)
    if end > waits:
        yield Part(WAIT, end)


def _rest(call: ObservedCall) -> str:
    """What a call does after the last phase that it got to."""
    if call.outcome in (outcomes.REMOVED, outcomes.KEPT):
        return REMOVE
    # module_patient_check_exists waits until who loads that name has come to an end.
    if call.outcome == outcomes.SHARED or call.duplicate:
        return WAIT
    return OTHER


def reason(call: ObservedCall) -> str:
    """Why a call failed: at which step, and of what."""
    if call.reason:
        return call.reason
    step = "removal" if call.outcome == outcomes.KEPT else call.outcome
    if call.duplicate:
        return f"{step}: a duplicate"
    if not call.result:
        return step
    return f"{step}: {errno.errorcode.get(call.result, str(call.result))}"
