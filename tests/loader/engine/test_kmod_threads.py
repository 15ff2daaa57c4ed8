"""request_module on threads: the same answers on a clock that goes fast, and real signals' ends."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.calls import ANYONE, Caller, FinitModule
from loader.config import Config
from loader.engine.kmod import as_errno, as_text
from loader.engine.threads import LiveKernel
from loader.engine.umh import Usermodehelper
from loader.errors import LoadError
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from loader.tree.tree import Tree
from tests.loader.engine.helpers import Runs, Script
from tests.loader.engine.test_kmod import BUSY, DUPLICATE

PACE = 8.0  # two of its seconds are time enough for 75 threads to begin
ETIME = -errno.ETIME


class _Running:
    def __init__(self, script: Script, runs: Runs, helper: Usermodehelper) -> None:
        self._script, self._runs, self._helper = script, runs, helper

    def wait(self) -> int:
        time.sleep(self._script.seconds / PACE)
        self._runs.ended.append((self._helper, 0.0))
        return self._script.status


class Scripts:
    """The recorded machine's helpers, on threads (loader.engine.umh.Programs)."""

    def __init__(self) -> None:
        self.runs = Runs()

    def at_once(self, helper: Usermodehelper) -> int | None:
        return None

    def execve(self, helper: Usermodehelper) -> _Running:
        return _Running(self.runs.script(helper), self.runs, helper)


def engine(path: str, **config: Any) -> tuple[LiveKernel, Runs]:
    live = LiveKernel(Config(**config), pace=PACE)
    scripts = Scripts()
    live.autoload.programs = scripts
    live.kmod.modprobe_path = path
    return live, scripts.runs


def asked(live: LiveKernel, string: str, count: int, caller: Caller = ANYONE) -> list[int]:
    """The results of ``count`` threads that ask at once, in their order."""
    results = [-1] * count

    def ask(number: int) -> None:
        results[number] = live.request_module(string, caller)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize(
    "path, result",
    [
        ("/h/exit0", 0),
        ("/h/exit3", 768),
        ("/h/kill9", 9),
        ("/h/segv", 11),
        ("/nonexistent", -2),
        ("/h/noexec", -13),
        ("/h/badfmt", -8),
        ("/h/badbin", -8),
        ("", -2),
    ],
)
def test_results(path: str, result: int) -> None:
    live, _ = engine(path)
    assert asked(live, "foo", 1) == [result]


def test_75_callers() -> None:
    """[E5, E5b]"""
    live, runs = engine("/h/sleep7")
    assert live.request_module("a" * 56) == -errno.ENAMETOOLONG
    assert sorted(asked(live, "lim", 75)) == [ETIME] * 25 + [0] * 50
    assert len(runs.started) == 50
    assert live.kernel.log.lines() == (BUSY.format("lim"),) * 10
    live.kmod.modprobe_path = "/h/sleep3"
    assert asked(live, "lim", 75) == [0] * 75


def test_recursion() -> None:
    """[F1]"""
    live, _ = engine("/h/badbin")
    assert live.request_module("foo") == -errno.ENOEXEC
    assert live.kernel.log.lines() == (BUSY.format("binfmt-0403"),)


def test_duplicates() -> None:
    """[E11]"""
    live, runs = engine("/h/sleep2f", autoload_dups=True)
    assert asked(live, "failmod", 5) == [256] * 5
    live.kmod.modprobe_path = "/h/exit0"
    assert live.request_module("failmod") == 256
    assert live.request_module("failmod", wait=False) == 0
    assert len(runs.started) == 1
    assert live.kernel.log.lines() == (DUPLICATE.format("failmod"),) * 6


class Signals:
    """A caller to whom a signal can be sent."""

    def __init__(self, live: LiveKernel) -> None:
        self._live = live
        self._any = self._fatal = False
        self.caller = Caller(lambda: self._any, fatal_signal_pending=lambda: self._fatal)

    def send(self, *, fatal: bool) -> None:
        self._any = True
        self._fatal = fatal
        self._live.wake()


def in_thread(work: Callable[[], int]) -> tuple[threading.Thread, list[int]]:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_signals_in_the_wait_for_the_helper() -> None:
    """[F2] A fatal one ends it at once, another not; the helper goes on."""
    live, runs = engine("/h/sleep7")
    signals = Signals(live)
    thread, results = in_thread(lambda: live.request_module("sig1", signals.caller))
    while not runs.started:
        time.sleep(0.001)
    signals.send(fatal=False)
    thread.join(1 / PACE)
    assert thread.is_alive()
    signals.send(fatal=True)
    thread.join()
    assert results == [-512] and not runs.ended
    while not runs.ended:
        time.sleep(0.001)


def test_no_signal_ends_the_wait_for_a_place() -> None:
    live, runs = engine("/h/sleep7")
    signals = Signals(live)
    first, _ = in_thread(lambda: len(asked(live, "lim", 50)))
    while len(runs.started) < 50:
        time.sleep(0.001)
    thread, results = in_thread(lambda: live.request_module("late", signals.caller))
    signals.send(fatal=True)
    thread.join()
    assert results[0] in (ETIME, -512)  # -512: a helper was free before
    first.join()


def test_an_engine_that_ends_lets_all_go() -> None:
    live, runs = engine("/h/sleep7")
    ends: list[int | None] = []

    def ask() -> None:
        try:
            live.request_module("m")
        except LoadError as error:
            ends.append(error.errno)

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    while len(runs.started) < 50:
        time.sleep(0.001)
    live.shutdown()
    for thread in threads:
        thread.join()
    assert ends == [errno.ENOTCONN] * 60


# -- the tree's own modprobe ----------------------------------------------------------------------

SPECS = (
    ModuleSpec("base", exports=("base_symbol",)),
    ModuleSpec("myfs", depends=("base",), aliases=("fs-myfs",)),
)


@pytest.fixture
def with_tree(tmp_path: Path) -> LiveKernel:
    write_tree(tmp_path / "tree", SPECS)
    return LiveKernel(tree=Tree.open(tmp_path / "tree"))


def loaded(live: LiveKernel) -> list[str]:
    return [module.name for module in live.snapshot().modules]


def test_modprobe_of_the_tree(with_tree: LiveKernel) -> None:
    assert with_tree.get_fs_type("myfs.sub") is False  # only FUSE's have subtypes
    assert loaded(with_tree) == ["myfs", "base"]
    assert with_tree.get_fs_type("myfs")
    assert with_tree.request_module("nothing") == 256
    assert with_tree.request_module("") == 256
    assert with_tree.request_module("base") == 0
    with_tree.kmod.modprobe_path = "/KMOD_TEST_NONEXISTENT"
    assert with_tree.request_module("base") == -errno.ENOENT


def test_many_requests_of_one_string(with_tree: LiveKernel) -> None:
    assert asked(with_tree, "fs-myfs", 60) == [0] * 60
    assert loaded(with_tree) == ["myfs", "base"]


def test_modules_disabled(with_tree: LiveKernel) -> None:
    """[F8] The helper runs; its call is refused, and counted nowhere."""
    with_tree.kernel.modules_disabled = True
    assert with_tree.request_module("base") == 256
    with pytest.raises(LoadError) as raised:
        with_tree.call(FinitModule("/dev/null"))
    assert raised.value.errno == errno.EPERM
    assert with_tree.statistics().failed_kreads == 0


def test_no_tree() -> None:
    assert LiveKernel().request_module("xfs") == 256


@pytest.mark.parametrize(
    "result, number, text",
    [
        (0, 0, "ok"),
        (-errno.ETIME, errno.ETIME, "ETIME"),
        (-512, errno.EINTR, "EINTR"),
        (256, errno.EREMOTEIO, "256 (exit status 1)"),
        (11, errno.EREMOTEIO, "11 (signal 11)"),
        (128 + 11, errno.EREMOTEIO, "139 (signal 11)"),
    ],
)
def test_what_can_be_told_of_a_result(result: int, number: int, text: str) -> None:
    assert (as_errno(result), as_text(result)) == (number, text)
