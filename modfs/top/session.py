"""A mount that is looked at: its children, and the state that they feed."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from loader.errors import UserError
from modfs.mount.aside import ANSWER_SECONDS, Silent
from modfs.mount.mountinfo import DEAD
from modfs.top.state import State, release_of
from modfs.top.tally import Tally
from modfs.top.watch import Child, follower, has_events, sample_of, sampler

_GONE = {*DEAD, errno.ENOENT, errno.ENOTDIR, errno.ENODEV}


class Gone(Exception):
    """The mount is there no longer."""


class Session:
    """``delay``: seconds between two samples."""

    def __init__(self, folder: Path, delay: float) -> None:
        """OSError, UserError: it cannot be read, or is no such folder."""
        self.folder = folder
        self.delay = delay
        self.has_news = False
        self.state = State(folder)
        self._asked: float | None = None
        self._last = 0.0
        try:
            with_events = has_events(folder)
        except Silent:
            raise UserError(f"{folder}: its server does not answer", status=1) from None
        self._sampler = sampler(folder)
        self._follower: Child | None = None
        try:
            self._first()
            if with_events:
                self.state.tally = Tally(release_of(self.state.status))
                self._follower = follower(folder)
        except BaseException:
            self.close()
            raise

    @property
    def children(self) -> list[Child]:
        """Whom to listen to."""
        return [child for child in (self._sampler, self._follower) if child is not None]

    def due(self, now: float) -> float:
        """Seconds until something is to be done, which is done if it is time."""
        if self._asked is None and now - self._last >= self.delay:
            self._ask(now)
        if self._asked is None:
            return max(0.0, self._last + self.delay - now)
        if now - self._asked >= 1.0:  # then it is told once a second how long it has been
            self.state.silent = now - self._asked
            self.has_news = True
        return 1.0

    def hear(self, child: object) -> bool:
        """Take what a child says; False: it has ended. Gone. UserError: its stats are none."""
        assert isinstance(child, Child)
        lines = child.lines()
        if child is self._follower:
            self.state.take_events(lines)
            if child.ended:
                self._follower = None
                child.end()
                return False
            return True
        if lines:
            self._take(lines[-1])
        if child.ended:
            raise Gone
        return True

    def close(self) -> None:
        """End the children."""
        for child in self.children:
            child.end()

    def _ask(self, now: float) -> None:
        self._asked = self._last = now
        self._sampler.ask()

    def _first(self) -> None:
        """The first answer, which tells whether it is such a folder at all."""
        self._ask(time.monotonic())
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._asked is not None:
            if not _readable(self._sampler, deadline - time.monotonic()):
                raise UserError(f"{self.folder}: its server does not answer", status=1)
            for line in self._sampler.lines():
                told = sample_of(line)
                if told.error:
                    raise OSError(told.error, os.strerror(told.error), str(self.folder / "stats"))
                self._take(line)

    def _take(self, line: bytes) -> None:
        told = sample_of(line)
        self._asked = None
        if told.error in _GONE:
            raise Gone
        if told.error:
            raise OSError(told.error, os.strerror(told.error), str(self.folder / "stats"))
        self.state.take(told, time.monotonic())
        self.has_news = True


def _readable(child: Child, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(child, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
