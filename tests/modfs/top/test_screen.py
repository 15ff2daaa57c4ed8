"""The screen fits, whatever its size and whatever names hold."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from loader.engine.stats import Counters, Duplicate, Snapshot
from loader.release import release
from modfs.texts import stats
from modfs.top.screen import clipped, help_screen, screen, size, span
from modfs.top.state import SORTS, State
from modfs.top.tally import VIEWS, Tally
from modfs.top.watch import Told
from tests.modfs.pictures.hostile import NAMES
from tests.modfs.top.events import duplicate, live


def told(failed: int, duplicates: tuple[Duplicate, ...] = ()) -> Told:
    counters = Counters(modcount=3, failed_becoming=failed, invalid_becoming_bytes=failed << 20)
    waiting = [
        {"process": 10 + n, "command": "sh", "request": f"insmod {n % 2}.ko", "seconds": 9.5 - n}
        for n in range(3)
    ]
    status = {"kernel": "6.4", "since": 1.0, "waiting": waiting}
    return Told(0, stats(Snapshot.of(counters, duplicates)), status)


def state_with(*lines: bytes) -> State:
    state = State(Path("/mnt/modules"), Tally(release("6.4")))
    state.take(told(0), 10.0)
    state.take_events([b'{"live":true}', *lines])
    state.take(told(len(lines)), 12.0)
    return state


def texts(state: State, width: int = 80, height: int | None = 24) -> list[str]:
    return [line.text for line in screen(state, width, height)]


def test_what_is_on_it() -> None:
    state = state_with(live(1, "xfs"), *(duplicate(n, "kvm", 1 << 20) for n in range(2, 10)))
    lines = texts(state)
    assert "/mnt/modules" in lines[0] and "kernel 6.4" in lines[0]
    assert lines[1] == "loaded 3 (0.0/s)  failed 9 (4.5/s)  wasted 9.0 MiB (4.5 MiB/s)"
    assert "becoming 9 (4.5/s)" in lines[2]
    assert lines[3] == "events 9 (4.5/s)"
    assert lines[4].split() == ["MODULE", "CALLS", "FAILED", "FAILED/S", "WASTED*", "TIME"]
    assert lines[5].split() == ["kvm", "8", "8", "4.0", "8.0", "MiB", "2.0", "s"]
    assert lines[6].split()[:3] == ["xfs", "1", "0"]
    assert lines[7] == "WAITING (3)"
    assert lines[8].split() == ["9.5", "s", "2", "x", "sh[10]", "insmod", "0.ko"]
    assert lines[9].split() == ["8.5", "s", "sh[11]", "insmod", "1.ko"]
    assert lines[10] == "LATEST FAILURES"
    assert lines[11].split(maxsplit=1)[1] == (
        "(udev-worker)[9] kvm: becoming: a duplicate, 1.0 MiB"
    )


def test_a_kernel_without_events() -> None:
    """A real one: its list of duplicates is all that has names."""
    state = State(Path("/sys/kernel/debug/modules"))
    state.take(Told(0, told(2, (Duplicate("xfs", 2, True, False),)).stats), 1.0)
    state.take(Told(0, told(8, (Duplicate("xfs", 8, True, False),)).stats), 3.0)
    lines = texts(state)
    assert lines[3].split() == ["MODULE", "FAILED", "FAILED/S"]
    assert lines[4].split() == ["xfs", "8", "3.0"]
    state.show("who")
    assert len(texts(state)) == 4


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 8, 24, 100])
@pytest.mark.parametrize("view", VIEWS)
def test_it_fits(width: int, height: int, view: str) -> None:
    events = [duplicate(n, f"module_{n}", n) for n in range(1, 60)]
    state = state_with(*events)
    state.show(view)
    lines = texts(state, width, height)
    assert len(lines) <= height and all(len(line) <= width for line in lines)
    assert len(help_screen(width, height)) <= height


def test_all_of_it_is_used() -> None:
    state = state_with(*(duplicate(n, f"module_{n}", n) for n in range(1, 60)))
    lines = texts(state)
    assert len(lines) == 24
    assert sum(line.startswith("module_") for line in lines) >= 8
    assert "WAITING (3)" in lines and "LATEST FAILURES" in lines


@pytest.mark.parametrize("name", [name for name in NAMES if "\udc80" not in name])
def test_names_do_nothing_to_the_terminal(name: str) -> None:
    state = state_with(duplicate(1, name, 5, who=name))
    for view in VIEWS:
        state.show(view)
        for line in texts(state):
            assert line.isprintable() and len(line) <= 80


def test_wide_letters() -> None:
    made = clipped("模块模块模块", 5)
    assert made == "模块" and sum(unicodedata.east_asian_width(c) == "W" for c in made) == 2
    state = state_with(duplicate(1, "模" * 60, 5))
    row = next(line for line in texts(state) if line.startswith("模"))
    assert sum(2 if unicodedata.east_asian_width(c) == "W" else 1 for c in row) == 80


@pytest.mark.parametrize("sort", SORTS)
def test_sorts(sort: str) -> None:
    state = state_with(duplicate(1, "b", 10), duplicate(2, "a", 5), duplicate(3, "a", 1))
    state.sort = sort
    first = state.lines()[0].name
    assert first == ("b" if sort == "wasted" else "a")
    title = next(line for line in texts(state) if "FAILED/S" in line)
    assert title.count("*") == 1


def test_words() -> None:
    assert [size(n) for n in (0, 1023, 1024, 1536, 5 << 30)] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB",
    ]  # fmt: skip
    assert [span(s) for s in (0.0004, 0.5, 61.25, 90061)] == [
        "0.4 ms", "500.0 ms", "61.2 s", "1 d 1:01:01",
    ]  # fmt: skip
