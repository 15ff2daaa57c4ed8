"""Each step that the kernel takes under its lock: counters, memory, the list, removal.

The order of the steps is test_sequence's; what they come to with real threads test_threads'.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import pytest

from loader.config import Config
from loader.engine.module import COMING, GOING, LIVE, UNFORMED, InitResult, Module
from loader.engine.state import Kernel, Memory
from loader.engine.stats import BECOMING, LOAD
from loader.errors import Failure, LoadError
from loader.image.contents import Export
from loader.image.parameters import Parameter
from tests.loader.engine.images import LAYOUT, PAGE, image


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(Config())


def listed(kernel: Kernel, name: str = "m", state: str = LIVE, **fields: Any) -> Module:
    """A module in the kernel's list, with the memory that it takes there."""
    module = Module(image(name, **fields))
    assert kernel.module_patient_check_exists(name, LOAD, module)
    kernel.vmalloc(LAYOUT.total)
    if state != UNFORMED:
        kernel.complete_formation(module)
        kernel.sysfs_setup(module)
    if state in (LIVE, GOING):
        kernel.went_live(module, InitResult())
    module.state = state
    return module


def errno_of(step: Callable[[], object]) -> int:
    with pytest.raises(LoadError) as caught:
        step()
    return caught.value.errno or 0


# -- memory ---------------------------------------------------------------------------------------


def test_memory_has_a_peak_and_a_limit() -> None:
    memory, freed = Memory(100), list[int]()
    memory.freed = freed.append
    memory.take(60)
    memory.take(40)
    assert errno_of(lambda: memory.take(1)) == errno.ENOMEM
    memory.give(70)
    memory.give(0)
    assert (memory.now, memory.peak, freed) == (30, 100, [70])
    memory.take(70)
    assert memory.peak == 100


def test_without_a_limit_memory_has_no_end() -> None:
    memory = Memory(None)
    memory.take(1 << 80)
    assert memory.peak == 1 << 80


# -- what failed (behaviour.md sections 2.4 to 2.10) ----------------------------------------------


def test_each_failure_has_its_count_and_its_bytes(kernel: Kernel) -> None:
    """len is 1000 bytes and clen 300: becoming loses both, load twice len and clen."""
    packed = image(size=1000, clen=300)
    kernel.kread_failed(64)
    kernel.decompress_failed(packed)
    kernel.mod_stat_bump_becoming(packed)
    kernel.mod_stat_bump_invalid(packed)
    found = kernel.statistics()
    assert (found.failed_kreads, found.invalid_kread_bytes) == (1, 64)
    assert (found.failed_decompress, found.invalid_decompress_bytes) == (1, 300)
    assert (found.failed_becoming, found.invalid_becoming_bytes) == (1, 1300)
    assert (found.failed_load_modules, found.invalid_mod_bytes) == (1, 2300)
    assert found.modcount == 0


def test_a_failed_check_is_logged(kernel: Kernel) -> None:
    error = kernel.failed(Failure(errno.EPERM, ("one", "two")))
    assert error.errno == errno.EPERM
    assert kernel.log.lines() == ("one", "two")


# -- one load for one inode (behaviour.md section 2.3) --------------------------------------------


def test_who_comes_meanwhile_gets_the_result_of_the_first(kernel: Kernel) -> None:
    woken: list[Hashable] = []
    kernel.wakeup = woken.append
    assert kernel.idempotent("inode") is None
    assert kernel.idempotent("another inode") is None
    second, third = kernel.idempotent("inode"), kernel.idempotent("inode")
    assert second is not None and second is third and not second.done
    kernel.idempotent_complete("inode", errno.EPERM)
    assert (second.done, second.errno, woken) == (True, errno.EPERM, [second])


def test_a_load_that_is_over_is_forgotten(kernel: Kernel) -> None:
    for _ in range(2):
        assert kernel.idempotent("inode") is None
        kernel.idempotent_complete("inode", 0)


# -- the duplicate check (behaviour.md section 3) -------------------------------------------------


def test_a_free_name(kernel: Kernel) -> None:
    assert kernel.module_patient_check_exists("m", BECOMING)
    assert kernel.names() == ()
    module = Module(image("m"))
    assert kernel.module_patient_check_exists("m", LOAD, module)
    assert not kernel.module_patient_check_exists("m", LOAD)


@pytest.mark.parametrize("state", [UNFORMED, COMING])
def test_one_that_is_on_its_way_is_waited_for(kernel: Kernel, state: str) -> None:
    listed(kernel, state=state)
    assert not kernel.module_patient_check_exists("m", BECOMING)
    assert not kernel.finished_loading("m")
    assert kernel.statistics().duplicates == ()


@pytest.mark.parametrize(("state", "number"), [(LIVE, errno.EEXIST), (GOING, errno.EBUSY)])
def test_one_that_is_there_is_a_duplicate(kernel: Kernel, state: str, number: int) -> None:
    listed(kernel, state=state)
    assert kernel.finished_loading("m")
    assert errno_of(lambda: kernel.module_patient_check_exists("m", BECOMING)) == number
    row = kernel.statistics().duplicates[0]
    assert (row.name, row.count, row.becoming, row.load) == ("m", 1, True, False)


def test_after_a_wait_the_load_fails_whatever_became_of_the_other(kernel: Kernel) -> None:
    module = listed(kernel, state=COMING)
    kernel.went_live(module, InitResult())
    assert kernel.duplicate_failed("m", LOAD).errno == errno.EEXIST
    kernel.free_module(module)
    assert kernel.finished_loading("m")
    assert kernel.duplicate_failed("m", LOAD).errno == errno.EBUSY


def test_rows_stay_where_they_were_and_collect_reasons(kernel: Kernel) -> None:
    for name, reason in (("a", LOAD), ("b", BECOMING), ("a", BECOMING), ("c", LOAD)):
        kernel.duplicate_failed(name, reason)
    rows = kernel.snapshot().duplicates
    assert [(row.name, row.count, row.becoming, row.load) for row in rows] == [
        ("c", 1, False, True),
        ("b", 1, True, False),
        ("a", 2, True, True),
    ]


# -- on its way -----------------------------------------------------------------------------------


def test_the_totals_grow_by_the_sizes_with_init_memory(kernel: Kernel) -> None:
    """LAYOUT has eight pages, three of them code; four are freed after init."""
    woken: list[Hashable] = []
    kernel.wakeup = woken.append
    listed(kernel)
    found = kernel.snapshot()
    assert (found.modcount, found.total_mod_size, found.total_text_size) == (1, 8 * PAGE, 3 * PAGE)
    assert (found.modules[0].core_size, found.modules[0].init_size) == (4 * PAGE, 0)
    assert (kernel.memory.now, kernel.memory.peak, woken) == (4 * PAGE, 8 * PAGE, ["m"])


def test_a_positive_result_is_reported(kernel: Kernel) -> None:
    """The text is in tests/oracle/data/transcripts/linux-6.12/initfail.kmsg."""
    kernel.went_live(listed(kernel, "ret_pos", COMING), InitResult(7))
    (said,) = kernel.log.lines()  # one message
    assert said.splitlines() == [
        "do_init_module: 'ret_pos'->init suspiciously returned 7, it should follow 0/-E convention",
        "do_init_module: loading module anyway...",
    ]


def test_what_init_holds_cannot_be_removed_until_its_holder_goes(kernel: Kernel) -> None:
    listed(kernel, "held")
    holder = listed(kernel, "holder", COMING)
    kernel.went_live(holder, InitResult(references=1, holds=("held", "absent")))
    for name in ("held", "holder"):
        assert errno_of(partial(kernel.try_stop_module, name, 0)) == errno.EAGAIN
    kernel.free_module(holder)
    assert kernel.try_stop_module("held", 0).name == "held"


def test_a_load_that_failed_leaves_nothing(kernel: Kernel) -> None:
    listed(kernel, "owner", exports=(Export("a"),))
    user = listed(kernel, "user", COMING, exports=(Export("b"),), percpu=(64, 8))
    assert kernel.resolve_symbol(user, "a") is None
    kernel.percpu_modalloc(user)
    kernel.unlink(user)
    assert kernel.names() == ("owner",)
    assert kernel.loaded("owner") and not kernel.loaded("owner").users  # type: ignore[union-attr]
    listed(kernel, "other", exports=(Export("b"),))


def test_percpu_memory_is_eight_kilobytes(kernel: Kernel) -> None:
    """PERCPU_MODULE_RESERVE, include/linux/percpu.h."""
    first = listed(kernel, "first", percpu=(8 << 10, 8))
    kernel.percpu_modalloc(first)
    second = listed(kernel, "second", percpu=(1, 1))
    assert errno_of(lambda: kernel.percpu_modalloc(second)) == errno.ENOMEM
    assert "percpu" in kernel.log.text()
    kernel.free_module(first)
    kernel.percpu_modalloc(second)
    kernel.percpu_modalloc(listed(kernel, "none"))


def test_symbols_of_no_module_are_the_kernels_or_missing(kernel: Kernel) -> None:
    user = listed(kernel, "user", COMING)
    kernel.exporter = {"theirs": "other", "own": "user"}.get
    assert kernel.resolve_symbol(user, "printk") is None
    assert kernel.resolve_symbol(user, "own") is None
    assert kernel.resolve_symbol(user, "theirs") == errno.ENOENT


def test_a_module_that_is_needed_may_be_missing(kernel: Kernel) -> None:
    user = Module(image("user", modinfo={"depends": ["a-b,c"]}))
    assert kernel.depends_missing(user)
    listed(kernel, "a_b")
    assert kernel.depends_missing(user)
    listed(kernel, "c")
    assert not kernel.depends_missing(user)


def test_parameters_are_set_or_the_load_ends(kernel: Kernel) -> None:
    parameters = {"n": Parameter("n", "int")}
    module = listed(kernel, state=COMING, parameters=parameters)
    kernel.parse_args(module, "n=5 unknown=1")
    assert module.values == {"n": "5"}
    assert kernel.log.lines() == ("m: unknown parameter 'unknown' ignored",)  # initfail.kmsg
    assert errno_of(lambda: kernel.parse_args(module, "n=five")) == errno.EINVAL
    assert (module.state, module.values) == (GOING, {"n": "5"})


# -- removal (behaviour.md section 2.12) ----------------------------------------------------------


@pytest.mark.parametrize("name", ["", "absent", "x" * 56, "x" * 5000])
def test_no_such_module(kernel: Kernel, name: str) -> None:
    assert errno_of(lambda: kernel.try_stop_module(name, 0)) == errno.ENOENT


def test_a_name_that_is_not_mapped(kernel: Kernel) -> None:
    assert errno_of(lambda: kernel.try_stop_module(None, 0)) == errno.EFAULT


@pytest.mark.parametrize(
    ("state", "number"),
    [(UNFORMED, errno.ENOENT), (COMING, errno.EBUSY), (GOING, errno.EBUSY)],
)
def test_one_that_is_not_live(kernel: Kernel, state: str, number: int) -> None:
    listed(kernel, state=state)
    assert errno_of(lambda: kernel.try_stop_module("m", 0)) == number


def test_users_come_before_all_else(kernel: Kernel) -> None:
    owner = listed(kernel, "owner", exports=(Export("a"),), has_exit=False)
    user = listed(kernel, "user", COMING)
    assert kernel.resolve_symbol(user, "a") is None
    assert errno_of(lambda: kernel.try_stop_module("owner", 0)) == errno.EAGAIN
    kernel.free_module(user)
    assert errno_of(lambda: kernel.try_stop_module("owner", 0)) == errno.EBUSY
    assert owner.state == LIVE


@pytest.mark.parametrize("force_unload", [True, False])
def test_only_a_kernel_built_to_force_forces(force_unload: bool) -> None:
    kernel = Kernel(Config(force_unload=force_unload))
    listed(kernel, has_exit=False)
    if force_unload:
        assert kernel.try_stop_module("m", os.O_TRUNC).state == GOING
    else:
        assert errno_of(lambda: kernel.try_stop_module("m", os.O_TRUNC)) == errno.EBUSY


def test_one_that_goes_gives_its_memory_back_and_its_taints_are_noted(kernel: Kernel) -> None:
    module = listed(kernel)
    module.taints = {"O", "E"}
    assert kernel.try_stop_module("m", 0) is module
    assert kernel.snapshot().modules[0].state == GOING
    kernel.free_module(module)
    found = kernel.snapshot()
    assert (found.modules, kernel.memory.now) == ((), 0)
    assert [(row.name, row.taints) for row in found.unloaded_tainted] == [("m", "OE")]
    assert (found.modcount, found.total_mod_size) == (1, 8 * PAGE)  # no counter ever goes down


def test_one_whose_init_failed_gives_all_back(kernel: Kernel) -> None:
    kernel.free_module(listed(kernel, state=COMING))
    assert kernel.memory.now == 0


# -- what can be read -----------------------------------------------------------------------------


def test_the_newest_module_is_first_and_unformed_ones_are_not_shown(kernel: Kernel) -> None:
    listed(kernel, "a")
    listed(kernel, "b", COMING)
    listed(kernel, "c", UNFORMED)
    assert kernel.names() == tuple(m.name for m in kernel.snapshot().modules) == ("b", "a")
    assert kernel.loaded("c") is kernel.loaded("absent") is None
    with kernel.lock:
        assert [kernel.is_live(name) for name in "abcd"] == [True, False, False, False]


def test_statistics_have_no_more_rows_than_are_printed(kernel: Kernel) -> None:
    for number in range(200):
        kernel.duplicate_failed(f"m{number}", LOAD)
    assert len(kernel.snapshot().duplicates) == 200
    few = kernel.statistics()
    assert len(few.duplicates) >= 111  # behaviour.md section 1: no more than 111 rows are printed
    assert few.duplicates == kernel.snapshot().duplicates[: len(few.duplicates)]
    assert few.modules == ()


def test_a_dangerous_option_taints(kernel: Kernel) -> None:
    """TAINT_USER is bit 6; when it is loaded, and when its file is written to."""
    parameters = {"p": Parameter("p", "int", mode=0o644, unsafe=True)}
    module = listed(kernel, parameters=parameters)
    assert kernel.tainted() == 0
    kernel.set_parameter("m", "p", "1")
    assert kernel.tainted() == 1 << 6
    kernel.parse_args(module, "p=2")
    assert kernel.log.lines() == ("Setting dangerous option p - tainting kernel",) * 2
