"""The sequence on a clock: a kernel of which each step takes a known time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pytest
import simpy

from loader.calls import NOBODY, Call, DeleteModule, FinitModule, InitModule
from loader.config import Config
from loader.engine import sequence
from loader.engine.clock import Events, Later, VirtualKernel
from loader.engine.course import Course
from loader.engine.module import InitResult
from loader.errors import LoadError
from loader.image.contents import Export, Need
from loader.image.module_image import ModuleImage
from loader.release import release
from tests.loader.engine.images import LAYOUT, image

MAPPED = 1000  # bytes: what init_module finds at any address


class Opened(NamedTuple):
    cookie: str
    readable: bool = True


class Toy(VirtualKernel):
    """Reading takes 1 s, unpacking 2, a check 4, copying 8, relocations 16, an init or exit 32.

    Files are images by their names; what is not there is ENOENT.
    """

    SECONDS: Mapping[type, float] = {
        sequence.Read: 1,
        sequence.Decompress: 2,
        sequence.Check: 4,
        sequence.Copy: 8,
        sequence.Relocate: 16,
        sequence.RunInit: 32,
        sequence.RunExit: 32,
    }
    given_back = 0.0  # seconds a byte

    def __init__(self, *images: ModuleImage, **config: Any) -> None:
        super().__init__(Config(**config))
        self.images = {one.name: one for one in images}
        self.results: dict[str, InitResult] = {}
        self.gave: list[int] = []
        self.handlers = {kind: self._taking(kind) for kind in self.SECONDS}

    def _taking(self, kind: type) -> Callable[[Any], Events]:
        def take(step: Any) -> Events:
            yield self.env.timeout(self.SECONDS[kind])
            if kind is sequence.Read:
                return self.images[step.file.cookie.partition(".")[0]]
            return self.results.get(step.module.name, InitResult()) if kind in RUNS else None

        return take

    def opened(self, call: FinitModule) -> sequence.OpenedFile | None:
        if str(call.file).partition(".")[0] not in self.images:
            raise LoadError(errno.ENOENT)
        return Opened(str(call.file))

    def memory(self, call: InitModule) -> tuple[ModuleImage | None, int]:
        return self.images["m"], MAPPED

    def give_back(self, size: int, course: Course) -> Events:
        self.gave.append(size)
        yield self.env.timeout(size * self.given_back)


RUNS = (sequence.RunInit,)
LOAD = 1 + 4 + 8 + 16 + 32  # seconds


def run(toy: VirtualKernel, *calls: tuple[float, Call]) -> list[tuple[int, float]]:
    """Make each call at its time, all in one world; errno and end of each."""
    ends: list[tuple[int, float]] = [(-1, 0.0)] * len(calls)

    def make(number: int, at: float, call: Call) -> Events:
        yield toy.env.timeout(at)
        found = yield from toy.call(call)
        ends[number] = found, toy.env.now

    for number, (at, call) in enumerate(calls):
        toy.env.process(make(number, at, call))
    toy.env.run()
    return ends


def test_a_load_takes_the_sum_of_its_steps() -> None:
    assert run(Toy(image("m")), (5, FinitModule("m"))) == [(0, 5 + LOAD)]
    packed = Toy(image("m", clen=300))
    assert run(packed, (0, FinitModule("m", flags=4))) == [(0, LOAD + 2)]
    assert run(Toy(image("m")), (0, InitModule(b""))) == [(0, LOAD - 1)]


def test_a_removal_takes_its_exit_routine() -> None:
    ends = run(Toy(image("m")), (0, FinitModule("m")), (100, DeleteModule("m")))
    assert ends == [(0, LOAD), (0, 132)]


def test_errors_end_a_call_where_they_come() -> None:
    assert run(Toy(image("m")), (1, FinitModule("absent"))) == [(errno.ENOENT, 1)]
    toy = Toy(image("m"))
    toy.results["m"] = InitResult(-errno.EIO)
    assert run(toy, (0, FinitModule("m"))) == [(errno.EIO, LOAD)]
    assert run(Toy(), (1, DeleteModule("m"))) == [(errno.ENOENT, 1)]


def test_callers_on_one_inode_end_together() -> None:
    toy = Toy(image("m"))
    ends = run(toy, (0, FinitModule("m")), (10, FinitModule("m")), (20, FinitModule("m")))
    assert ends == [(0, LOAD)] * 3
    assert toy.waited == 2 * LOAD - 10 - 20
    assert toy.kernel.statistics().modcount == 1


def test_a_copy_waits_for_the_first_and_fails() -> None:
    toy = Toy(image("m"))
    ends = run(toy, (0, FinitModule("m.1")), (20, FinitModule("m.2")))
    assert ends == [(0, LOAD), (errno.EEXIST, LOAD)]
    assert toy.waited == LOAD - 20 - 5  # it read and checked its file first
    assert toy.kernel.statistics().failed_becoming == 1


def test_a_wait_for_a_symbol_has_an_end() -> None:
    """30 s after it began (behaviour.md section 2.10), or when the owner is there."""
    owner, user = image("owner", exports=(Export("a"),)), image("user", needs=(Need("a"),))
    toy = Toy(owner, user)
    begins = 29 + 2  # the owner's init has run for 2 s when the user needs it
    calls = (0, FinitModule("owner")), (begins - 13, FinitModule("user"))
    assert run(toy, *calls) == [(0, LOAD), (0, LOAD + 16 + 32)]
    assert toy.waited == LOAD - begins
    slow = Toy(owner, user)
    slow.SECONDS = {**slow.SECONDS, sequence.RunInit: 1000}
    assert run(slow, *calls)[1] == (errno.EBUSY, begins + 30)
    assert slow.waited == 30


def test_giving_memory_back_may_take_time() -> None:
    """A file's bytes after the copy; init's are freed by a work item, for which nobody waits."""
    toy = Toy(image("m", size=1000))
    toy.given_back = 0.001
    assert run(toy, (0, FinitModule("m"))) == [(0, LOAD + 1)]
    assert toy.gave == [1000]
    again = run(toy, (0, FinitModule("m")))
    assert again == [(errno.EEXIST, LOAD + 1 + 5 + 1)]


def test_a_removal_gives_the_modules_memory_back() -> None:
    toy = Toy(image("m", size=1000))
    run(toy, (0, FinitModule("m")), (100, DeleteModule("m")))
    assert toy.gave == [1000]  # and the module's own without its caller, who is done
    assert toy.kernel.memory.now == 0
    assert toy.kernel.memory.peak == 1000 + LAYOUT.total


def test_those_who_are_woken_may_go_on_one_after_the_other() -> None:
    class Queue(Toy):
        def delays(self, waiters: int) -> Iterable[float]:
            return [0.5 * number for number in range(waiters)]

    calls = [(float(at), FinitModule("m")) for at in range(4)]
    assert run(Queue(image("m")), *calls) == [
        (0, LOAD),
        (0, LOAD),
        (0, LOAD + 0.5),
        (0, LOAD + 1),
    ]


def test_later_is_a_timeout_that_is_set_afterwards() -> None:
    env = simpy.Environment()
    event = Later(env)
    seen: list[float] = []

    def wait() -> Events:
        yield event
        seen.append(env.now)

    def decide() -> Events:
        yield env.timeout(3)
        event.happen_in(4)

    env.process(wait())
    env.process(decide())
    env.run()
    assert seen == [7]


def test_what_a_subclass_has_to_say() -> None:
    bare = VirtualKernel(Config(release=release("6.12")))
    with pytest.raises(NotImplementedError):
        bare.opened(FinitModule("m"))
    with pytest.raises(NotImplementedError):
        bare.memory(InitModule(b""))
    course = Course(bare.kernel, FinitModule("m"), NOBODY, lambda: 0.0)
    assert list(bare.give_back(5, course)) == []
    assert list(bare.delays(3)) == [0, 0, 0]
