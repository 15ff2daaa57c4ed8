"""Nothing that callers do makes the engine hold, or look through, ever more."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.calls import Caller, DeleteModule, FinitModule, InitModule
from loader.config import Config
from loader.engine import reader
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.log import KernelLog
from loader.engine.open_file import pread_all
from loader.engine.state import Kernel
from loader.engine.stats import BECOMING, STATS_ROWS
from loader.engine.threads import SHUT_DOWN, LiveKernel
from loader.image.ends import HEAD, TAIL, judge_by_ends
from loader.image.module_image import read_image
from loader.image.signature import MARKER
from loader.packings import ZSTD, compress
from tests.loader.engine.test_threads import (
    coming,
    engine,
    errno_of,
    in_thread,
    make,
    wait_for,
    waiting,
)

__all__ = ["make"]

MIB = 1 << 20
INT_MAX = (1 << 31) - 1


# -- files of any size ----------------------------------------------------------------------------

IN_LITTLE_MEMORY = """
import resource, sys
from loader.calls import FinitModule, InitModule
from loader.config import Config
from loader.engine.threads import LiveKernel
live = LiveKernel(Config())
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
for call in FinitModule, InitModule:
    try:
        live.call(call(sys.argv[1]))
    except OSError as error:
        found = live.statistics()
        print(error.errno, found.failed_kreads, found.failed_becoming, found.invalid_becoming_bytes)
"""


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    """It is no ELF file; its length counts as becoming (behaviour.md 2.7, 2.8)."""
    path = tmp_path / "sparse.ko"
    path.touch()
    os.truncate(path, INT_MAX)
    done = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"{errno.ENOEXEC} 0 1 {INT_MAX}",
        f"{errno.ENOEXEC} 0 2 {2 * INT_MAX}",
    ]


def test_a_file_that_claims_to_be_elf_is_more_than_the_budget(tmp_path: Path) -> None:
    """vmalloc fails in kernel_read_file: one more failed kread, without bytes (2.4); init_module
    adds its length."""
    live, path = LiveKernel(Config(), file_memory=64 * MIB), tmp_path / "sparse.ko"
    path.write_bytes(b"\x7fELF")
    os.truncate(path, INT_MAX)
    assert errno_of(live, FinitModule(path)) == errno.ENOMEM
    found = live.statistics()
    assert (found.failed_kreads, found.invalid_kread_bytes, found.failed_becoming) == (1, 0, 0)
    assert errno_of(live, InitModule(path)) == errno.ENOMEM
    found = live.statistics()
    assert (found.failed_kreads, found.invalid_kread_bytes) == (2, INT_MAX)


@pytest.mark.parametrize("enforce", [False, True])
@pytest.mark.parametrize("flags", [0, 1, 2])
@pytest.mark.parametrize("end", [b"\0" * 40, MARKER, b"\0" * 12 + MARKER])
@pytest.mark.parametrize("start", [b"", b"\x7fELF", b"\x7fELE", b"#!/bin/sh\n"])
def test_the_ends_settle_what_the_whole_file_does(
    start: bytes, end: bytes, flags: int, enforce: bool
) -> None:
    data = start.ljust(4096, b"x") + end
    config = Config(sig_enforce=enforce)
    found = judge_by_ends(data[:HEAD], data[-TAIL:], len(data), flags, config)
    if found is None:
        assert start == b"\x7fELF" or (end.endswith(MARKER) and not flags)
        return
    whole = read_image(data, flags, config)
    names = ("read_bytes", "len", "clen", "vmalloc_bytes", "signed", "log", "becoming_failure")
    assert all(getattr(found, name) == getattr(whole, name) for name in names)


# -- the budget -----------------------------------------------------------------------------------


class Reads:
    """Reading files, which stops until it is let go; how many bytes are read at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.most = self.now = 0
        self.order: list[int] = []
        self._lock = threading.Lock()
        self._real = pread_all
        monkeypatch.setattr(reader, "pread_all", self)

    def __call__(self, fd: int, size: int) -> bytes:
        with self._lock:
            self.now += size
            self.most = max(self.most, self.now)
            self.order.append(os.fstat(fd).st_ino)
        assert self.go_on.wait(20)
        data = self._real(fd, size)
        with self._lock:
            self.now -= size
        return data


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    reads = Reads(monkeypatch)
    yield reads
    reads.go_on.set()


@pytest.mark.parametrize("call", [FinitModule, InitModule])
def test_loads_wait_for_room_in_the_order_in_which_they_came(
    make: Callable[..., Path], reads: Reads, call: Callable[[Path], Any]
) -> None:
    paths = [make(f"m{number}", file_bytes=2 * MIB) for number in range(6)]
    live = LiveKernel(Config(), file_memory=2 * MIB)
    found: list[int] = []
    threads = []
    for number, path in enumerate(paths):
        thread = threading.Thread(target=lambda path=path: found.append(errno_of(live, call(path))))
        thread.start()
        threads.append(thread)
        wait_for(waiting(live, number) if number else lambda: reads.now)
    reads.go_on.set()
    for thread in threads:
        thread.join(20)
    assert found == [0] * 6
    assert reads.most == 2 * MIB
    assert reads.order == [path.stat().st_ino for path in paths]
    assert live._files._budget.left == 2 * MIB and not live._queues


def test_a_signal_ends_the_wait_for_room(make: Callable[..., Path], reads: Reads) -> None:
    first, second, third = (make(f"m{number}", file_bytes=2 * MIB) for number in range(3))
    live = LiveKernel(Config(), file_memory=3 * MIB)
    signal = threading.Event()
    with in_thread(live, FinitModule(first)):
        wait_for(lambda: reads.now)
        with in_thread(live, FinitModule(second), Caller(signal.is_set)) as found:
            wait_for(waiting(live, 1))
            with in_thread(live, FinitModule(third)) as last:
                wait_for(waiting(live, 2))
                signal.set()
                live.wake()
                wait_for(lambda: found)
                reads.go_on.set()
    assert (found, last) == ([errno.EINTR], [0])
    assert live._files._budget.left == 3 * MIB and not live._queues


def test_an_engine_that_ends_ends_the_wait_for_room(
    make: Callable[..., Path], reads: Reads
) -> None:
    live = LiveKernel(Config(), file_memory=2 * MIB)
    with in_thread(live, FinitModule(make("a", file_bytes=2 * MIB))):
        wait_for(lambda: reads.now)
        with in_thread(live, FinitModule(make("b", file_bytes=2 * MIB))) as found:
            wait_for(waiting(live, 1))
            live.shutdown()
        assert found == [SHUT_DOWN]
        reads.go_on.set()


def test_those_who_wait_hold_no_files(make: Callable[..., Path], tmp_path: Path) -> None:
    """Copies of one module, each with an inode of its own, and all that wait for the first."""
    size, count = 8 * MIB, 12
    path = make("stuck", file_bytes=size)
    live = LiveKernel(
        Config(),
        init_routines=InitRoutines({"stuck": InitRoutine(seconds=3600)}),
        file_memory=2 * size,
    )
    copies = [shutil.copy(path, tmp_path / f"{number}.ko") for number in range(count)]
    tracemalloc.start()
    try:
        with in_thread(live, FinitModule(path)):
            wait_for(coming(live, "stuck"))
            threads = [
                threading.Thread(target=errno_of, args=(live, call(copy)))
                for copy, call in zip(copies, [FinitModule, InitModule] * count, strict=False)
            ]
            for thread in threads:
                thread.start()
            wait_for(waiting(live, count + 1))
            now, peak = tracemalloc.get_traced_memory()
            live.shutdown()
            for thread in threads:
                thread.join(20)
    finally:
        tracemalloc.stop()
    assert peak < 5 * size
    assert now < size


def test_a_packed_module_gets_as_much_room_as_it_takes(tmp_path: Path) -> None:
    """A file that unpacks to a hundred times its length is not ENOMEM, if there is room at all."""
    config = Config(compression="zstd")
    path = tmp_path / "zeros.ko.zst"
    path.write_bytes(compress(b"\x7fELF" + bytes(32 * MIB), ZSTD))
    assert path.stat().st_size < 32 * MIB / 100
    for memory, failures in ((64 * MIB, (0, 1)), (16 * MIB, (1, 0))):
        live = LiveKernel(config, file_memory=memory)
        number = errno_of(live, FinitModule(path, flags=4))
        found = live.statistics()
        assert (found.failed_decompress, found.failed_becoming) == failures
        assert number == (errno.ENOEXEC if failures[1] else errno.ENOMEM)
        assert live._files._budget.left == memory


# -- looking through lists ------------------------------------------------------------------------


class Counted(dict[Any, Any]):
    """A dictionary that counts what is looked through in it."""

    looked_at = 0

    def items(self) -> Any:
        return _CountedItems(self)

    def __iter__(self) -> Iterator[Any]:
        for key in super().__iter__():
            Counted.looked_at += 1
            yield key


class _CountedItems:
    def __init__(self, counted: Counted) -> None:
        self._items = dict.items(counted)

    def __reversed__(self) -> Iterator[Any]:
        for item in reversed(self._items):
            Counted.looked_at += 1
            yield item


class CountedList(list[Any]):
    """A list that counts what is looked through in it."""

    looked_at = 0

    def __reversed__(self) -> Iterator[Any]:
        for item in super().__reversed__():
            CountedList.looked_at += 1
            yield item


def test_stats_looks_at_the_rows_that_it_shows(make: Callable[..., Path]) -> None:
    live = engine()
    kernel = live.kernel
    for number in range(7000):
        kernel.duplicate_failed(f"m{number}", BECOMING)
    tainted = make("tainted", intree=False)
    for _ in range(3):
        live.call(FinitModule(tainted))
        live.call(DeleteModule("tainted"))
    kernel._duplicates = Counted(kernel._duplicates)
    kernel._unloaded_tainted._rows = CountedList(kernel._unloaded_tainted._rows * 7000)
    Counted.looked_at = CountedList.looked_at = 0
    assert len(kernel.statistics().duplicates) == STATS_ROWS
    assert Counted.looked_at == STATS_ROWS and CountedList.looked_at == 0
    live.call(FinitModule(tainted))
    live.call(DeleteModule("tainted"))
    assert Counted.looked_at == STATS_ROWS and CountedList.looked_at == 0
    assert len(kernel.statistics(unloaded=True).unloaded_tainted) == 7000


def test_what_a_million_names_take() -> None:
    count = 1_000_000
    kernel = Kernel(Config())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            kernel._duplicate(f"module_with_a_name_{number}", BECOMING, None)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken / count < 250


# -- the log --------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "é", "\udcff", "😀"])
def test_a_line_is_cut_by_its_bytes(letter: str) -> None:
    """PRINTKRB_RECORD_MAX is 1024, of which the level takes two and the NUL one."""
    log = KernelLog()
    for length in (1020, 1021, 1022, 5000):
        line = ("m: " + letter * 5000).encode("utf-8", "surrogateescape")[:length]
        log.write(line.decode("utf-8", "surrogateescape"))
        assert log.lines()[-1].encode("utf-8", "surrogateescape") == line[:1021]


def test_the_log_forgets_its_oldest_lines() -> None:
    log = KernelLog()
    for number in range(10_000):
        log.write(str(number))
    assert log.lines() == tuple(map(str, range(10_000 - 4096, 10_000)))


def test_nothing_without_end_is_read(tmp_path: Path) -> None:
    live = engine()
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path):
        assert errno_of(live, InitModule(path)) == errno.EINVAL
        assert errno_of(live, FinitModule(path)) == errno.EINVAL
