"""A load or a removal that meets an error nobody expected leaves nothing behind.

A fault is put into each step in turn, and into what a thread may meet on its way.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.calls import Call, Caller, DeleteModule, FinitModule, InitModule
from loader.config import Config
from loader.engine import reader
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.threads import LiveKernel
from tests.loader.engine.test_threads import coming, errno_of, in_thread, make, wait_for

__all__ = ["make"]

LIMIT = 1 << 30  # bytes

# What each step of a load of ``user`` calls, which needs ``base`` and the kernel, and has
# parameters.
STEPS = (
    "idempotent",
    "module_patient_check_exists",
    "vmalloc",
    "module_augment_kernel_taints",
    "percpu_modalloc",
    "resolve_symbol",
    "depends_missing",
    "complete_formation",
    "parse_args",
    "sysfs_setup",
    "went_live",
)
FAULTS = ((MemoryError, errno.ENOMEM), (RuntimeError, errno.EIO))


@pytest.fixture
def live(make: Callable[..., Path]) -> LiveKernel:
    """``base`` is loaded, and memory is limited so that it is counted."""
    live = LiveKernel(
        Config(memory_limit=LIMIT),
        init_routines=InitRoutines({"user": InitRoutine(holds=("base",), returns=1)}),
    )
    live.call(FinitModule(make("base", exports=("give",))))
    return live


@pytest.fixture
def user(make: Callable[..., Path]) -> Path:
    return make(
        "user", imports=("give", "of_the_kernel"), exports=("more",), percpu=64, intree=False
    )


def failing(fault: type[Exception], after: int = 0) -> Callable[..., Any]:
    """A function that fails when it is called once more than so often."""
    left = [after]

    def fails(*arguments: object, **named: object) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise fault("put here by a test")

    return fails


def fail_in(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, fault: type[Exception], after: int
) -> None:
    real, fails = getattr(owner, name), failing(fault, after)
    monkeypatch.setattr(owner, name, lambda *given: (fails(), real(*given))[1])


def state(live: LiveKernel) -> object:
    """All that a load changes but for the statistics and the log."""
    kernel = live.kernel
    return (
        kernel.memory.now,
        dict(kernel._idempotent),
        kernel._percpu,
        live.snapshot().modules,
        {name: owner.name for name, (owner, _) in kernel._symbols._exports.items()},
        dict(live._queues),
        live._files._budget.left,
    )


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_in_any_step_of_a_load(
    live: LiveKernel,
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    after: int,
    fault: tuple[type[Exception], int],
) -> None:
    before = state(live)
    with monkeypatch.context() as patch:
        fail_in(patch, live.kernel, step, fault[0], after)
        number = errno_of(live, FinitModule(user))
    assert number in (fault[1], 0)
    if number:
        assert state(live) == before
        live.call(FinitModule(user))
    else:
        assert after, f"{step} is no step of this load"
    live.call(DeleteModule("user"))
    assert state(live) == before


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["mod_stat_bump_invalid", "mod_stat_bump_becoming"])
def test_counting_a_failure_may_fail(
    live: LiveKernel,
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fault: tuple[type[Exception], int],
) -> None:
    before = state(live)
    with monkeypatch.context() as patch:
        fail_in(patch, live.kernel, name, fault[0], 0)
        step = "parse_args" if name.endswith("invalid") else "vmalloc"
        fail_in(patch, live.kernel, step, fault[0], 0)
        assert errno_of(live, FinitModule(user)) == fault[1]
    assert state(live) == before


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", [FinitModule, InitModule])
@pytest.mark.parametrize("name", ["pread_all", "read_image"])
def test_a_fault_while_the_file_is_read(
    live: LiveKernel,
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: Callable[[Path], Call],
    fault: tuple[type[Exception], int],
) -> None:
    before, counted = state(live), live.snapshot().failed_kreads
    with monkeypatch.context() as patch:
        fail_in(patch, reader, name, fault[0], 0)
        assert errno_of(live, call(user)) == fault[1]
    assert state(live) == before
    # vmalloc that fails in kernel_read_file or copy_module_from_user is a failed kread.
    assert live.snapshot().failed_kreads == counted + (fault[0] is MemoryError)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_init_routine(
    live: LiveKernel,
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: tuple[type[Exception], int],
) -> None:
    before = state(live)
    with monkeypatch.context() as patch:
        fail_in(patch, InitRoutines, "of", fault[0], 0)
        assert errno_of(live, FinitModule(user)) == fault[1]
    assert state(live) == before


@pytest.mark.parametrize("fault", FAULTS)
def test_those_who_share_a_load_get_its_error(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fault: tuple[type[Exception], int]
) -> None:
    live = LiveKernel(Config(), init_routines=InitRoutines({"slow": InitRoutine(seconds=0.4)}))
    path = make("slow")
    fail_in(monkeypatch, live.kernel, "went_live", fault[0], 0)
    with in_thread(live, FinitModule(path)) as first:
        wait_for(coming(live, "slow"))
        assert errno_of(live, FinitModule(path)) == fault[1]
    assert first == [fault[1]]
    assert not live.snapshot().modules


# -- after its caller has gone --------------------------------------------------------------------


def interrupted(live: LiveKernel, path: Path) -> None:
    """Start a load, and leave while its init routine runs."""
    signal = threading.Event()
    with in_thread(live, FinitModule(path), Caller(signal.is_set)) as found:
        wait_for(coming(live, path.name.partition(".")[0]))
        signal.set()
        live.wake()
    assert found == [errno.EINTR]


@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS])
@pytest.mark.filterwarnings("error")  # what ends a thread with a traceback
def test_a_fault_in_a_load_whose_caller_has_gone(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    live = LiveKernel(Config(), init_routines=InitRoutines({"slow": InitRoutine(seconds=0.4)}))
    before = state(live)
    fail_in(monkeypatch, live.kernel, "went_live", fault, 0)
    interrupted(live, make("slow"))
    wait_for(lambda: state(live) == before)


def test_no_thread_can_be_had_to_go_on(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveKernel(Config(), init_routines=InitRoutines({"slow": InitRoutine(seconds=3600)}))
    before = state(live)
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if getattr(self, "_target", None) == live._finish:
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    interrupted(live, make("slow"))
    assert state(live) == before


# -- removal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_removal(
    live: LiveKernel, monkeypatch: pytest.MonkeyPatch, fault: tuple[type[Exception], int]
) -> None:
    with monkeypatch.context() as patch:
        fail_in(patch, live.kernel, "try_stop_module", fault[0], 0)
        assert errno_of(live, DeleteModule("base")) == fault[1]
    assert [module.state for module in live.snapshot().modules] == ["live"]
    live.call(DeleteModule("base"))
    assert live.kernel.memory.now == 0
