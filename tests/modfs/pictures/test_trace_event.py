"""The Trace Event Format, as its document has it: keys of each phase, slices that nest, arrows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from loader.calls import Task
from loader.observe.call import LIVE, SHARED, ObservedCall
from loader.observe.recording import Header, Recording
from modfs.pictures.story import Story, story
from modfs.pictures.trace_event import trace
from modfs.tracing.record import recording_of
from tests.modfs.pictures import hostile
from tests.recordings import STOCK, TRACES

Event = dict[str, Any]

# "Trace Event Format", Google, the sections of the phases
NEEDED = {
    "X": {"name", "cat", "ts", "dur", "pid", "tid"},
    "M": {"name", "pid", "args"},
    "i": {"name", "ts", "pid", "tid", "s"},
    "C": {"name", "ts", "pid", "args"},
    "s": {"name", "cat", "id", "ts", "pid", "tid"},
    "f": {"name", "cat", "id", "ts", "pid", "tid", "bp"},
}
EARLY = next(path for path in TRACES if path.name.startswith("udev8-early"))


def events(stories: Sequence[Story]) -> list[Event]:
    found: list[Event] = json.loads(trace(stories))["traceEvents"]
    for event in found:
        assert NEEDED[event["ph"]] <= event.keys(), event
        assert isinstance(event["pid"], int) and isinstance(event.get("tid", 0), int)
        assert event.get("ts", 0) >= -1e9 and event.get("dur", 0) >= 0
    return found


def test_every_call_is_a_slice() -> None:
    told = story(recording_of(EARLY), "boot")
    found = events([told])
    calls = [one for one in found if one["ph"] == "X" and one["cat"] != "part"]
    assert len(calls) == len(told.bars)
    assert sum(call["args"].get("wasted bytes", 0) for call in calls) == sum(
        bar.wasted for bar in told.bars
    )
    last = [one for one in found if one["ph"] == "C"][-1]
    assert last["args"]["bytes"] == sum(bar.wasted for bar in told.bars)
    names = {one["args"]["name"] for one in found if one["name"] == "thread_name"}
    assert {bar.who for bar in told.bars} == names


def test_slices_nest() -> None:
    """Complete events of one thread lie within one another or apart, or no viewer can draw them."""
    found = events([story(recording_of(path), path.name) for path in (EARLY, TRACES[0])])
    threads: dict[tuple[int, int], list[Event]] = {}
    for one in found:
        if one["ph"] == "X":
            threads.setdefault((one["pid"], one["tid"]), []).append(one)
    assert len(threads) > 10
    for slices in threads.values():
        open_ends: list[float] = []
        for one in slices:  # in the order of the file, which is that of time
            end = one["ts"] + one["dur"]
            while open_ends and open_ends[-1] <= one["ts"] + 0.01:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1] + 0.01
            open_ends.append(end)


def test_time_goes_forward() -> None:
    times = [one["ts"] for one in events([story(recording_of(EARLY), "x")]) if "ts" in one]
    assert times == sorted(times)


def test_who_waited_for_whom() -> None:
    first = ObservedCall(1, "finit_module", Task("a", 7), LIVE, 1.0, 2.0, 0, module="m")
    other = ObservedCall(
        2, "finit_module", Task("b", 8), SHARED, 1.5, 2.0, 0, module="m", waited=0.5, waited_for=7
    )
    lost = ObservedCall(
        3, "finit_module", Task("c", 9), SHARED, 1.5, 2.0, 0, waited=0.5, waited_for=99
    )
    found = events([story(Recording(Header("6.12"), [first, other, lost], whole=True), "x")])
    (begin,) = (one for one in found if one["ph"] == "s")
    (end,) = (one for one in found if one["ph"] == "f")
    assert begin["id"] == end["id"] and (begin["tid"], end["tid"]) == (7, 8)
    assert (begin["ts"], end["ts"]) == (0.5e6, 1e6)


def test_a_task_that_is_in_two_calls_at_once() -> None:
    calls = [
        ObservedCall(n, "finit_module", Task("a", 7), LIVE, 1.0 + n / 10, 2.0 + n / 10, 0)
        for n in range(3)
    ]
    found = events([story(Recording(Header("6.12"), [*calls], whole=True), "x")])
    slices = [one for one in found if one["ph"] == "X" and one["cat"] == LIVE]
    assert len({one["tid"] for one in slices}) == 3


def test_names_that_hold_anything() -> None:
    text = trace([story(hostile.recording(), hostile.NAMES[6])])
    assert text.isascii()
    assert events([story(hostile.recording(), "x")])


def test_two_sources_are_two_processes() -> None:
    found = events([story(recording_of(path), path.name) for path in STOCK[:2]])
    names = {one["pid"]: one["args"]["name"] for one in found if one["name"] == "process_name"}
    assert sorted(names) == [1, 2] and names[1].startswith(STOCK[0].name)
