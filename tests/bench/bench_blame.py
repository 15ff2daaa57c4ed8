"""What events cost the engine, and blame of a million of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from loader.calls import FinitModule, Task
from loader.engine.threads import LiveKernel
from loader.observe.call import BECOMING, ObservedCall
from loader.observe.recording import Header
from loader.observe.recording_write import end_line, header_line, item_line
from tests.bench.bench_requests import LINES, Batch, duplicates
from tests.bench.harness import Row, in_turn, made_modules, timed

EVENTS = 1_000_000


def rows() -> Iterable[Row]:
    with made_modules() as [module]:
        told, silent = _engine(module, True), _engine(module, False)
        pair = in_turn(lambda: timed(told), lambda: timed(silent), rounds=300)
        what = f"{LINES:,} duplicates, told to a ring"
        yield pair.row(what, "told to nobody", 1.1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "events.jsonl")
        _write(file)
        seconds, size = _blamed(file)
        yield Row("modfs blame of 1,000,000 events", "a person waits", seconds, 5, "s")
        yield Row("… and its memory", "the machine's", size / 2**20, 300, "MiB")


def _engine(module: Path, told: bool) -> Batch:
    engine = LiveKernel()
    descriptor = os.open(module, os.O_RDONLY)
    engine.call(FinitModule(descriptor))
    engine.kernel.listener = deque(maxlen=10_000).append if told else None
    return duplicates(engine, descriptor)


def _write(file: Path) -> None:
    with file.open("wb") as out:
        out.write(header_line(Header("6.4", source="engine")))
        for number in range(EVENTS):
            out.write(item_line(_event(number)))
        out.write(end_line(EVENTS, EVENTS))


def _event(number: int) -> ObservedCall:
    begin = number * 1e-4
    return ObservedCall(
        n=2 * number + 2,
        call="finit_module",
        task=Task("(udev-worker)", 1000 + number % 500, 1, unit="systemd-udevd.service"),
        outcome=BECOMING,
        begin=begin,
        end=begin + 0.02,
        result=17,
        read=123456,
        length=123400,
        module=f"m{number % 300}",
        phases={"read": begin + 0.001, "checked": begin + 0.001},
        duplicate=True,
        duplicate_n=2 * number + 1,
        alias=f"cpu:type:x86,ven0000fam0006mod{number % 40}",
        device=f"cpu{number % 448}",
    )


def _blamed(file: Path) -> tuple[float, int]:
    """Seconds, and the most bytes of memory."""
    words = [sys.executable, "-m", "modfs", "blame", str(file)]
    script = (
        "import resource, subprocess, sys, time; since = time.perf_counter();"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(time.perf_counter() - since,"
        " resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], check=True, capture_output=True, text=True
    )
    seconds, size = done.stdout.split()
    return float(seconds), int(size)
