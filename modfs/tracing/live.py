"""The events of this machine's own kernel, as they come.

They are read from each processor's trace_pipe_raw (buffers), a record at a time (pages) by the
formats that the kernel describes (records), and merged by their times (merge): the binary form
costs the kernel no text, and no string in it can break a line.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from loader.observe.events import Event, Lost
from modfs.tracing.background import Background
from modfs.tracing.buffers import Buffers
from modfs.tracing.names import Names, by_proc
from modfs.tracing.reading import Missed, read_rounds
from modfs.tracing.records import Raw, Records
from modfs.tracing.setup import Watched, set_up, switch_on
from modfs.tracing.symbols import Symbols
from modfs.tracing.tracefs import write

_COUNTED = re.compile(r"^(overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)
_SYNC = "modfs sync "
_SECOND = 10**9  # nanoseconds


class LiveTrace:
    """An instance in tracefs with our probes. To be entered; then `events` gives what happens.

    UserError on entering: not root, no tracefs, no probes.
    """

    watched: Watched
    """What was set up."""

    def __init__(self, bound: int | None = None, buffer: int | None = None) -> None:
        """``bound``: on calls under way in a probed function; ``buffer``: KiB a processor; None for
        the usual ones."""
        self._bound, self._buffer = bound, buffer
        self._stack = ExitStack()
        self._n = 0
        self._lost = 0
        self._synced: dict[str, threading.Event] = {}
        self._numbers = iter(range(1 << 62))
        self._stop = threading.Event()
        self._background = Background()

    def __enter__(self) -> LiveTrace:
        with ExitStack() as stack:
            self.watched = stack.enter_context(set_up(self._bound, self._buffer))
            self._page, formats = self.watched.formats()
            self._records = Records(formats, self.watched.functions, Symbols())
            self._names = Names(by_proc)
            self._marker = os.open(self.place / "trace_marker", os.O_WRONLY)
            stack.callback(os.close, self._marker)
            self._buffers = Buffers(self.place, self._page.size, self._background)
            stack.callback(self._buffers.close)
            stack.callback(self.stop)
            switch_on(self.watched)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def place(self) -> Path:
        """Of the instance."""
        return self.watched.place

    # -- from any thread --------------------------------------------------------------------------

    def stop(self) -> None:
        """No more events; what has come is still given. May be called twice."""
        if self._stop.is_set():
            return
        self._stop.set()
        with suppress(OSError):
            write(self.place / "events/enable", "0")
        self._buffers.stop()

    def mark(self, text: str) -> None:
        """Write a line between the events."""
        with suppress(OSError):
            os.write(self._marker, text.encode())

    def sync(self, seconds: float) -> bool:
        """Wait until all that has happened so far has been given; False: not so soon."""
        name = f"{_SYNC}{next(self._numbers)}"
        come = self._synced[name] = threading.Event()
        self.mark(name)
        with self._background.in_front():
            self._buffers.hurry()
            done = come.wait(seconds)
        self._synced.pop(name, None)
        return done

    # -- reading ----------------------------------------------------------------------------------

    def events(self) -> Iterator[Event | Lost]:
        """What happens, until `stop`; then what was lost. The thread that asks for it is one of the
        background from then on."""
        self._background.join()
        rounds = self._buffers.rounds()
        for item in read_rounds(rounds, self._page, self._records):
            yield from self._given(item)
        yield from self._losses()

    def _given(self, item: Raw | Missed) -> Iterator[Event | Lost]:
        if isinstance(item, Missed):
            self._lost += item.times if item.gap == "lost" else 0
            yield Lost(self._n + 1, item.gap, item.times)
            return
        self._n += 1
        name = self._names.of(item)
        if item.kind == "tracing_mark_write":
            come = self._synced.get(str(item.fields["text"]))
            if come is not None:
                come.set()
                return
        yield Event(self._n, item.at / _SECOND, name, item.tid, item.kind, item.fields)

    def _losses(self) -> Iterator[Lost]:
        """What the kernel counts itself: events that the buffers lost, and probes that missed."""
        counted = 0
        for stats in self.place.glob("per_cpu/cpu*/stats"):
            with suppress(OSError):
                counted += sum(int(n) for _, n in _COUNTED.findall(stats.read_text()))
        if counted > self._lost:
            yield Lost(0, "lost", counted - self._lost)
        misses = self.misses()
        if misses:
            yield Lost(0, "misses", misses)

    def misses(self) -> int:
        """Calls of probed functions that a probe missed, as far as the kernel counts them."""
        with suppress(OSError):
            profile = (self.place.parent.parent / "kprobe_profile").read_text()
            rows = [line.split() for line in profile.splitlines()]
            found = self.watched.functions
            return sum(int(row[2]) for row in rows if len(row) > 2 and row[0] in found)
        return 0
