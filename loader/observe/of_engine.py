"""An engine's calls and requests as events: what anybody else's would look like."""

from __future__ import annotations

import os
from collections.abc import Mapping

from loader.calls import DeleteModule, FinitModule, InitModule
from loader.engine.course import Course
from loader.engine.kmod import Requested
from loader.engine.outcomes import BECOMING, INIT_FAILED, KREAD, LIVE, LOAD, SHARED
from loader.image.layout import INIT_TEXT, TEXT, Layout
from loader.observe.call import NO_FILE, PHASES, Item, ModuleRequest, ObservedCall, ObservedFile
from loader.observe.events import EXECMEM_MODULE_DATA, EXECMEM_MODULE_TEXT, Lost

_CALLS = {
    FinitModule: "finit_module",
    InitModule: "init_module",
    DeleteModule: "delete_module",
}
_GOT_MEMORY = (LIVE, INIT_FAILED, LOAD)


def observed(item: Course | Requested | Lost) -> Item:
    """The event. A Course must be closed."""
    if isinstance(item, Requested):
        return _request(item)
    return item if isinstance(item, Lost) else _call(item)


def _call(course: Course) -> ObservedCall:
    origin, facts = course.origin, course.facts
    return ObservedCall(
        n=course.n,
        call=_CALLS[type(course.call)],
        task=origin.task,
        outcome=course.outcome,
        begin=course.begin,
        end=course.end,
        result=course.errno,
        flags=getattr(course.call, "flags", None),
        params=getattr(course.call, "params", None) or None,
        file=_file(course),
        argument=course.argument,
        read=_read(course),
        length=facts and facts.len,
        clen=(facts and facts.clen) or None,
        module=(facts.name if facts else getattr(course.call, "name", None)) or None,
        taints=course.taints,
        memory=memory_of(facts.layout) if facts and course.outcome in _GOT_MEMORY else (),
        phases=_phases(course),
        duplicate=course.noticed is not None,
        duplicate_n=course.noticed,
        asked_by=origin.asked_by,
        alias=origin.alias,
        device=origin.device,
        waited=course.waited,
        waited_for=course.waited_for,
        peak=course.peak or None,
        reason=_reason(course),
    )


def memory_of(layout: Layout) -> tuple[tuple[int, int], ...]:
    """The types and sizes of what a module of that layout gets (enum execmem_type)."""
    return tuple(
        (EXECMEM_MODULE_TEXT if kind in (TEXT, INIT_TEXT) else EXECMEM_MODULE_DATA, size)
        for kind, size in enumerate(layout)
        if size
    )


def _file(course: Course) -> ObservedFile:
    given = getattr(course.call, "file", None)
    name = course.origin.file if given is None or isinstance(given, int) else os.fspath(given)
    name = name and os.path.basename(name)
    size = (course.facts and course.facts.read_bytes) or None
    if isinstance(course.cookie, tuple):
        dev, ino = course.cookie
        return ObservedFile(name, os.major(dev) << 20 | os.minor(dev), ino, size)
    return ObservedFile(name, size=size) if name or size else NO_FILE


def _read(course: Course) -> int | None:
    if type(course.call) is not FinitModule or course.outcome == SHARED:
        return None
    if course.facts is not None:
        return course.facts.read_bytes
    return -course.errno if course.outcome == KREAD else None


def _phases(course: Course) -> Mapping[str, float]:
    found = {name: getattr(course, name, None) for name in PHASES}
    if course.outcome in (BECOMING, *_GOT_MEMORY):  # nothing comes between
        found["checked"] = found["unpacked"] or found["read"]
    return {name: at for name, at in found.items() if at is not None}


def _reason(course: Course) -> str | None:
    if not course.errno or course.reason:
        return course.reason or None
    if course.noticed is not None:
        was = "on its way" if course.waited_for is not None else "there"
        return f"a module of that name was {was}"
    if course.outcome == SHARED:
        return "the load of the same file that it waited for failed"
    return None


def _request(requested: Requested) -> ModuleRequest:
    request = requested.request
    return ModuleRequest(
        requested.n,
        request.at,
        requested.task,
        request.string,
        request.wait,
        request.function,
        request.result,
        request.at + request.took,
        request.slot_wait,
    )
