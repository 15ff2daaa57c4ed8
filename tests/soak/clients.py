"""The clients: processes of their own, that ask and note what they are told."""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tests.soak.records import PAUSED, RUNNING, Record
from tests.soak.requests import KINDS, NAMES, WEIGHTS, Place

_PAUSE = 0.02  # seconds between two looks
_HALF = 10  # bytes of a line: no request that is one, no path that is there
_GO_ON, _WAIT, _STOP = 0, 1, 2


class Flag:
    """What all clients shall do; in shared memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def go_on(self) -> None:
        self._memory[0] = _GO_ON

    def wait(self) -> None:
        self._memory[0] = _WAIT

    def stop(self) -> None:
        self._memory[0] = _STOP

    @property
    def is_set(self) -> bool:
        """Are they to wait, or end?"""
        return self._memory[0] != _GO_ON

    def holds(self, record: Record) -> bool:
        """Returns once the client may go on; False: it is to end."""
        while self._memory[0] == _WAIT:
            record.state = PAUSED
            time.sleep(_PAUSE)
        record.state = RUNNING
        return self._memory[0] == _GO_ON


def fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a process of its own, which dies with this one; its number."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    _run(work, parent)


def _run(work: Callable[[], None], parent: int) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getppid() == parent:
            work()
        code = 0
    except BaseException as error:
        print(f"a client ended: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


# -- writers --------------------------------------------------------------------------------------


class Writer:
    """Asks, and notes the answer."""

    def __init__(self, mount: Path, record: Record, place: Place) -> None:
        self.mount, self.record, self.place = mount, record, place

    def ask(self, kind: str, halves: bool = False) -> int:
        """The errno, 0 for success. ``halves``: the line comes in two writes."""
        text = f"{KINDS[kind].text(self.place)}\n".encode()
        try:
            control = os.open(self.mount / "control", os.O_WRONLY)
        except OSError as error:  # nothing was asked
            return error.errno or -1
        self.record.begin(kind)
        number = 0
        try:
            if halves:
                os.write(control, text[:_HALF])
                time.sleep(self.place.chance.random() * 0.01)
                text = text[_HALF:]
            os.write(control, text)
        except OSError as error:
            number = error.errno or -1
        self.record.end(kind, number)
        with suppress(OSError):
            os.close(control)
        return number

    def any(self, short: bool = False) -> None:
        """Something at random; ``short``: one request only."""
        kind = self.place.chance.choices(NAMES, WEIGHTS)[0]
        is_short = KINDS[kind].requests == 1
        if short and not is_short:
            return
        self.ask(kind, halves=is_short and self.place.chance.random() < 0.05)

    def modprobe(self) -> None:
        """A module with its dependency, and away with both: only this client has them."""
        if self.ask("modprobe") == 0:
            self.ask("modprobe -r")


def write_on(writer: Writer, flag: Flag, in_need: Callable[[], bool]) -> None:
    """A client that lives as long as the soak. ``in_need``: the server cannot do all now, so that
    the answer to several requests at once, or to a modprobe, would not tell what was done."""
    while flag.holds(writer.record):
        need = in_need()
        if writer.place.chance.random() < 0.05 and not need:
            writer.modprobe()
        else:
            writer.any(short=need)


def be_killed(writer: Writer, interrupted: bool) -> None:
    """A client whose end comes from outside, by a signal that kills it or that it catches."""
    if interrupted:
        signal.signal(signal.SIGINT, _lost(writer.record))
    while True:
        writer.any()


def _lost(record: Record) -> Callable[[int, object], None]:
    def stop(number: int, frame: object) -> None:
        record.lose()
        os._exit(0)

    return stop


# -- readers --------------------------------------------------------------------------------------

_FILES = ("stats", "control", "kmsg", "modcount", ".control/proc_modules", ".control/sys_module")


def read_on(mount: Path, record: Record, flag: Flag, wrong: Callable[[str], None]) -> None:
    """Read everything, again and again; counters never go down."""
    last: dict[str, int] = {}
    chance = random.Random()
    while flag.holds(record):
        name = chance.choice(_FILES)
        try:
            text = (mount / name).read_text(errors="surrogateescape")
        except OSError:
            continue
        if name == "stats":
            now = counters(text)
            if any(now.get(label, 0) < count for label, count in last.items()):
                wrong(f"a counter went down: {last} {now}")
            last = now
        elif name == "modcount" and not text.strip().isdigit():
            wrong(f"modcount is {text!r}")


def counters(text: str) -> dict[str, int]:
    """The first eleven lines of ``stats``, by their labels."""
    rows = (line.strip().split("\t") for line in text.splitlines()[:11])
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}
