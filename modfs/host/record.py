"""A recording of this machine's own kernel, until it is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from loader.errors import UserError
from loader.observe.account import Account
from loader.observe.call import Item, ObservedCall
from loader.observe.events import Lost
from loader.observe.recording_write import end_line, header_line, item_line
from loader.observe.replay import rules
from loader.observe.sizes import Memory
from modfs.host.watch import header, loaded_sizes, missing, modules_before, watch
from modfs.mount.ending import ENDING
from modfs.tracing.live import LiveTrace

_PATIENCE = 10.0  # seconds for what has happened to be seen


@dataclass(slots=True)
class Recorded:
    """What was recorded. ``status``: of the command; ``missing``: what cannot be seen here."""

    account: Account
    missing: list[str]
    status: int = 0


class _Writer:
    """Writes each item as it comes; its first error ends the recording."""

    def __init__(self, file: IO[bytes], end: Callable[[], None]) -> None:
        self._file, self._end = file, end
        self.account = Account(rules(os.uname().release))
        self.memory = Memory()
        self.items = 0
        self.error: OSError | None = None

    def line(self, line: bytes) -> None:
        if self.error is None:
            try:
                self._file.write(line)
                self._file.flush()
            except OSError as error:
                self.error = error
                self._end()

    def item(self, item: Item) -> None:
        self.items += 1
        self.memory.take(item)
        if isinstance(item, ObservedCall):
            self.account.count(item)
        elif isinstance(item, Lost):
            self.account.lost(item.gap, item.times)
        self.line(item_line(item))


class _Watching:
    """Watches in a thread of its own; ``failed`` is called if that cannot go on."""

    def __init__(
        self, trace: LiveTrace, emit: Callable[[Item], None], failed: Callable[[], None]
    ) -> None:
        self._trace, self._emit, self._failed = trace, emit, failed
        self._error: BaseException | None = None
        self.events = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.events = watch(self._trace, self._emit)
        except BaseException as error:
            self._error = error
            self._failed()

    def end(self) -> None:
        """What has come is still watched. Raises what went wrong in the thread."""
        self._trace.stop()
        self._thread.join()
        if self._error is not None:
            raise self._error


def record(
    opened: Callable[[], AbstractContextManager[IO[bytes]]],
    seconds: float | None,
    command: Sequence[str] = (),
    buffer: int | None = None,
) -> Recorded:
    """Record to what ``opened`` opens, for ``seconds``, while ``command`` runs, or until a signal.

    ``buffer``: KiB a processor, None for the usual size.

    What is in the file is whole lines at any time. OSError: it cannot be written. UserError: the
    kernel cannot be watched, or the command not be run.
    """
    told = threading.Event()
    with _signals(told), LiveTrace(buffer=buffer) as trace, opened() as file:
        writer = _Writer(file, told.set)
        writer.line(header_line(header(trace)))
        with suppress(OSError):
            for module in modules_before(trace):
                writer.line(item_line(module))
        watching = _Watching(trace, writer.item, told.set)
        try:
            status = _wait(told, seconds, command)
            trace.sync(_PATIENCE)
        finally:
            watching.end()
        if wrong := writer.memory.disagreeing(loaded_sizes()):
            writer.item(Lost(0, "memory-differs", len(wrong)))
        writer.line(end_line(writer.items, watching.events))
        if writer.error is not None:
            raise writer.error
        return Recorded(writer.account, missing(trace), status)


@contextmanager
def _signals(told: threading.Event) -> Iterator[None]:
    """The signals that end a program set ``told`` inside this block."""
    old = {number: signal.signal(number, lambda *_: told.set()) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _wait(told: threading.Event, seconds: float | None, command: Sequence[str]) -> int:
    """Until the end; the command's exit status, 0 without one. UserError."""
    if not command:
        told.wait(seconds)
        return 0
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}") from None

    def wait() -> None:
        process.wait()
        told.set()

    over = threading.Thread(target=wait, daemon=True)
    over.start()
    told.wait(seconds)
    if process.poll() is None:
        process.terminate()
    over.join()
    return process.returncode
