"""spread: the answers are those that one process gives, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loader import spread as room
from loader.spread import spread

THINGS = [f"thing {number}" for number in range(1000)]


def length(thing: str) -> tuple[str, int]:
    return thing, len(thing)


@contextmanager
def processors(count: int) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))
    try:
        yield
    finally:
        patch.undo()


def children() -> list[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("many", [0, 1, 127, 128, 251, 1000])
def test_in_their_order(count: int, many: int) -> None:
    told: list[int] = []
    before = children()
    with processors(count):
        found = spread(length, THINGS[:many], told.append)
    assert found == [length(thing) for thing in THINGS[:many]]
    assert told == sorted(told) and told[-1] == many
    assert children() == before


def test_other_processes_do_work() -> None:
    """Each waits for another one to have come as far: one alone would wait for ever."""
    ends = [os.pipe() for _ in range(2)]

    def meet(thing: str) -> int:
        if thing in (THINGS[0], THINGS[4]):  # two pieces
            mine = thing == THINGS[0]
            os.write(ends[mine][1], b".")
            os.read(ends[not mine][0], 1)
        return os.getpid()

    with processors(2):
        found = spread(meet, THINGS)
    assert len(set(found)) == 2
    for end in sum(ends, ()):
        os.close(end)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_had_taken_is_done_here(number: int) -> None:
    here = os.getpid()

    def answer(thing: str) -> str:
        if os.getpid() != here:
            os.kill(os.getpid(), number)
        return thing

    with processors(3):
        assert spread(answer, THINGS) == THINGS
    assert not children()


def test_an_exception_is_the_callers() -> None:
    def answer(thing: str) -> str:
        if thing == THINGS[-1]:
            raise LookupError(thing)
        return thing

    with processors(2), pytest.raises(LookupError, match="thing 999"):
        spread(answer, THINGS)
    assert not children()


def test_an_interrupt_ends_the_others() -> None:
    here = os.getpid()

    def answer(thing: str) -> str:
        if os.getpid() == here:
            raise KeyboardInterrupt
        signal.pause()
        return thing

    with processors(3), pytest.raises(KeyboardInterrupt):
        spread(answer, THINGS)
    assert not children()


def test_where_no_process_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", none)
    before = len(os.listdir("/proc/self/fd"))
    with processors(2):
        assert spread(length, THINGS) == [length(thing) for thing in THINGS]
    assert len(os.listdir("/proc/self/fd")) == before


def test_few_need_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", None)
    with processors(8):
        assert spread(length, THINGS[: room._FEW - 1]) == [
            length(thing) for thing in THINGS[: room._FEW - 1]
        ]
