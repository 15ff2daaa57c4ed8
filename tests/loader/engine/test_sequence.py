"""The steps of each call in the kernel's order, driven by hand.

Between two steps everything that the kernel knows can be looked at; what is not waited for here
takes no time. Sections are those of behaviour.md.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from loader.calls import NOBODY, Call, DeleteModule, FinitModule, InitModule
from loader.config import Config
from loader.engine.course import Course
from loader.engine.module import InitResult
from loader.engine.sequence import (
    Check,
    Copy,
    Decompress,
    Read,
    Relocate,
    RunExit,
    RunInit,
    Step,
    Wait,
    system_call,
)
from loader.engine.state import Kernel
from loader.errors import Failure, LoadError
from loader.image.contents import Export, Need
from loader.image.module_image import ModuleImage
from loader.image.parameters import Parameter
from loader.release import release
from tests.loader.engine.images import LAYOUT, PAGE, image

SIZE = 1000  # bytes of every file here


class Opened(NamedTuple):
    cookie: Hashable
    readable: bool = True


class Files:
    """What a call names, without files: one image."""

    def __init__(self, found: ModuleImage | None, file: Opened | None) -> None:
        self.found, self.file = found, file

    def opened(self, call: FinitModule) -> Opened | None:
        return self.file

    def memory(self, call: InitModule) -> tuple[ModuleImage | None, int]:
        return self.found, SIZE if call.length is None else call.length


class Driven:
    """One call, step by step. ``kinds``: the steps so far; ``errno``: how it ended, or None.

    It goes on as long as it is kept: a generator that nobody has any more is closed.
    """

    def __init__(
        self,
        kernel: Kernel,
        call: Call,
        found: ModuleImage | None = None,
        file: Opened | None = Opened("inode"),  # noqa: B008 - a value
    ) -> None:
        self.found = found
        self.kinds: list[type] = []
        self.errno: int | None = None
        self.course = Course(kernel, call, NOBODY, lambda: 0.0)
        self._steps = system_call(kernel, call, Files(found, file), self.course)
        self._resume(lambda: next(self._steps))

    def _resume(self, resume: Any) -> None:
        try:
            self.step: Step = resume()
            self.kinds.append(type(self.step))
        except StopIteration:
            self.errno = 0
        except LoadError as error:
            self.errno = error.errno

    def send(self, answer: object = None) -> None:
        self._resume(lambda: self._steps.send(answer))

    def throw(self, number: int) -> None:
        self._resume(lambda: self._steps.throw(LoadError(number)))

    def close(self) -> None:
        self._steps.close()

    def to(self, kind: type | None) -> Driven:
        """On to the next step of a kind, or with None to the end; all goes well on the way."""
        answers = {Read: self.found, RunInit: InitResult()}
        while self.errno is None and (not self.kinds or type(self.step) is not kind):
            self.send(answers.get(type(self.step)))
        return self


def kernel_of(name: str = "6.12", *without: str, **fields: Any) -> Kernel:
    return Kernel(Config(release=release(name, without), **fields))


def finit(
    kernel: Kernel,
    found: ModuleImage | None = None,
    inode: str = "inode",
    params: str | None = "",
    flags: int = 0,
) -> Driven:
    return Driven(kernel, FinitModule(3, params, flags), found or image(size=SIZE), Opened(inode))


def counts(kernel: Kernel) -> tuple[int, int, int, int]:
    """Failures of kread, decompress, becoming, load."""
    found = kernel.statistics()
    return (
        found.failed_kreads,
        found.failed_decompress,
        found.failed_becoming,
        found.failed_load_modules,
    )


# -- a fresh load ---------------------------------------------------------------------------------


def test_a_fresh_load() -> None:
    load = finit(kernel_of()).to(None)
    assert load.kinds == [Read, Check, Copy, Relocate, RunInit]
    assert load.errno == 0


def test_a_fresh_load_of_a_file_that_the_kernel_unpacks() -> None:
    load = finit(kernel_of(), image(size=SIZE, clen=300), flags=4).to(None)
    assert load.kinds == [Read, Decompress, Check, Copy, Relocate, RunInit]


def test_when_a_module_can_be_seen() -> None:
    """Unformed up to Relocate, in /sys/module late in Coming (section 5), live after init."""
    kernel = kernel_of()
    load = finit(kernel)
    for kind in (Read, Check, Copy, Relocate):
        load.to(kind)
        assert kernel.names() == ()
    load.to(RunInit)
    shown = kernel.snapshot().modules[0]
    assert (shown.state, shown.in_sysfs, shown.refcount) == ("coming", True, 1)
    assert kernel.statistics().modcount == 0
    load.to(None)
    shown = kernel.snapshot().modules[0]
    assert (shown.state, shown.refcount, kernel.statistics().modcount) == ("live", 0, 1)


def test_what_memory_a_load_holds() -> None:
    """The file's until init, the module's from the copy on, init's until the end."""
    kernel, total = kernel_of(), LAYOUT.total
    load = finit(kernel)
    held = []
    for kind in (Read, Check, Copy, Relocate, RunInit, None):
        load.to(kind)
        held.append(kernel.memory.now)
    assert held == [0, SIZE, SIZE + total, SIZE + total, total, LAYOUT.core]


def test_a_compressed_file_is_held_until_it_is_unpacked() -> None:
    """One page more than what came out: the unpacked module is in whole pages."""
    kernel = kernel_of()
    load = finit(kernel, image(size=PAGE + 1, clen=300), flags=4)
    held = [kernel.memory.now for kind in (Read, Decompress, Check) if load.to(kind)]
    assert held == [0, 300, 2 * PAGE]
    assert kernel.memory.peak == 300 + 2 * PAGE


def test_init_module_reads_nothing() -> None:
    load = Driven(kernel_of(), InitModule(b""), image(size=SIZE)).to(None)
    assert (load.kinds, load.errno) == ([Check, Copy, Relocate, RunInit], 0)


# -- sections 2.1 and 2.2 -------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [8, 16, 1 << 31, -1])
def test_flags_that_nobody_knows(flags: int) -> None:
    kernel = kernel_of()
    assert finit(kernel, flags=flags).errno == errno.EINVAL
    assert counts(kernel) == (0, 0, 0, 0)


@pytest.mark.parametrize("file", [None, Opened("inode", readable=False)])
@pytest.mark.parametrize(
    ("name", "failed", "lost"), [("6.12", 0, 0), ("6.5", 0, 0), ("6.4", 1, (1 << 64) - 9)]
)
def test_a_descriptor_that_cannot_be_read(
    file: Opened | None, name: str, failed: int, lost: int
) -> None:
    kernel = kernel_of(name)
    load = Driven(kernel, FinitModule(3), image(), file)
    assert (load.kinds, load.errno) == ([], errno.EBADF)
    assert counts(kernel) == (failed, 0, 0, 0)
    assert kernel.statistics().invalid_kread_bytes == lost


# -- section 2.3 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [0, -errno.EIO])
def test_callers_on_one_inode_share_one_load(result: int) -> None:
    kernel = kernel_of()
    first = finit(kernel).to(RunInit)
    second = finit(kernel, params="nonsense", flags=3)
    assert second.kinds == [Wait] and isinstance(second.step, Wait)
    assert not second.step.done()
    first.send(InitResult(result))
    assert second.step.done()
    second.send()
    assert (first.errno, second.errno) == (-result, -result)
    assert counts(kernel) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("name", "interruptible"), [("6.5", False), ("6.6", False), ("6.11", True)]
)
def test_which_kernels_let_a_signal_end_that_wait(name: str, interruptible: bool) -> None:
    kernel = kernel_of(name)
    first = finit(kernel).to(RunInit)
    waiter = finit(kernel)
    assert isinstance(waiter.step, Wait) and waiter.step.interruptible is interruptible
    assert first.errno is None


def test_another_inode_or_an_older_kernel_loads_by_itself() -> None:
    kernel, old = kernel_of(), kernel_of("6.4")
    first, second = finit(kernel).to(Copy), finit(old).to(Copy)
    assert finit(kernel, inode="a copy").kinds == [Read]
    assert finit(old).kinds == [Read]
    assert first.errno is second.errno is None


def test_a_load_that_is_given_up_gives_eintr_to_those_who_wait() -> None:
    kernel = kernel_of()
    first = finit(kernel).to(Check)
    second = finit(kernel)
    first.close()
    second.send()
    assert second.errno == errno.EINTR
    assert finit(kernel).kinds == [Read]  # the inode is forgotten


# -- sections 2.4 and 2.5 -------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "lost"), [("6.12", 0), ("6.4", (1 << 64) - 22)])
def test_a_file_that_cannot_be_read(name: str, lost: int) -> None:
    kernel = kernel_of(name)
    load = finit(kernel)
    load.send(Failure(errno.EINVAL))
    assert (load.kinds, load.errno) == ([Read], errno.EINVAL)
    assert counts(kernel) == (1, 0, 0, 0)
    assert kernel.statistics().invalid_kread_bytes == lost


@pytest.mark.parametrize(
    ("length", "number"), [(0, errno.ENOEXEC), (63, errno.ENOEXEC), (64, errno.EFAULT)]
)
def test_init_module_with_nothing_to_read(length: int, number: int) -> None:
    kernel = kernel_of()
    load = Driven(kernel, InitModule(None, length=length))
    assert (load.kinds, load.errno) == ([], number)
    assert counts(kernel) == (1, 0, 0, 0)
    assert kernel.statistics().invalid_kread_bytes == length


def test_a_file_that_does_not_unpack() -> None:
    kernel, packed = kernel_of(), image(size=SIZE, clen=300)
    packed.decompress_failure = Failure(errno.EINVAL, ("why",))
    load = finit(kernel, packed, flags=4).to(None)
    assert (load.kinds, load.errno) == ([Read, Decompress], errno.EINVAL)
    assert counts(kernel) == (0, 1, 0, 0)
    assert (kernel.statistics().invalid_decompress_bytes, kernel.memory.now) == (300, 0)
    assert kernel.log.lines() == ("why",)


# -- sections 2.6 to 2.9 --------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["becoming_failure", "layout_failure"])
def test_a_failed_check(field: str) -> None:
    kernel, bad = kernel_of(), image(size=SIZE, clen=300)
    setattr(bad, field, Failure(errno.ENOEXEC, ("why",)))
    load = finit(kernel, bad, flags=4).to(None)
    assert (load.kinds, load.errno) == ([Read, Decompress, Check], errno.ENOEXEC)
    assert counts(kernel) == (0, 0, 1, 0)
    assert (kernel.statistics().invalid_becoming_bytes, kernel.memory.now) == (SIZE + 300, 0)


def test_the_duplicate_check_comes_before_the_layout() -> None:
    kernel, bad = kernel_of(), image(size=SIZE)
    finit(kernel, image()).to(None)
    bad.layout_failure = Failure(errno.ENOEXEC)
    assert finit(kernel, bad).to(None).errno == errno.EEXIST


def test_no_memory_for_the_file_or_the_module() -> None:
    kernel = kernel_of(memory_limit=SIZE - 1)
    assert finit(kernel).to(None).errno == errno.ENOMEM
    assert counts(kernel) == (1, 0, 0, 0)
    kernel = kernel_of(memory_limit=SIZE + LAYOUT.total - 1)
    load = finit(kernel).to(None)
    assert (load.kinds, load.errno) == ([Read, Check], errno.ENOMEM)
    assert (counts(kernel), kernel.memory.now) == ((0, 0, 1, 0), 0)


# -- section 3 ------------------------------------------------------------------------------------


def test_a_duplicate_of_a_live_module() -> None:
    kernel = kernel_of()
    finit(kernel).to(None)
    load = finit(kernel).to(None)
    assert (load.kinds, load.errno) == ([Read, Check], errno.EEXIST)
    assert counts(kernel) == (0, 0, 1, 0)
    row = kernel.statistics().duplicates[0]
    assert (row.name, row.count, row.becoming, row.load) == ("m", 1, True, False)


def test_without_the_early_check_it_has_memory_first() -> None:
    kernel = kernel_of("6.4", "early-check")
    finit(kernel).to(None)
    load = finit(kernel).to(None)
    assert (load.kinds, load.errno) == ([Read, Check, Copy], errno.EEXIST)
    assert counts(kernel) == (0, 0, 0, 1)
    assert kernel.statistics().invalid_mod_bytes == 2 * SIZE
    assert kernel.memory.now == LAYOUT.core  # the first one's


@pytest.mark.parametrize(("result", "number"), [(0, errno.EEXIST), (-errno.EIO, errno.EBUSY)])
def test_a_duplicate_of_one_on_its_way_waits_and_fails_all_the_same(
    result: int, number: int
) -> None:
    kernel = kernel_of()
    first, copy = finit(kernel).to(RunInit), finit(kernel, inode="copy").to(Wait)
    assert copy.kinds == [Read, Check, Wait] and isinstance(copy.step, Wait)
    assert (copy.step.key, copy.step.interruptible, copy.step.timeout) == ("m", True, None)
    with kernel.lock:
        assert not copy.step.done()
    first.send(InitResult(result))
    with kernel.lock:
        assert copy.step.done()
    copy.send()
    assert copy.errno == number
    assert (counts(kernel), len(kernel.statistics().duplicates)) == ((0, 0, 1, 0), 1)


def test_a_signal_ends_the_wait_and_nothing_is_recorded() -> None:
    kernel = kernel_of()
    first, copy = finit(kernel).to(RunInit), finit(kernel, inode="copy").to(Wait)
    copy.throw(errno.EINTR)
    assert (first.errno, copy.errno) == (None, errno.EINTR)
    assert (counts(kernel), kernel.statistics().duplicates) == ((0, 0, 1, 0), ())
    assert kernel.memory.now == LAYOUT.total


def test_two_that_pass_the_early_check_together_meet_at_the_list() -> None:
    kernel = kernel_of()
    first, second = finit(kernel, inode="a").to(Copy), finit(kernel, inode="b").to(Copy)
    first.to(RunInit)
    second.to(Wait)
    assert second.kinds == [Read, Check, Copy, Wait]
    first.to(None)
    second.send()
    assert second.errno == errno.EEXIST
    row = kernel.statistics().duplicates[0]
    assert (row.becoming, row.load, counts(kernel)) == (False, True, (0, 0, 0, 1))


def test_a_driver_that_goes_away_leaves_nothing() -> None:
    kernel = kernel_of()
    for kind in (Read, Check, Copy, Relocate, RunInit):
        finit(kernel).to(kind).close()
        assert (kernel.memory.now, kernel.names()) == (0, ())
        assert kernel.module_patient_check_exists("m", 1)


# -- section 2.10 ---------------------------------------------------------------------------------


def load_failure(load: Driven, kernel: Kernel) -> int | None:
    """The errno of a load that failed after it had memory, and left nothing of that."""
    load.to(None)
    assert counts(kernel)[3] == 1
    assert kernel.statistics().invalid_mod_bytes == 2 * SIZE
    return load.errno


def test_a_symbol_that_is_missing() -> None:
    kernel = kernel_of()
    kernel.exporter = {"a": "absent"}.get
    needs = (Need("weak", weak=True), Need("a"), Need("printk"))
    load = finit(kernel, image(size=SIZE, needs=needs))
    assert load_failure(load, kernel) == errno.ENOENT
    assert load.kinds == [Read, Check, Copy]
    assert kernel.log.lines() == ("m: Unknown symbol a (err -2)",)  # as deps.kmsg has it
    assert (kernel.memory.now, kernel.names()) == (0, ())


def test_all_symbols_that_are_missing_are_told() -> None:
    kernel = kernel_of()
    kernel.exporter = lambda symbol: "absent"
    load = finit(kernel, image(size=SIZE, needs=(Need("a"), Need("b"), Need("w", weak=True))))
    assert load_failure(load, kernel) == errno.ENOENT
    assert [line.split()[3] for line in kernel.log.lines()] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "params", "number", "kinds"),
    [
        ({"needs": (Need("x", problem="why"),)}, "", errno.ENOEXEC, [Read, Check, Copy]),
        ({}, None, errno.EFAULT, [Read, Check, Copy, Relocate]),
        ({"exports": (Export("there"),)}, "", errno.ENOEXEC, [Read, Check, Copy, Relocate]),
        (
            {"parameters": {"n": Parameter("n", "int")}},
            "n=five",
            errno.EINVAL,
            [Read, Check, Copy, Relocate],
        ),
        ({"percpu": (1 << 20, 8)}, "", errno.ENOMEM, [Read, Check, Copy]),
    ],
)
def test_what_fails_once_a_module_has_memory(
    fields: dict[str, Any], params: str | None, number: int, kinds: list[type]
) -> None:
    kernel = kernel_of()
    finit(kernel, image("there", exports=(Export("there"),)), "other").to(None)
    before = kernel.memory.now
    load = finit(kernel, image(size=SIZE, **fields), params=params)
    assert load_failure(load, kernel) == number
    assert load.kinds == kinds
    assert (kernel.memory.now, kernel.names()) == (before, ("there",))


def test_exports_without_versions_need_force() -> None:
    fields: dict[str, Any] = {"crcs_missing": True, "modinfo": {"vermagic": ["6.12 modversions "]}}
    kernel = kernel_of()
    assert load_failure(finit(kernel, image(size=SIZE, **fields)), kernel) == errno.ENOEXEC
    assert finit(kernel_of(force_load=True), image(size=SIZE, **fields)).to(None).errno == 0


def waiting_for_owner(kernel: Kernel) -> tuple[Driven, Driven]:
    owner = finit(kernel, image("owner", exports=(Export("a"),)), "owner").to(RunInit)
    user = finit(kernel, image("user", size=SIZE, needs=(Need("a"),)), "user").to(Wait)
    assert isinstance(user.step, Wait)
    assert (user.step.key, user.step.interruptible, user.step.timeout) == ("owner", True, 30)
    return owner, user


def test_a_symbol_whose_owner_is_still_loading_is_waited_for() -> None:
    kernel = kernel_of()
    owner, user = waiting_for_owner(kernel)
    owner.to(None)
    user.send()
    assert user.to(None).errno == 0
    shown = kernel.loaded("owner")
    assert shown is not None and shown.users == ("user",)


def test_but_no_longer_than_30_seconds() -> None:
    kernel = kernel_of()
    _, user = waiting_for_owner(kernel)
    user.send()  # the driver resumes at the timeout
    assert load_failure(user, kernel) == errno.EBUSY
    assert "gave up waiting for init of module owner" in kernel.log.text()


def test_an_owner_whose_init_fails_is_gone() -> None:
    kernel = kernel_of()
    kernel.exporter = {"a": "owner"}.get
    owner, user = waiting_for_owner(kernel)
    owner.send(InitResult(-errno.ENODEV))
    user.send()
    assert load_failure(user, kernel) == errno.ENOENT


# -- section 2.11 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "result", "number"),
    [
        ("6.12", -errno.EIO, errno.EIO),
        ("6.12", -errno.EEXIST, errno.EEXIST),
        ("7.1", -errno.EEXIST, errno.EBUSY),
        ("7.1", -errno.EIO, errno.EIO),
        ("6.12", 7, 0),
    ],
)
def test_what_init_returns(name: str, result: int, number: int) -> None:
    kernel = kernel_of(name)
    load = finit(kernel).to(RunInit)
    load.send(InitResult(result))
    assert load.errno == number
    assert counts(kernel) == (0, 0, 0, 0)
    assert kernel.names() == (("m",) if result >= 0 else ())
    assert kernel.memory.now == (LAYOUT.core if result >= 0 else 0)


# -- section 2.12 ---------------------------------------------------------------------------------


def test_a_removal() -> None:
    kernel = kernel_of()
    finit(kernel).to(None)
    removal = Driven(kernel, DeleteModule("m"))
    assert removal.kinds == [RunExit]
    assert kernel.snapshot().modules[0].state == "going"
    assert finit(kernel).to(None).errno == errno.EBUSY  # a duplicate of one that goes
    assert removal.to(None).errno == 0
    assert (kernel.names(), kernel.memory.now) == ((), 0)
    assert finit(kernel).to(None).errno == 0


def test_a_removal_that_is_refused_takes_no_step() -> None:
    removal = Driven(kernel_of(), DeleteModule("m"))
    assert (removal.kinds, removal.errno) == ([], errno.ENOENT)


def test_every_release_takes_the_same_steps_where_nothing_is_in_the_way() -> None:
    for name in ("6.4", "6.5", "6.11", "6.14", "7.1"):
        config = replace(Config(), release=release(name))
        assert finit(Kernel(config)).to(None).kinds == [Read, Check, Copy, Relocate, RunInit]
