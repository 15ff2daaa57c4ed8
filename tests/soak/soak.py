"""The soak itself: clients at work, one disturbance after the other, and the sums after each."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from tests.soak.clients import Flag, Writer, fork, read_on, write_on
from tests.soak.disturbances import DISTURBANCES, Disturbance, SkippedError
from tests.soak.records import PAUSED, Record, Sums
from tests.soak.requests import COUNTERS, KREAD, LONGEST_INIT, Place, write_files
from tests.soak.server import Server, Use

_HANGS = 120.0  # seconds after which a client that does not come back never will


class Soak:
    """One run."""

    def __init__(self, folder: Path, server: Server, writers: int, readers: int) -> None:
        self.folder, self.server = folder, server
        self.flag = Flag()
        self.need = Flag()
        self.sums = Sums()
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}
        self.victims = 0
        self.rubbish: list[Path] = []
        self.uses: list[Use] = []
        self._records: list[Record] = []
        self._tolerated: frozenset[int] = frozenset()
        self.writers = [self._writer(number) for number in range(writers)]
        self.readers = [self._reader(number) for number in range(readers)]

    # -- clients ----------------------------------------------------------------------------------

    def _writer(self, number: int) -> int:
        folder = self.folder / f"client{number}"
        write_files(folder)
        record = Record()
        self._records.append(record)
        writer = Writer(self.server.mount, record, Place(number, folder, random.Random()))
        return fork(lambda: write_on(writer, self.flag, lambda: self.need.is_set))

    def _reader(self, number: int) -> int:
        record = Record()
        self._records.append(record)
        said = self.folder / f"reader{number}"

        def wrong(what: str) -> None:
            said.write_text(what)

        return fork(lambda: read_on(self.server.mount, record, self.flag, wrong))

    def end(self) -> None:
        """End all clients, whatever they do."""
        self.flag.stop()
        for pid in (*self.writers, *self.readers):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    # -- for disturbances -------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """What a client was told that is no more."""
        self.sums.add(record, self._tolerated)

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def wrong(self, what: str) -> None:
        """Something that must not be."""
        self.violations.append(what)
        print(f"VIOLATION: {what}", flush=True)

    def ask_large(self, path: Path) -> None:
        """Have a file read that is too large for the server now."""
        control = os.open(self.server.mount / "control", os.O_WRONLY)
        try:
            os.write(control, f"insmod {path}\n".encode())
            self.wrong("a file larger than all memory was loaded")
        except OSError as error:
            self.sums.requests += 1
            if error.errno == errno.ENOMEM:
                self.sums.least[KREAD] += 1
                self.sums.most[KREAD] += 1
            else:
                self.wrong(f"a file larger than all memory: {error.strerror}")
        finally:
            os.close(control)

    # -- the run ----------------------------------------------------------------------------------

    def distinct_modules(self, count: int) -> None:
        """Load that many modules, and remove them: what is kept of each file is kept by then."""
        path = self.folder / "distinct.ko"
        control = os.open(self.server.mount / "control", os.O_WRONLY)
        for number in range(count):
            path.unlink(missing_ok=True)  # a file of its own for each
            path.write_bytes(build_module(ModuleSpec(f"distinct_{number}")))
            os.write(control, f"insmod {path}\n".encode())
        listed = (self.server.mount / ".control/proc_modules").read_text()
        if listed.count("distinct_") != count:
            self.wrong(f"{listed.count('distinct_')} of {count} modules are listed")
        for number in range(count):
            os.write(control, f"rmmod distinct_{number}\n".encode())
        os.close(control)
        self.sums.least["loaded"] += count
        self.sums.most["loaded"] += count
        self.sums.requests += 2 * count

    def disturb(self, disturbance: Disturbance) -> None:
        """One disturbance, then the sums."""
        if disturbance.name in self.skipped:
            return
        self._tolerated = disturbance.tolerated
        if disturbance.tolerated:
            self._pause()
            self._collect()
            self.need.wait()
            self.flag.go_on()
        try:
            disturbance.act(self)
            self.counts[disturbance.name] += 1
        except SkippedError as reason:
            self.skipped[disturbance.name] = str(reason)
        self.check(disturbance.name)
        self.need.go_on()
        self._tolerated = frozenset()

    def check(self, after: str) -> None:
        """Hold the clients, and compare what they were told with what the server counts."""
        self._pause()
        self._collect()
        for path in self.rubbish:
            shutil.rmtree(path, ignore_errors=True)
        self.rubbish.clear()
        for what in self.sums.wrong:
            self.wrong(f"after {after}: {self.sums.wrong[what]} x {what}")
        self.sums.wrong.clear()
        found = self._settled()
        for counter in COUNTERS:
            least, most = self.sums.least[counter], self.sums.most[counter]
            if not least <= found[counter] <= most:
                text = f"{counter} is {found[counter]}, clients were told {least} to {most}"
                self.wrong(f"after {after}: {text}")
        for said in self.folder.glob("reader?"):
            self.wrong(said.read_text())
            said.unlink()
        self.uses.append(self.server.use())
        self.flag.go_on()

    def _pause(self) -> None:
        self.flag.wait()
        end = time.monotonic() + _HANGS
        while any(record.state != PAUSED for record in self._records):
            if time.monotonic() > end:
                raise TimeoutError("a client does not come back")
            time.sleep(0.02)

    def _collect(self) -> None:
        for record in self._records:
            self.sums.add(record, self._tolerated)
            record.clear()

    def _settled(self) -> dict[str, int]:
        """The counters, once what killed clients have left behind is done."""
        last: dict[str, int] = {}
        while (now := self.server.counters()) != last:
            last = now
            time.sleep(2 * LONGEST_INIT)
        return now


def run(soak: Soak, minutes: float, modules: int) -> None:
    """Disturbances in turn until the time is over; each at least once."""
    end = time.monotonic() + 60 * minutes
    soak.distinct_modules(modules)
    soak.check("distinct modules")
    rounds = 0
    while not rounds or time.monotonic() < end:
        order = list(DISTURBANCES)
        random.shuffle(order)
        for disturbance in order:
            if rounds and time.monotonic() > end:
                break
            soak.disturb(disturbance)
            time.sleep(min(2.0, minutes))  # undisturbed
        rounds += 1
        if rounds == 1:
            soak.check("the first round")
            soak.uses = soak.uses[-1:]  # warm by now
    soak.check("the end")
