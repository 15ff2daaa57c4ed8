"""The buffers of an instance, one for each processor: their pages, as they fill.

A thread of its own empties them in rounds, and does nothing else, so that what waits to be
understood waits here and not in the kernel. When something comes it leaves it a moment, for more
to come: to be woken by each event costs those whom it watches. With nothing to read it sleeps.
"""

from __future__ import annotations

import os
import queue
import resource
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from modfs.tracing.background import Background

_ROUND = 256  # pages at most, of all processors
_MOST_AHEAD = 256  # rounds that wait to be taken: of 256 MiB at most, with pages of 4 KiB
_MOMENT = 50  # milliseconds
_SPARE_FILES = 256  # that the rest of the program may have open


class Round(NamedTuple):
    """What was read at a time: pages by processors. ``unfinished``: processors with more."""

    pages: dict[int, list[bytes]]
    unfinished: frozenset[int]


class Buffers:
    """The buffers of the instance ``place``, emptied until `stop`. OSError: no trace_pipe_raw."""

    def __init__(self, place: Path, page: int, background: Background) -> None:
        """``page``: bytes of one. The thread is one of the ``background``."""
        self._background = background
        self._page = page
        self._rounds: queue.Queue[Round | None] = queue.Queue(_MOST_AHEAD)
        self._stop = threading.Event()
        folders = sorted(place.glob("per_cpu/cpu*"), key=lambda path: int(path.name[3:]))
        _allow(len(folders) + _SPARE_FILES)
        self._files = [self._open(folder / "trace_pipe_raw") for folder in folders]
        self._hurry = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._empty, daemon=True)
        self._thread.start()

    def _open(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def hurry(self) -> None:
        """What is there is read now."""
        with suppress(BlockingIOError):
            os.eventfd_write(self._hurry, 1)

    def stop(self) -> None:
        """What is there is still read; then the rounds end."""
        self._stop.set()
        self.hurry()

    def rounds(self) -> Iterator[Round]:
        """All that is read, until `stop`. A round without pages: that was all for now."""
        while (one := self._rounds.get()) is not None:
            yield one

    def close(self) -> None:
        """After `stop`; what was not taken is forgotten."""
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._rounds.get(timeout=0.1)
        for file in (*self._files, self._hurry):
            os.close(file)

    # -- the thread -------------------------------------------------------------------------------

    def _empty(self) -> None:
        self._background.join()
        try:
            while True:
                over = self._stop.is_set()
                while True:
                    one = self._round()
                    self._rounds.put(one)
                    if not one.pages:
                        break
                if over:
                    break
                self._wait()
        finally:
            self._rounds.put(None)

    def _wait(self) -> None:
        """Until something has come and had its moment, or somebody is in a hurry."""
        hurried, any_ = select.poll(), select.poll()
        for poll in (hurried, any_):
            poll.register(self._hurry, select.POLLIN)
        for file in self._files:
            any_.register(file, select.POLLIN)
        if all(file != self._hurry for file, _ in any_.poll()):
            hurried.poll(_MOMENT)
        with suppress(BlockingIOError):
            os.eventfd_read(self._hurry)

    def _round(self) -> Round:
        most = max(_ROUND // max(len(self._files), 1), 4)
        pages: dict[int, list[bytes]] = {}
        unfinished = set()
        for processor, file in enumerate(self._files):
            found = self._pages(file, most)
            if found:
                pages[processor] = found
            if len(found) == most:
                unfinished.add(processor)
        return Round(pages, frozenset(unfinished))

    def _pages(self, file: int, most: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < most:
            try:
                page = os.read(file, self._page)
            except OSError:  # EAGAIN: no more for now
                break
            if not page:
                break
            found.append(page)
        return found


def _allow(files: int) -> None:
    """So many files may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        with suppress(ValueError, OSError):
            limit = files if hard == resource.RLIM_INFINITY else min(files, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
