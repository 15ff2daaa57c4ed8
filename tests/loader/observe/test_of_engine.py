"""The sum over an engine's events is what the engine counts, whatever happens to it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.calls import Caller, DeleteModule, FinitModule, InitModule, Origin, Task
from loader.config import Config
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.observe.account import Account
from loader.observe.call import ModuleRequest, ObservedCall
from loader.observe.of_engine import observed
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from modfs import texts
from tests.loader.engine.test_threads import make

__all__ = ["make"]


class Watched:
    """An engine, and what it told."""

    def __init__(self, live: LiveKernel) -> None:
        self.live = live
        self.told: list[Any] = []
        live.kernel.listener = self.told.append

    @property
    def events(self) -> list[Any]:
        """In the order in which the kernel counted."""
        return sorted(map(observed, self.told), key=lambda event: event.n)

    def call(self, call: FinitModule | InitModule | DeleteModule) -> int:
        origin = Origin(Task("t", threading.get_native_id()))
        try:
            self.live.call(call, Caller(origin=lambda: origin))
        except LoadError as error:
            return error.errno or 0
        return 0

    def agrees(self) -> None:
        """The events' account is the engine's, byte for byte."""
        account = Account(self.live.config.release)
        for event in self.events:
            if isinstance(event, ObservedCall):
                account.count(event)
        counted, seen = self.live.snapshot(), account.snapshot()
        for name in texts.FILES:
            assert texts.FILES[name].text(seen) == texts.FILES[name].text(counted), name


def watched(kernel: str = "6.12", without: tuple[str, ...] = (), **inits: InitRoutine) -> Watched:
    config = Config(release=release(kernel, without))
    return Watched(LiveKernel(config, init_routines=InitRoutines(inits)))


def test_what_an_event_has(make: Callable[..., Path]) -> None:
    one = watched()
    path = make("m", parameters=(ParameterSpec("n", "int"),))
    assert one.call(FinitModule(path, "n=3")) == 0
    assert one.call(FinitModule(path)) == errno.EEXIST
    assert one.call(DeleteModule("m")) == 0
    live, duplicate, removed = one.events
    size = path.stat().st_size
    assert (live.outcome, live.result, live.params, live.module) == ("live", 0, "n=3", "m")
    assert (live.file.name, live.file.ino, live.read) == ("m.0.ko", path.stat().st_ino, size)
    assert live.begin <= live.phases["read"] <= live.phases["init"] <= live.end
    assert live.peak == size + live.memory_size
    assert (duplicate.outcome, duplicate.result) == ("becoming", errno.EEXIST)
    assert (duplicate.duplicate, duplicate.length, duplicate.peak) == (True, size, size)
    assert duplicate.reason == "a module of that name was there"
    assert (removed.call, removed.outcome, removed.module) == ("delete_module", "removed", "m")
    assert live.task.name == "t"
    one.agrees()


def test_who_waits_and_for_whom(make: Callable[..., Path]) -> None:
    one = watched("6.4", m=InitRoutine(seconds=0.2))
    path = make("m")
    thread = threading.Thread(target=lambda: one.call(FinitModule(path)))
    thread.start()
    while not one.live.kernel.names():
        pass
    assert one.call(FinitModule(path)) == errno.EEXIST
    thread.join()
    waiter = next(event for event in one.events if event.result)
    loader = next(event for event in one.events if not event.result)
    assert waiter.waited_for == loader.task.tid
    assert 0 < waiter.waited <= waiter.end - waiter.begin
    assert waiter.reason == "a module of that name was on its way"
    one.agrees()


def test_who_shares_a_load_wastes_nothing(make: Callable[..., Path]) -> None:
    one = watched(m=InitRoutine(seconds=0.2))
    path = make("m")
    threads = [threading.Thread(target=lambda: one.call(FinitModule(path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = sorted(event.outcome for event in one.events)
    assert outcomes[-2:] == ["shared", "shared"] or outcomes.count("becoming")
    one.agrees()


def test_a_caller_that_goes_leaves_an_event_when_its_load_is_over(
    make: Callable[..., Path],
) -> None:
    one = watched(m=InitRoutine(seconds=0.1))
    with pytest.raises(LoadError):
        one.live.call(FinitModule(make("m")), Caller(lambda: True))
    while not one.told:
        pass
    [event] = one.events
    assert (event.outcome, event.result) == ("live", 0)
    one.agrees()


def test_requests_of_the_kernels_own() -> None:
    one = watched()
    assert one.live.request_module("net-pf-99", Caller(origin=lambda: Origin(Task("ping", 7)))) > 0
    [event] = one.events
    assert isinstance(event, ModuleRequest)
    assert (event.module, event.task.name, event.result) == ("net-pf-99", "ping", 256)
    assert event.end is not None and event.end >= event.at and event.slot_wait == 0


def test_nothing_large_is_kept(make: Callable[..., Path]) -> None:
    one = watched()
    data = make("m").read_bytes()
    assert one.call(InitModule(data, "x" * 100_000)) == 0
    assert one.call(InitModule(data)) == errno.EEXIST
    assert all(course.call.image is None for course in one.told)
    assert len(one.told[0].call.params) == 4096
    one.agrees()


KERNELS = st.sampled_from([("6.4", ("early-check",)), ("6.4", ()), ("6.12", ()), ("7.3", ())])
STEP = st.tuples(st.sampled_from(["finit", "init", "delete", "cut", "nothing"]), st.integers(0, 3))


@settings(max_examples=40, deadline=None)
@given(kernel=KERNELS, steps=st.lists(STEP, max_size=30))
def test_any_order_of_calls(
    kernel: tuple[str, tuple[str, ...]], steps: list[tuple[str, int]]
) -> None:
    """Four modules: one needs the first, one is out of tree, one's init fails."""
    one = watched(*kernel, m3=InitRoutine(returns=-errno.ENODEV))
    paths = MODULES
    for what, which in steps:
        path = paths[which]
        if what == "finit":
            one.call(FinitModule(path))
        elif what == "init":
            one.call(InitModule(path.read_bytes()))
        elif what == "cut":
            one.call(InitModule(path.read_bytes(), length=100))
        elif what == "nothing":
            one.call(FinitModule(-1, flags=which << 4))
        else:
            one.call(DeleteModule(f"m{which}"))
        one.agrees()


MODULES: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("modules")
    specs = (
        ModuleSpec("m0", exports=("give",)),
        ModuleSpec("m1", imports=("give",), depends=("m0",)),
        ModuleSpec("m2", intree=False),
        ModuleSpec("m3", intree=False),
    )
    for spec in specs:
        path = folder / f"{spec.name}.ko"
        path.write_bytes(build_module(spec))
        MODULES.append(path)


def test_many_at_once() -> None:
    """Eight threads and every kind of end: what they did is in no order, and still adds up."""
    one = watched("6.4", m3=InitRoutine(returns=-errno.ENODEV))

    def act(number: int) -> None:
        for turn in range(60):
            path = MODULES[(turn + number) % 4]
            if turn % 3 == 2:
                one.call(DeleteModule(path.stem))
            else:
                one.call(FinitModule(path))
            if turn % 7 == 0:
                one.call(InitModule(b"\x7fELF" + os.urandom(80)))

    threads = [threading.Thread(target=act, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.agrees()
