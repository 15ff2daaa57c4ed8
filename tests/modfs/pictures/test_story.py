"""What is drawn: every call, what it went through, and what the kernel says that it wasted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from loader.calls import Task
from loader.errors import UserError
from loader.observe.call import LIVE, REMOVED, SHARED, ModuleRequest, ObservedCall
from loader.observe.events import Moment
from loader.observe.recording import Header, Recording
from modfs.pictures.story import CHECK, INIT, LINK, OTHER, READ, REMOVE, UNPACK, WAIT, Bar, story
from modfs.tracing.record import recording_of
from tests.recordings import TRACES

TASK = Task("insmod", 7)


def drawn(*items: ObservedCall | ModuleRequest | Moment) -> tuple[Bar, ...]:
    return story(Recording(Header("6.12.0"), [*items], whole=True), "t").bars


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)
def test_the_kernels_own_sum(path: Path) -> None:
    """What the bars wasted is what that kernel's last stats text says, and no call is left out."""
    recording = recording_of(path)
    told = story(recording, path.name)
    calls = [item for item in recording.items if isinstance(item, ObservedCall)]
    assert len(told.bars) + told.left_out == len(calls) and told.bars
    last = [text for text in recording.texts if text.file == "stats"][-1]
    until = next(m.n for m in recording.items if isinstance(m, Moment) and m.name == last.moment)
    if "missed" in path.name:  # what this one did not see, its README tells
        return
    wasted = sum(bar.wasted for bar in told.bars if bar.call.n <= until)
    assert f"Virtual mem wasted bytes\t{wasted}\n" in last.text
    for bar in told.bars:
        ends = [bar.begin, *(part.end for part in bar.parts)]
        assert ends[-1] == bar.end and all(a < b for a, b in pairwise(ends))


def test_a_load_that_went_through_all() -> None:
    phases = {
        "read": 1.1, "unpacked": 1.2, "checked": 1.3, "laid_out": 1.4, "allocated": 1.5,
        "init": 1.6, "initialized": 1.7,
    }  # fmt: skip
    (bar,) = drawn(ObservedCall(1, "finit_module", TASK, LIVE, 1.0, 1.8, 0, phases=phases))
    assert [(part.kind, part.end) for part in bar.parts] == [
        (READ, 1.1), (UNPACK, 1.2), (OTHER, 1.3), (CHECK, 1.4), (LINK, 1.5), (LINK, 1.6),
        (INIT, 1.7), (OTHER, 1.8),
    ]  # fmt: skip
    assert not bar.failed and not bar.is_open and bar.reason == ""


def test_who_waits() -> None:
    shared = ObservedCall(1, "finit_module", TASK, SHARED, 1.0, 2.0, 19)
    duplicate = ObservedCall(
        2, "init_module", TASK, "becoming", 1.5, 3.0, 17, length=10, phases={"checked": 1.75},
        duplicate=True,
    )  # fmt: skip
    gone = ObservedCall(3, "delete_module", TASK, REMOVED, 4.0, 5.0, 0, module="xfs")
    bars = drawn(shared, duplicate, gone)
    assert [part.kind for bar in bars for part in bar.parts] == [WAIT, OTHER, WAIT, REMOVE]
    assert [bar.reason for bar in bars] == ["shared: ENODEV", "becoming: a duplicate", ""]
    assert [bar.wasted for bar in bars] == [0, 10, 0]


def test_how_long_it_waited() -> None:
    """Where that is told, it was at the end; the time before has another name."""
    call = ObservedCall(
        1, "finit_module", TASK, SHARED, 1.0, 2.0, 0, phases={"read": 1.25}, waited=0.5,
        waited_for=8, reason="as the engine says",
    )  # fmt: skip
    (bar,) = drawn(call)
    assert [(part.kind, part.end) for part in bar.parts] == [
        (READ, 1.25), (OTHER, 1.5), (WAIT, 2.0),
    ]  # fmt: skip


def test_what_was_not_seen_to_its_end() -> None:
    begun = ObservedCall(1, "finit_module", TASK, "unknown", 1.0, phases={"read": 1.5})
    unseen = ObservedCall(2, "finit_module", TASK, "unknown")
    told = story(Recording(Header(None, "6.5"), [begun, unseen], whole=True), "t")
    (bar,) = told.bars
    assert (bar.end, bar.is_open, bar.failed, told.left_out) == (1.5, True, False, 1)
    assert told.kernel == "6.5 or later"


def test_nothing_to_draw() -> None:
    with pytest.raises(UserError, match="t: no call in it has a time"):
        drawn(Moment(1, 2.0, "x"))


def test_who_asked() -> None:
    plain = ObservedCall(1, "finit_module", TASK, LIVE, 1.0, 2.0, 0)
    unit = ObservedCall(2, "finit_module", Task("a", 8, unit="u.service"), LIVE, 1.0, 2.0, 0)
    asked = ObservedCall(3, "finit_module", TASK, LIVE, 1.0, 2.0, 0, asked_by="fs-xfs")
    assert [bar.program for bar in drawn(plain, unit, asked)] == [
        "insmod", "u.service", "the kernel, for fs-xfs",
    ]  # fmt: skip
