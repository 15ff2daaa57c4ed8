"""Asking a mount without being held up by it.

Who looks at a mount whose server is stopped cannot even be interrupted (see modfs.mount.aside), and
Ctrl-C has to end this. So children look: one reads the statistics whenever it is asked to, another
follows the events. This process sees only their pipes.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from modfs.mount.aside import aside
from modfs.mount.descriptors import close_descriptors, open_descriptors
from modfs.mount.mountinfo import STATUS

EVENTS, EVENTS_PIPE = "events", "events_pipe"
_LIVE = b'{"live":true}\n'  # what follows was not in the file of the latest events
_MOST = 1 << 20  # bytes that are read at once
_LONGEST_LINE = 1 << 20


class Told(NamedTuple):
    """An answer. ``error``: an errno, 0 if there was none. ``status``: None where it has none."""

    error: int
    stats: str = ""
    status: dict[str, Any] | None = None


class Child:
    """A process of ours that talks over a pipe, which is read without waiting."""

    def __init__(self, run: Callable[[int, int], None]) -> None:
        """``run(read, write)`` is the child: what to read from and to write to."""
        self._ours, theirs = os.pipe()
        asked, self._ask = os.pipe()
        self._process = os.fork()
        if not self._process:
            _child(run, asked, theirs)
        os.close(theirs)
        os.close(asked)
        os.set_blocking(self._ours, False)
        self._rest = b""
        self.ended = False

    def fileno(self) -> int:
        """What to wait for, for selectors."""
        return self._ours

    def ask(self) -> None:
        """Have the child go on."""
        try:
            os.write(self._ask, b"?")
        except BrokenPipeError:
            self.ended = True

    def lines(self) -> list[bytes]:
        """Whole lines that have come, as many as one read gives."""
        try:
            data = os.read(self._ours, _MOST)
        except BlockingIOError:
            return []
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""  # nothing that we know has such lines
        return lines

    def end(self) -> None:
        """Have it end. If its server holds it, it ends when that lets it go."""
        os.kill(self._process, signal.SIGKILL)
        os.close(self._ours)
        os.close(self._ask)
        os.waitpid(self._process, os.WNOHANG)


def _child(run: Callable[[int, int], None], asked: int, theirs: int) -> NoReturn:
    try:
        for number in (signal.SIGINT, signal.SIGTSTP, signal.SIGWINCH):
            signal.signal(number, signal.SIG_IGN)  # the terminal sends them to us all
        close_descriptors(open_descriptors(), keep=(asked, theirs))
        run(asked, theirs)
    finally:
        os._exit(0)


def sampler(folder: Path) -> Child:
    """Answers each question with a line: the statistics as they are; see sample_of."""

    def run(asked: int, theirs: int) -> None:
        while os.read(asked, 1):
            _write(theirs, json.dumps(_sample(folder)).encode() + b"\n")

    return Child(run)


def _sample(folder: Path) -> list[Any]:
    try:
        text = (folder / "stats").read_text("utf-8", "surrogateescape")
    except OSError as error:
        return [error.errno or errno.EIO]
    try:
        status = json.loads((folder / STATUS).read_text())
    except (OSError, ValueError):
        status = None
    return [0, text, status]


def sample_of(line: bytes) -> Told:
    """What a sampler's line says."""
    return Told(*json.loads(line))


def follower(folder: Path) -> Child:
    """Its lines are events: the latest that there were, one for which is_live holds, and all that
    come."""

    def run(asked: int, theirs: int) -> None:
        pipe = os.open(folder / EVENTS_PIPE, os.O_RDONLY | os.O_CLOEXEC)
        with suppress(OSError):  # they are a comfort
            _write(theirs, (folder / EVENTS).read_bytes())
        _write(theirs, _LIVE)
        while data := os.read(pipe, _MOST):
            _write(theirs, data)

    return Child(run)


def has_events(folder: Path) -> bool:
    """Does the mount tell of events? OSError; Silent: it does not answer."""
    return bool(aside(lambda: (folder / EVENTS_PIPE).exists()))


def is_live(line: bytes) -> bool:
    """Is it the line between the latest events and those that come?"""
    return line + b"\n" == _LIVE


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
