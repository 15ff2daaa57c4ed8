"""What a caught call says, read from the caller's memory; and how it is answered.

The caller is this thread, the listener none; with real ones: tests/run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from collections.abc import Callable

import pytest

from loader.calls import ANYONE, Call, Caller, DeleteModule, FinitModule, InitModule
from loader.errors import LoadError
from modfs.linux import CAP_SYS_MODULE
from modfs.run import seccomp
from modfs.run.intercept import Supervisor
from modfs.run.own_views import OwnViews
from modfs.run.seccomp import Notification

UNMAPPED = 4096  # an address


class Engine:
    """Notes what it is asked, and answers as the test says."""

    def __init__(self) -> None:
        self.asked: list[Call] = []
        self.answer: Callable[[Caller], None] = lambda caller: None
        self.woken = threading.Event()

    def call(self, call: Call, caller: Caller = ANYONE) -> None:
        self.asked.append(call)
        self.answer(caller)

    def wake(self) -> None:
        self.woken.set()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def supervisor(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setattr(seccomp, "is_valid", lambda listener, notification: True)
    return Supervisor(-1, engine, OwnViews("0:0"))


def caught(call: str, *arguments: int, tid: int | None = None) -> Notification:
    padded = (*arguments, *[0xDEADBEEF] * (6 - len(arguments)))
    return Notification(1, tid or threading.get_native_id(), call, padded)


def address(data: bytes) -> tuple[int, object]:
    """Where it lies in memory; keep the other one as long."""
    buffer = ctypes.create_string_buffer(data)
    return ctypes.addressof(buffer), buffer


def test_finit_module(supervisor: Supervisor, engine: Engine) -> None:
    params, _keep = address(b"a=1 b=\xff")
    assert supervisor._answer(caught("finit_module", 3, params, 4)) == 0
    # Registers have 64 bits, int arguments 32 of them.
    assert supervisor._answer(caught("finit_module", 0xFFFFFFFF, 0, 0xABC_FFFFFFFF)) == 0
    assert supervisor._answer(caught("finit_module", 1 << 32 | 5, UNMAPPED, 0)) == 0
    assert engine.asked == [
        FinitModule(3, "a=1 b=\udcff", 4),
        FinitModule(-1, None, -1),
        FinitModule(5, None, 0),
    ]


def test_init_module(supervisor: Supervisor, engine: Engine) -> None:
    image, _keep = address(b"image")
    params, _keep_too = address(b"")
    for arguments in ((image, 5, params), (image, 2, 0), (UNMAPPED, 9, params), (0, 0, params)):
        assert supervisor._answer(caught("init_module", *arguments)) == 0
    assert engine.asked == [
        InitModule(b"image", "", 5),
        InitModule(b"im", None, 2),
        InitModule(None, "", 9),
        InitModule(b"", "", 0),
    ]


def test_an_image_that_is_longer_than_any_is_not_read(
    supervisor: Supervisor, engine: Engine
) -> None:
    assert supervisor._answer(caught("init_module", UNMAPPED, (1 << 64) - 1, 0)) == 0
    assert engine.asked == [InitModule(None, None, (1 << 64) - 1)]


def test_delete_module(supervisor: Supervisor, engine: Engine) -> None:
    """A name of 56 bytes and more is too long for any module, whatever follows."""
    for text in (b"m", b"\x80", b"x" * 100):
        name, _keep = address(text)
        assert supervisor._answer(caught("delete_module", name, 0xF_00000A00)) == 0
    assert supervisor._answer(caught("delete_module", UNMAPPED, 0)) == 0
    assert engine.asked == [
        DeleteModule("m", 0xA00),
        DeleteModule("\udc80", 0xA00),
        DeleteModule("x" * 56, 0xA00),
        DeleteModule(None, 0),
    ]


# -- answers --------------------------------------------------------------------------------------

ASKED = ("finit_module", 3, 0, 0)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (LoadError(errno.EEXIST), errno.EEXIST),
        (OSError(errno.ENOTCONN, ""), errno.ENOTCONN),
        (OSError(), errno.EIO),
        (RuntimeError("nobody expected"), errno.EIO),
    ],
)
def test_errors(supervisor: Supervisor, engine: Engine, error: Exception, number: int) -> None:
    def fail(caller: Caller) -> None:
        raise error

    engine.answer = fail
    assert supervisor._answer(caught(*ASKED)) == number


def test_what_was_read_of_one_who_is_gone_is_not_used(
    supervisor: Supervisor, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another's by now."""
    monkeypatch.setattr(seccomp, "is_valid", lambda listener, notification: False)
    supervisor._answer(caught(*ASKED))
    assert engine.asked == []


def test_the_rights_are_the_callers(supervisor: Supervisor, engine: Engine) -> None:
    found: list[bool] = []
    engine.answer = lambda caller: found.append(caller.capable)
    supervisor._answer(caught(*ASKED))
    assert found == [
        seccomp.capable(threading.get_native_id(), CAP_SYS_MODULE, seccomp.user_namespace())
    ]


def test_the_descriptors_are_the_callers(supervisor: Supervisor, engine: Engine) -> None:
    inner, outer = os.pipe()
    found: list[tuple[int, bool]] = []
    engine.answer = lambda caller: found.extend([caller.open(inner, 0), caller.open(7777, 0)])
    supervisor._answer(caught(*ASKED))
    (copy, ours), absent = found
    assert ours and copy != inner
    assert os.fstat(copy).st_ino == os.fstat(inner).st_ino
    assert absent == (-1, False)  # which the kernel has to answer
    for fd in (copy, inner, outer):
        os.close(fd)


def test_a_caller_that_dies_while_it_waits(supervisor: Supervisor, engine: Engine) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "60"]) as process:

        def wait(caller: Caller) -> None:
            assert not caller.signal_pending()
            process.kill()
            assert engine.woken.wait(30)
            assert caller.signal_pending()
            raise LoadError(errno.EINTR)

        engine.answer = wait
        assert supervisor._answer(caught(*ASKED, tid=process.pid)) == errno.EINTR
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_caller_that_is_dead_already(supervisor: Supervisor, engine: Engine) -> None:
    found: list[bool] = []
    engine.answer = lambda caller: found.append(caller.signal_pending())
    supervisor._answer(caught(*ASKED, tid=1 << 22))
    assert found == [True]


def test_no_thread_can_be_had(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the others go on taking calls up, and nobody is taken for waiting who is not."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert not supervisor._start_thread() and supervisor._idle == 0
    with pytest.raises(RuntimeError):
        supervisor.run()
