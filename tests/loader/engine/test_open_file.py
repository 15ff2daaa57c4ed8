"""The file of one call: may it be read, does anybody write it, which inode is it.

What the kernel says of each file is behaviour.md's, sections 2.2 and 2.4; leases and their EAGAIN
are fcntl(2)'s.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from loader.calls import ANYONE, Caller, FinitModule, InitModule
from loader.config import Config
from loader.engine.open_file import CallersFile, can_lease, pread_all
from loader.errors import Failure, LoadError
from loader.image.module_image import ModuleImage, read_image
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec

LEASES = pytest.mark.parametrize("leases", [True, False])


@pytest.fixture(autouse=True)
def lease_signals() -> None:
    can_lease()  # a writer who comes while a lease is held makes the kernel send SIGIO


def of_a_call(caller: Caller = ANYONE, leases: bool = True) -> CallersFile:
    return CallersFile(caller, read_whole, leases)


def read_whole(
    caller: Caller, file: CallersFile, size: int, flags: int, data: bytes | None = None, /
) -> ModuleImage | Failure:
    """As an engine does that may hold any number of bytes."""
    return read_image(data or pread_all(file.fd, size), flags, Config())


def opened(file: int | Path, leases: bool = True, access: int = os.O_RDONLY) -> CallersFile:
    """The file of a call that is over; what was found of it is kept."""
    found = of_a_call(leases=leases)
    try:
        assert found.opened(FinitModule(file, access=access)) is found
    finally:
        found.close()
    return found


# -- who writes -----------------------------------------------------------------------------------


@LEASES
def test_a_file_that_nobody_writes(tmp_path: Path, leases: bool) -> None:
    path = tmp_path / "m.ko"
    path.write_bytes(b"text")
    found = opened(path, leases)
    assert (found.readable, found.written) == (True, False)
    assert found.status.st_size == 4


@LEASES
@pytest.mark.parametrize(
    ("access", "readable"), [(os.O_RDWR, True), (os.O_WRONLY, False), (os.O_PATH, False)]
)
def test_the_callers_own_descriptor(
    tmp_path: Path, leases: bool, access: int, readable: bool
) -> None:
    """One that may write makes the file written; one that cannot read is no descriptor at all."""
    path = tmp_path / "m.ko"
    path.write_bytes(b"text")
    found = opened(path, leases, access)
    assert (found.readable, found.written) == (readable, True)


def test_another_writer_is_known_by_a_lease(tmp_path: Path) -> None:
    path = tmp_path / "m.ko"
    path.write_bytes(b"text")
    with path.open("ab"):
        assert (opened(path).readable, opened(path).written) == (True, True)
        assert not opened(path, leases=False).written  # nobody tells
    assert not opened(path).written


def test_a_lease_is_not_kept(tmp_path: Path) -> None:
    """A writer who comes later is not held up: open(2) would wait for the lease's end."""
    path = tmp_path / "m.ko"
    path.write_bytes(b"text")
    found = of_a_call()
    found.opened(FinitModule(path))
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # EWOULDBLOCK if there were one
    found.close()


def test_a_memfd_counts_as_written_only_where_leases_do_not_tell() -> None:
    fd = os.memfd_create("module")
    try:
        assert not opened(fd).written
        assert opened(fd, leases=False).written
    finally:
        os.close(fd)


@LEASES
def test_pipes_and_folders_and_devices(tmp_path: Path, leases: bool) -> None:
    ends = os.pipe()
    try:
        assert [opened(end, leases).readable for end in ends] == [True, False]
    finally:
        for end in ends:
            os.close(end)
    assert opened(tmp_path, leases).readable
    assert opened(Path("/dev/null"), leases).readable


# -- which file -----------------------------------------------------------------------------------


def test_links_are_one_inode_and_copies_are_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"text")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    (tmp_path / "soft").symlink_to("a")
    cookies = {name: opened(tmp_path / name).cookie for name in ("a", "b", "hard", "soft")}
    assert cookies["a"] == cookies["hard"] == cookies["soft"] != cookies["b"]


def test_descriptors_that_are_not_open() -> None:
    for number in (-1, 1 << 20, 1 << 40):
        found = of_a_call()
        assert found.opened(FinitModule(number)) is None
        found.close()


def test_a_path_is_closed_after_the_call_and_a_descriptor_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m.ko"
    path.write_bytes(b"text")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened(path).fd)
    fd = os.open(path, os.O_RDONLY)
    assert opened(fd).fd == fd
    os.close(fd)


def test_no_such_file(tmp_path: Path) -> None:
    found = of_a_call()
    with pytest.raises(FileNotFoundError):
        found.opened(FinitModule(tmp_path / "absent"))
    found.close()


def test_whoever_calls_opens() -> None:
    """In the caller's process, for instance; what it opened for the call is closed at its end."""
    inner, outer = os.pipe()
    asked: list[object] = []

    def open_(file: object, access: int) -> tuple[int, bool]:
        asked.append((file, access))
        return inner, True

    found = of_a_call(Caller(open=open_))
    found.opened(FinitModule("theirs", access=os.O_RDWR))
    found.close()
    assert asked == [("theirs", os.O_RDWR)]
    os.close(outer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(inner)


# -- memory ---------------------------------------------------------------------------------------


def memory(call: InitModule) -> tuple[str | None, int]:
    """The name of the module that was found there, and the length."""
    found = of_a_call()
    try:
        image, length = found.memory(call)
    finally:
        found.close()
    return (None if image is None else image.name), length


def test_init_module_takes_bytes_or_the_file_they_were_read_from(tmp_path: Path) -> None:
    data = build_module(ModuleSpec("made"))
    path = tmp_path / "m.ko"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    for image in (data, path, str(path), fd):
        assert memory(InitModule(image)) == ("made", len(data))
    os.close(fd)


@pytest.mark.parametrize("length", [0, 63, None])
def test_an_address_that_is_not_mapped(length: int | None) -> None:
    assert memory(InitModule(None, length=length)) == (None, length or 0)


def test_a_length_of_the_callers_own() -> None:
    data = build_module(ModuleSpec("made"))
    assert memory(InitModule(data + b"more", length=len(data))) == ("made", len(data))
    assert memory(InitModule(data, length=len(data) + 1)) == (None, len(data) + 1)
    assert memory(InitModule(data, length=63)) == (None, 63)


def test_what_has_no_end_is_not_read_into_memory(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(LoadError) as caught:
            memory(InitModule(path))
        assert caught.value.errno == errno.EINVAL


# -- reading --------------------------------------------------------------------------------------


def test_reading_does_not_depend_on_the_position_or_move_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 150, os.SEEK_SET)
    assert pread_all(fd, 10) == bytes(range(10))
    assert pread_all(fd, 1000) == bytes(range(200))  # it is shorter than that
    assert os.lseek(fd, 0, os.SEEK_CUR) == 150
    os.close(fd)


def test_a_read_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(100))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: data[offset : offset + min(size, 7)])
    assert pread_all(0, 100) == data


# -- leases ---------------------------------------------------------------------------------------


def in_another_process(program: str) -> list[str]:
    """The words that a Python program prints whose SIGIO is as programs begin with it."""
    begin = (
        "import signal, threading; from loader.engine.open_file import can_lease;"
        "SIGIO = signal.SIGIO; signal.signal(SIGIO, signal.SIG_DFL);"
    )
    done = subprocess.run([sys.executable, "-c", begin + program], capture_output=True, text=True)
    assert not done.stderr
    return done.stdout.split()


def test_leases_need_sigio_not_to_end_the_process() -> None:
    program = "print(can_lease(), signal.getsignal(SIGIO) is signal.SIG_IGN)"
    assert in_another_process(program) == ["True", "True"]


def test_only_the_main_thread_may_ignore_a_signal() -> None:
    program = (
        "t = threading.Thread(target=lambda: print(can_lease())); t.start(); t.join();"
        "print(signal.getsignal(SIGIO) is signal.SIG_DFL)"
    )
    assert in_another_process(program) == ["False", "True"]


def test_a_handler_of_the_programs_own_stays() -> None:
    def handler(number: int, frame: object) -> None: ...

    old = signal.signal(signal.SIGIO, handler)
    try:
        assert can_lease()
        assert signal.getsignal(signal.SIGIO) is handler
    finally:
        signal.signal(signal.SIGIO, old)


def test_writers_that_come_and_go_end_nothing(tmp_path: Path) -> None:
    """The kernel sends SIGIO when a writer meets a lease."""
    path = tmp_path / "m.ko"
    path.write_bytes(b"text")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with suppress(BlockingIOError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(300):
        assert opened(path).readable
    stop.set()
    thread.join()
