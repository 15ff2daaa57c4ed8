"""Pipes stand for buffers: pages come whole, none is lost, and with nothing there it sleeps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modfs.tracing.background import Background
from modfs.tracing.buffers import Buffers

PAGE = 512


@pytest.fixture
def pipes(tmp_path: Path) -> Iterator[list[int]]:
    """Of two processors, for writing."""
    found = []
    for name in ("cpu0", "cpu1"):
        (tmp_path / "per_cpu" / name).mkdir(parents=True)
        os.mkfifo(tmp_path / "per_cpu" / name / "trace_pipe_raw")
        # For reading as well: a buffer has no end, as a pipe has without writers.
        found.append(os.open(tmp_path / "per_cpu" / name / "trace_pipe_raw", os.O_RDWR))
    yield found
    for pipe in found:
        os.close(pipe)


def page(number: int) -> bytes:
    return bytes([number]) * PAGE


def test_rounds(pipes: list[int], tmp_path: Path) -> None:
    os.write(pipes[0], page(1) + page(2))
    os.write(pipes[1], page(3))
    buffers = Buffers(tmp_path, PAGE, Background())
    rounds = buffers.rounds()
    first = next(rounds)
    assert first.pages == {0: [page(1), page(2)], 1: [page(3)]} and not first.unfinished
    assert not next(rounds).pages
    os.write(pipes[1], page(4))
    assert next(rounds).pages == {1: [page(4)]}
    assert not next(rounds).pages
    os.write(pipes[0], page(5))
    buffers.stop()
    assert [one.pages for one in rounds if one.pages] == [{0: [page(5)]}]
    buffers.close()


def test_one_that_is_fuller_than_a_round(pipes: list[int], tmp_path: Path) -> None:
    most = 65536 // PAGE
    os.write(pipes[0], page(7) * most)
    buffers = Buffers(tmp_path, PAGE, Background())
    buffers.stop()
    rounds = list(buffers.rounds())
    assert sum(len(one.pages.get(0, ())) for one in rounds) == most
    buffers.close()


def test_it_sleeps_with_nothing_to_read(pipes: list[int], tmp_path: Path) -> None:
    buffers = Buffers(tmp_path, PAGE, Background())
    assert not next(buffers.rounds()).pages
    before = time.thread_time(), time.process_time()
    time.sleep(0.3)
    assert buffers._rounds.empty()  # no round without a reason
    assert time.process_time() - before[1] < 0.2
    buffers.stop()
    buffers.close()
    assert not buffers._thread.is_alive()


def test_somebody_in_a_hurry(pipes: list[int], tmp_path: Path) -> None:
    """A round comes though nothing has."""
    buffers = Buffers(tmp_path, PAGE, Background())
    rounds = buffers.rounds()
    assert not next(rounds).pages
    buffers.hurry()
    assert not next(rounds).pages
    buffers.stop()
    buffers.close()


def nice(thread: threading.Thread) -> int:
    assert thread.native_id is not None
    return os.getpriority(os.PRIO_PROCESS, thread.native_id)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may lift a priority again")
def test_they_stand_back_until_somebody_waits(pipes: list[int], tmp_path: Path) -> None:
    background = Background()
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    buffers = Buffers(tmp_path, PAGE, background)
    next(buffers.rounds())
    assert nice(buffers._thread) == 19
    with background.in_front():
        with background.in_front():
            assert nice(buffers._thread) == usual
        assert nice(buffers._thread) == usual
    assert nice(buffers._thread) == 19
    buffers.stop()
    buffers.close()
