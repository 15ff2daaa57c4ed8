"""The Trace Event Format: JSON that https://ui.perfetto.dev and chrome://tracing open.

A process is a source, a thread a task; a call is a slice with its parts in it. An arrow goes from
the load that was waited for to the call that waited. Times are microseconds from the first call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from modfs.observed import result as told_result
from modfs.pictures.lanes import rows
from modfs.pictures.story import KINDS, Bar, Story

Event = dict[str, Any]


def trace(stories: Sequence[Story]) -> str:
    """The whole document: ASCII."""
    numbers = count(1)
    events = [
        event
        for pid, story in enumerate(stories, 1)
        for event in _Events(story, pid, numbers).all()
    ]
    document = {
        "displayTimeUnit": "ms",
        "otherData": {story.title: f"kernel {story.kernel}" for story in stories},
        "traceEvents": events,
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


class _Events:
    """The events of one source."""

    def __init__(self, story: Story, pid: int, numbers: Iterator[int]) -> None:
        self._story = story
        self._pid = pid
        self._numbers = numbers
        self._thread: dict[int, int] = {}  # of a call, by its id()
        self._by_task: dict[int, list[Bar]] = {}
        for bar in story.bars:
            self._by_task.setdefault(bar.call.task.tid, []).append(bar)

    def all(self) -> Iterator[Event]:
        """Names first, then what happened in the order of time."""
        yield from self._names()
        events = [*self._calls(), *self._marks(), *self._wasted()]
        # The sort is stable: where two begin at once, the call is before its parts.
        yield from sorted(events, key=lambda event: event["ts"])

    def _micro(self, seconds: float) -> float:
        return round((seconds - self._story.began) * 1e6, 3)

    def _event(self, phase: str, name: str, at: float, tid: int, **more: Any) -> Event:
        return {
            "ph": phase, "name": name, "ts": self._micro(at), "pid": self._pid, "tid": tid, **more
        }  # fmt: skip

    def _names(self) -> Iterator[Event]:
        """Of the source and of its tasks. A task that is in two calls at once, which only numbers
        used twice can be, has two threads."""
        title = f"{self._story.title} (kernel {self._story.kernel})"
        yield _name("process_name", self._pid, 0, title)
        spare = count(max([*self._by_task, 0]) + 1)
        for tid, bars in self._by_task.items():
            for number, row in enumerate(rows(bars)):
                thread = tid if number == 0 else next(spare)
                yield _name("thread_name", self._pid, thread, bars[0].who)
                self._thread |= {id(bar): thread for bar in row}

    def _calls(self) -> Iterator[Event]:
        for bar in self._story.bars:
            thread = self._thread[id(bar)]
            yield self._event(
                "X", f"{bar.module}: {bar.reason}" if bar.failed else bar.module, bar.begin, thread,
                dur=_length(bar.begin, bar.end), cat=bar.call.outcome, args=_told(bar),
                **({"cname": "terrible"} if bar.failed else {}),
            )  # fmt: skip
            begin = bar.begin
            for part in bar.parts:
                yield self._event(
                    "X", part.kind, begin, thread, dur=_length(begin, part.end), cat="part",
                    args={"what": KINDS[part.kind]},
                )  # fmt: skip
                begin = part.end
            yield from self._arrow(bar, thread)

    def _arrow(self, bar: Bar, thread: int) -> Iterator[Event]:
        """From the call that was waited for: the last one of that task that began before."""
        if bar.call.waited_for is None:
            return
        others = self._by_task.get(bar.call.waited_for, ())
        other = next((one for one in reversed(others) if one.begin <= bar.end), None)
        if other is None or other is bar:
            return
        number = next(self._numbers)
        end = min(max(other.begin, bar.begin), other.end)
        yield self._event("s", "waited for", end, self._thread[id(other)], id=number, cat="wait")
        yield self._event("f", "waited for", bar.end, thread, id=number, cat="wait", bp="e")

    def _marks(self) -> Iterator[Event]:
        for moment in self._story.moments:
            yield self._event("i", moment.name, moment.at, 0, s="g")
        for request in self._story.requests:
            yield self._event(
                "i", f"request_module {request.module}", request.at, request.task.tid, s="t",
                args={"by": request.function, "task": request.task.name, "result": request.result},
            )  # fmt: skip

    def _wasted(self) -> Iterator[Event]:
        """How much memory had been wasted by when, as a curve."""
        total = 0
        for bar in sorted(self._story.bars, key=lambda bar: bar.end):
            if bar.wasted:
                total += bar.wasted
                yield self._event("C", "wasted", bar.end, 0, args={"bytes": total})


def _name(what: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _length(begin: float, end: float) -> float:
    return round((end - begin) * 1e6, 3)


def _told(bar: Bar) -> dict[str, Any]:
    """What is known of a call; what is not is left out."""
    call, task = bar.call, bar.call.task
    known = {
        "call": call.call,
        "result": told_result(call.result),
        "outcome": call.outcome,
        "reason": bar.reason,
        "wasted bytes": bar.wasted,
        "memory bytes": call.memory_size,
        "held at most": call.peak,
        "file": call.file.name,
        "file bytes": call.file.size,
        "parameters": call.params,
        "alias": call.alias,
        "device": call.device,
        "asked by the kernel for": call.asked_by,
        "command": task.command or task.exe,
        "unit": task.unit,
        "user": task.uid,
        "parent": task.parent,
        "waited for task": call.waited_for,
        "not known": ", ".join(call.gaps),
    }
    return {name: value for name, value in known.items() if value not in (None, "", 0)}
