"""The engine on threads: waits, interrupts, errnos and counters of behaviour.md sections 2 to 5."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.calls import ANYONE, Call, Caller, DeleteModule, FinitModule, InitModule
from loader.config import BuiltFor, Config
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.threads import SHUT_DOWN, LiveKernel
from loader.errors import LoadError
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec

SLOW = 0.4  # seconds; long enough for threads to get to their waits


def errno_of(live: LiveKernel, call: Call, caller: Caller = ANYONE) -> int:
    try:
        live.call(call, caller)
    except LoadError as error:
        return error.errno or -1
    return 0


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a module file: ``make("name", copy=1, **fields of ModuleSpec)``."""

    def make(name: str, copy: int = 0, **fields: object) -> Path:
        path = tmp_path / f"{name}.{copy}.ko"
        path.write_bytes(build_module(ModuleSpec(name, **fields)))  # type: ignore[arg-type]
        return path

    return make


def engine(name: str = "6.12", *without: str, **routines: InitRoutine) -> LiveKernel:
    config = Config(release=release(name, without))
    return LiveKernel(config, init_routines=InitRoutines(routines))


@contextmanager
def in_thread(live: LiveKernel, call: Call, caller: Caller = ANYONE) -> Iterator[list[int]]:
    """Run a call beside the test; its errno is in the list once the block is left."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(errno_of(live, call, caller)))
    thread.start()
    yield found
    thread.join(20)
    assert not thread.is_alive()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def coming(live: LiveKernel, name: str) -> Callable[[], bool]:
    return lambda: any(m.name == name and m.state == "coming" for m in live.snapshot().modules)


def waiting(live: LiveKernel, count: int) -> Callable[[], bool]:
    return lambda: sum(queue.waiters for queue in live._queues.values()) >= count


def at_once(live: LiveKernel, paths: list[Path]) -> Counter[str]:
    results: Counter[str] = Counter()
    barrier = threading.Barrier(len(paths))

    def load(path: Path) -> None:
        barrier.wait()
        number = errno_of(live, FinitModule(path))
        results.update([errno.errorcode[number] if number else "OK"])

    threads = [threading.Thread(target=load, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# -- duplicates, section 3 ------------------------------------------------------------------------


def test_one_inode_is_loaded_once(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=SLOW))
    assert at_once(live, [make("slow")] * 30) == {"OK": 30}
    snapshot = live.snapshot()
    assert (snapshot.modcount, snapshot.failed_becoming) == (1, 0)
    assert not live.kernel._idempotent and not live._queues


def test_copies_are_not_merged(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=SLOW))
    paths = [make("slow", copy) for copy in range(8)]
    assert at_once(live, paths) == {"OK": 1, "EEXIST": 7}
    snapshot = live.snapshot()
    failed = snapshot.failed_becoming + snapshot.failed_load_modules
    assert (failed, snapshot.duplicates[0].count) == (7, 7)


def test_who_waited_for_a_failed_load_gets_ebusy(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=SLOW, returns=-errno.EIO))
    paths = [make("slow", copy) for copy in range(4)]
    assert at_once(live, paths) == {"EIO": 1, "EBUSY": 3}
    assert live.snapshot().modcount == 0


def test_before_the_early_check_every_duplicate_is_a_failed_load(
    make: Callable[..., Path],
) -> None:
    live = engine("6.4", "early-check")
    path = make("m")
    size = path.stat().st_size
    assert at_once(live, [path] * 5) == {"OK": 1, "EEXIST": 4}
    snapshot = live.snapshot()
    assert (snapshot.failed_becoming, snapshot.failed_load_modules) == (0, 4)
    assert snapshot.invalid_mod_bytes == 4 * 2 * size
    assert (snapshot.duplicates[0].becoming, snapshot.duplicates[0].load) == (False, True)


def test_init_module_is_never_merged(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=SLOW))
    path = make("slow")
    with in_thread(live, FinitModule(path)) as first:
        wait_for(coming(live, "slow"))
        assert errno_of(live, InitModule(path.read_bytes())) == errno.EEXIST
    assert first == [0]


def test_waiters_ignore_their_own_parameters(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=SLOW))
    path = make("slow", parameters=(ParameterSpec("n", "int"),))
    with in_thread(live, FinitModule(path)) as first:
        wait_for(coming(live, "slow"))
        assert errno_of(live, FinitModule(path, "n=nonsense")) == 0
    assert first == [0]


# -- interrupts -----------------------------------------------------------------------------------


class Signal:
    def __init__(self) -> None:
        self.pending = False
        self.caller = Caller(signal_pending=lambda: self.pending)

    def send(self, live: LiveKernel) -> None:
        self.pending = True
        live.wake()


def test_a_signal_ends_the_wait_and_the_failure_is_counted(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=30))
    signal = Signal()
    with in_thread(live, FinitModule(make("slow", 0))) as first:
        wait_for(coming(live, "slow"))
        with in_thread(live, FinitModule(make("slow", 1)), signal.caller) as second:
            wait_for(waiting(live, 2))
            signal.send(live)
        assert second == [errno.EINTR]
        snapshot = live.snapshot()
        assert (snapshot.failed_becoming, snapshot.duplicates) == (1, ())
        live.shutdown()
    assert first == [SHUT_DOWN]


@pytest.mark.parametrize("name", ["6.5", "6.11"])
def test_a_signal_frees_a_caller_who_waits_for_the_same_inode(
    make: Callable[..., Path], name: str
) -> None:
    live = engine(name, slow=InitRoutine(seconds=SLOW))
    path, signal = make("slow"), Signal()
    with in_thread(live, FinitModule(path)) as first:
        wait_for(coming(live, "slow"))
        with in_thread(live, FinitModule(path), signal.caller) as second:
            wait_for(waiting(live, 2))
            signal.send(live)
        assert second == [errno.EINTR]
    assert first == [0]
    assert live.snapshot().failed_becoming == 0


def test_init_goes_on_without_its_caller(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=SLOW))
    path, signal = make("slow"), Signal()
    with in_thread(live, FinitModule(path), signal.caller) as first:
        wait_for(coming(live, "slow"))
        signal.send(live)
    assert first == [errno.EINTR]
    assert coming(live, "slow")()
    wait_for(lambda: live.snapshot().modcount)
    assert not live.kernel._idempotent and not live._queues


def test_shutdown_ends_everything(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=60))
    with (
        in_thread(live, FinitModule(make("slow", 0))) as first,
        in_thread(live, FinitModule(make("slow", 1))) as second,
    ):
        wait_for(waiting(live, 2))
        live.shutdown()
    assert first == second == [SHUT_DOWN]
    assert errno_of(live, FinitModule(make("slow"))) == SHUT_DOWN
    assert live.snapshot().modules == ()


# -- reading the file -----------------------------------------------------------------------------


def test_what_cannot_be_read(make: Callable[..., Path], tmp_path: Path) -> None:
    live = engine()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "empty").touch()
    for path in (tmp_path, Path("/dev/null"), Path("/proc/version"), fifo, tmp_path / "empty"):
        assert errno_of(live, FinitModule(path)) == errno.EINVAL
    assert live.snapshot().failed_kreads == 5
    assert live.snapshot().invalid_kread_bytes == 0
    assert errno_of(live, FinitModule(tmp_path / "absent")) == errno.ENOENT
    assert live.snapshot().failed_kreads == 5


@pytest.mark.parametrize(
    ("name", "count", "size"), [("6.12", 0, 0), ("6.4", 2, (1 << 64) - 2 * errno.EBADF)]
)
def test_bad_descriptors(make: Callable[..., Path], name: str, count: int, size: int) -> None:
    live = engine(name)
    fd = os.open(make("m"), os.O_WRONLY)
    assert errno_of(live, FinitModule(fd)) == errno.EBADF
    os.close(fd)
    assert errno_of(live, FinitModule(-1)) == errno.EBADF
    snapshot = live.snapshot()
    assert (snapshot.failed_kreads, snapshot.invalid_kread_bytes) == (count, size)


def test_6_4_counts_the_errno_of_a_failed_read(tmp_path: Path) -> None:
    live = engine("6.4")
    assert errno_of(live, FinitModule(tmp_path)) == errno.EINVAL
    assert live.snapshot().invalid_kread_bytes == 18446744073709551594  # behaviour.md 2.4


def test_a_file_that_is_written_somewhere_is_busy(make: Callable[..., Path]) -> None:
    live, path = engine(), make("m")
    with path.open("r+b"):
        assert errno_of(live, FinitModule(path)) == errno.ETXTBSY
        assert live.snapshot().failed_kreads == 1
    assert errno_of(live, FinitModule(path)) == 0


def test_a_memfd_is_not_open_for_writing(make: Callable[..., Path]) -> None:
    live = engine()
    fd = os.memfd_create("module")
    os.write(fd, make("m").read_bytes())
    assert errno_of(live, FinitModule(fd)) == 0
    os.close(fd)


def test_a_changed_file_is_read_again(make: Callable[..., Path]) -> None:
    live, path = engine(), make("one")
    assert errno_of(live, FinitModule(path)) == 0
    path.write_bytes(build_module(ModuleSpec("two")))
    assert errno_of(live, FinitModule(path)) == 0
    assert [module.name for module in live.snapshot().modules] == ["two", "one"]


def test_flags(make: Callable[..., Path]) -> None:
    live, path = engine(), make("m")
    assert errno_of(live, FinitModule(path, flags=8)) == errno.EINVAL
    assert live.snapshot().failed_kreads == 0
    for flag in (1, 2):
        assert errno_of(live, FinitModule(path, flags=flag)) == errno.ENOEXEC
    assert live.snapshot().failed_becoming == 2


def test_without_the_capability(make: Callable[..., Path]) -> None:
    live, nobody = engine(), Caller(capable=False)
    assert errno_of(live, FinitModule(make("m")), nobody) == errno.EPERM
    assert errno_of(live, InitModule(b""), nobody) == errno.EPERM
    assert errno_of(live, DeleteModule("m"), nobody) == errno.EPERM


def test_init_module_buffers() -> None:
    """behaviour.md 2.4: the length argument is counted."""
    live = engine()
    assert errno_of(live, InitModule(None, length=100_000)) == errno.EFAULT
    assert errno_of(live, InitModule(None, length=10)) == errno.ENOEXEC
    assert errno_of(live, InitModule(bytes(63))) == errno.ENOEXEC
    snapshot = live.snapshot()
    assert (snapshot.failed_kreads, snapshot.invalid_kread_bytes) == (3, 100_073)


# -- checks that need the configuration -----------------------------------------------------------


def test_blacklist_and_vermagic(make: Callable[..., Path]) -> None:
    config = Config(blacklist=frozenset(["bad"]), built_for=BuiltFor(vermagic="6.12.0 other "))
    live = LiveKernel(config)
    assert errno_of(live, FinitModule(make("bad"))) == errno.EPERM
    assert errno_of(live, FinitModule(make("m", vermagic="6.12.9 SMP "))) == errno.ENOEXEC
    assert live.snapshot().failed_becoming == 2
    assert live.kmsg() == (
        "Module bad is blacklisted\nm: version magic '6.12.9 SMP ' should be '6.12.0 other '\n"
    )


def test_a_null_parameter_string_is_noticed_late(make: Callable[..., Path]) -> None:
    live = engine()
    assert errno_of(live, FinitModule(make("m"), None)) == errno.EFAULT
    assert live.snapshot().failed_load_modules == 1


def test_memory_limit(make: Callable[..., Path]) -> None:
    path = make("m", data=1 << 20)
    size = path.stat().st_size
    for limit, field in ((size - 1, "failed_kreads"), (size + 4096, "failed_becoming")):
        live = LiveKernel(Config(memory_limit=limit))
        assert errno_of(live, FinitModule(path)) == errno.ENOMEM
        assert getattr(live.snapshot(), field) == 1
        assert live.kernel.memory.now == 0


def test_memory_is_given_back(make: Callable[..., Path]) -> None:
    live = LiveKernel(Config(memory_limit=1 << 30))
    path = make("m")
    live.call(FinitModule(path))
    layout = live.image(path).layout
    assert live.kernel.memory.now == layout.core
    assert errno_of(live, FinitModule(path)) == errno.EEXIST
    assert live.kernel.memory.now == layout.core
    live.call(DeleteModule("m"))
    assert live.kernel.memory.now == 0
    assert live.kernel.memory.peak >= layout.total


# -- symbols, init, removal -----------------------------------------------------------------------


def test_dependencies_hold_a_reference(make: Callable[..., Path]) -> None:
    live = engine()
    user = make("user", imports=("give",), depends=("giver",))
    assert errno_of(live, FinitModule(user)) == errno.ENOENT
    assert errno_of(live, FinitModule(make("giver", exports=("give",)))) == 0
    assert errno_of(live, FinitModule(user)) == 0
    giver = live.snapshot().modules[1]
    assert (giver.refcount, giver.users) == (1, ("user",))
    assert errno_of(live, DeleteModule("giver")) == errno.EAGAIN
    assert errno_of(live, DeleteModule("user")) == 0
    assert errno_of(live, DeleteModule("giver")) == 0


def test_a_symbol_may_be_another_modules_than_the_one_it_was_built_for(
    make: Callable[..., Path],
) -> None:
    """Recorded: the kernel asks for the symbol; what .modinfo depends on is modprobe's matter."""
    live = engine()
    assert errno_of(live, FinitModule(make("twin", exports=("give",)))) == 0
    user = make("user", imports=("give",), depends=("giver",))
    assert errno_of(live, FinitModule(user)) == 0


def test_a_symbol_of_a_coming_module_is_waited_for(make: Callable[..., Path]) -> None:
    live = engine(giver=InitRoutine(seconds=SLOW))
    with in_thread(live, FinitModule(make("giver", exports=("give",)))):
        wait_for(coming(live, "giver"))
        assert errno_of(live, FinitModule(make("user", imports=("give",)))) == 0
    assert [module.name for module in live.snapshot().modules] == ["user", "giver"]


def test_one_symbol_from_two_modules(make: Callable[..., Path]) -> None:
    live = engine()
    assert errno_of(live, FinitModule(make("a", exports=("give",)))) == 0
    assert errno_of(live, FinitModule(make("b", exports=("give",)))) == errno.ENOEXEC
    assert "b: exports duplicate symbol give (owned by a)\n" in live.kmsg()


def test_gpl_only_symbols(make: Callable[..., Path]) -> None:
    live = engine()
    live.call(FinitModule(make("giver", exports_gpl=("give",))))
    user = make("user", imports=("give",), license="Proprietary")
    assert errno_of(live, FinitModule(user)) == errno.ENOENT


def test_init_results(make: Callable[..., Path]) -> None:
    live = engine(
        bad=InitRoutine(returns=-errno.ENODEV),
        odd=InitRoutine(returns=7),
        held=InitRoutine(references=1),
    )
    assert errno_of(live, FinitModule(make("bad"))) == errno.ENODEV
    assert live.snapshot().failed_load_modules == 0
    assert errno_of(live, FinitModule(make("odd"))) == 0
    assert errno_of(live, FinitModule(make("held"))) == 0
    assert errno_of(live, DeleteModule("held")) == errno.EAGAIN
    assert live.snapshot().modcount == 2


@pytest.mark.parametrize(("name", "number"), [("6.18", errno.EEXIST), ("7.1", errno.EBUSY)])
def test_init_that_returns_eexist(make: Callable[..., Path], name: str, number: int) -> None:
    live = engine(name, m=InitRoutine(returns=-errno.EEXIST))
    assert errno_of(live, FinitModule(make("m"))) == number


def test_removal(make: Callable[..., Path]) -> None:
    live = engine(slow=InitRoutine(seconds=SLOW))
    assert errno_of(live, DeleteModule("m")) == errno.ENOENT
    assert errno_of(live, DeleteModule("")) == errno.ENOENT
    assert errno_of(live, DeleteModule("x" * 56)) == errno.ENOENT
    live.call(FinitModule(make("stays", has_exit=False)))
    assert errno_of(live, DeleteModule("stays")) == errno.EBUSY
    with in_thread(live, FinitModule(make("slow"))):
        wait_for(coming(live, "slow"))
        assert errno_of(live, DeleteModule("slow")) == errno.EBUSY


# -- bounds ---------------------------------------------------------------------------------------


def test_nothing_is_kept_for_a_request(make: Callable[..., Path]) -> None:
    live, path = engine(), make("m")
    live.call(FinitModule(path))
    for _ in range(5000):
        errno_of(live, FinitModule(path))
    assert live.snapshot().duplicates[0].count == 5000
    assert not live.kernel._idempotent and not live._queues
    assert len(live._files.images._images) == 1
    for _ in range(3000):
        errno_of(live, FinitModule(path, flags=4))  # logs a line each
    assert len(live.kernel.log.lines()) <= 4096


def test_no_memory_to_read_a_file_is_a_failed_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 2.4: ENOMEM counts, without bytes."""

    def no_memory(fd: int, size: int) -> bytes:
        raise MemoryError

    path = tmp_path / "m.ko"
    path.write_bytes(build_module(ModuleSpec("m")))
    monkeypatch.setattr("loader.engine.reader.pread_all", no_memory)
    live = LiveKernel()
    with pytest.raises(LoadError) as caught:
        live.call(FinitModule(path))
    assert caught.value.errno == errno.ENOMEM
    assert (live.snapshot().failed_kreads, live.snapshot().invalid_kread_bytes) == (1, 0)
