"""The whole engine: calls at random, on damaged files, by one caller or by several at once."""

from __future__ import annotations

import errno
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from loader.calls import Call, DeleteModule, FinitModule, InitModule
from loader.config import Config
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.module import LIVE
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.release import RELEASES, release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from tests.fuzz import seeds
from tests.fuzz.elf import damaged_module
from tests.fuzz.mutate import Chance
from tests.fuzz.target import Target, answer

# ENODEV and ENXIO come of init routines alone, so they tell which failures count nowhere.
_UNCOUNTED = (errno.ENODEV, errno.ENXIO)
_INIT = InitRoutines(
    {
        "fails": InitRoutine(returns=-errno.ENODEV),
        "ok_a": InitRoutine(seconds=0.001),
        "ok_b": InitRoutine(seconds=0.001, returns=-errno.ENXIO),
        "made": InitRoutine(returns=5, references=1),
    }
)
_SPECS = (
    ModuleSpec("plain"),
    ModuleSpec("fails", license="Proprietary"),
    ModuleSpec("giver", exports=("give",)),
    ModuleSpec("user", imports=("give",), depends=("giver",)),
    ModuleSpec("pair", exports=("give",), percpu=3000),
    ModuleSpec("stays", has_exit=False, parameters=(ParameterSpec("n", "int"),)),
)
_MADE = tuple(build_module(spec) for spec in _SPECS)
_NAMES = (*(spec.name for spec in _SPECS), "ok_a", "ok_b", "made", "exporter", "nothing", "")


class Step(NamedTuple):
    """A load of a file or its bytes (``data``), or the removal of ``name``."""

    data: bytes | None
    name: str = ""
    from_memory: bool = False
    flags: int = 0
    params: str | None = ""


class Run(NamedTuple):
    """What each caller does, on a kernel of that release."""

    callers: tuple[tuple[Step, ...], ...]
    release: str
    memory_limit: int | None


def make(chance: Chance) -> Run:
    return _run(chance, 1, 12)


def make_several(chance: Chance) -> Run:
    return _run(chance, 4, 5)


def _run(chance: Chance, callers: int, most: int) -> Run:
    return Run(
        tuple(
            tuple(_step(chance) for _ in range(chance.randrange(1, most + 1)))
            for _ in range(callers)
        ),
        chance.choice(tuple(RELEASES)),
        chance.choice((None, None, None, 60_000)),
    )


def _step(chance: Chance) -> Step:
    if chance.random() < 0.25:
        return Step(None, chance.choice(_NAMES), flags=chance.choice((0, 2048, 512)))
    data = chance.choice((*_MADE, *seeds.whole_modules()[:6]))
    if chance.random() < 0.5:
        data = damaged_module(chance, data)
    params = chance.choice(("", "", "n=1", "n=x", None))
    flags = chance.choice((0, 0, 0, 0, 1, 2, 4, 8))
    return Step(data, from_memory=chance.random() < 0.2, flags=flags, params=params)


# -- what must hold -------------------------------------------------------------------------------


class _Tally:
    """What the callers were answered."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loaded = 0
        self.failed = 0  # those that count
        self.duplicates = 0

    def add(self, call: Call, number: int) -> None:
        with self.lock:
            if isinstance(call, DeleteModule) or number in _UNCOUNTED:
                return
            if isinstance(call, FinitModule) and call.flags & ~7:
                return  # 2.1: EINVAL before anything is counted
            self.loaded += not number
            self.failed += bool(number)
            self.duplicates += number in (errno.EEXIST, errno.EBUSY)


def check(run: Run) -> str:
    with tempfile.TemporaryDirectory(prefix="modfs-fuzz-") as folder:
        config = Config(release=release(run.release), memory_limit=run.memory_limit)
        live = LiveKernel(config, init_routines=_INIT)
        tally = _Tally()
        errors: list[BaseException] = []

        def caller(number: int, steps: tuple[Step, ...]) -> None:
            try:
                for position, step in enumerate(steps):
                    _carry_out(live, step, Path(folder, f"{number}.{position}.ko"), tally)
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=caller, args=item) for item in enumerate(run.callers) if item
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        _check_state(live, tally)
    outcomes = Counter(loaded=tally.loaded, failed=tally.failed)
    return "loaded" if outcomes["loaded"] else "nothing loaded"


def _carry_out(live: LiveKernel, step: Step, path: Path, tally: _Tally) -> None:
    call: Call
    if step.data is None:
        call = DeleteModule(step.name, step.flags)
    elif step.from_memory:
        call = InitModule(step.data, step.params)
    else:
        path.write_bytes(step.data)
        call = FinitModule(path, step.params, step.flags)
    number = 0
    try:
        live.call(call)
    except LoadError as error:
        number = error.errno or 0
        kinds = {FinitModule: "finit_module", InitModule: "init_module"}
        if number not in _UNCOUNTED:
            answer(kinds.get(type(call), "delete_module"), number)
    tally.add(call, number)


def _check_state(live: LiveKernel, tally: _Tally) -> None:
    shown = live.snapshot()
    failed = (
        shown.failed_kreads
        + shown.failed_decompress
        + shown.failed_becoming
        + shown.failed_load_modules
    )
    assert shown.modcount == tally.loaded
    assert failed == tally.failed
    assert sum(row.count for row in shown.duplicates) == tally.duplicates
    kernel = live.kernel
    assert not kernel._idempotent and not live._queues
    modules = kernel._modules.values()
    assert all(module.state == LIVE for module in modules), "a module was left on its way"
    assert kernel.memory.now == sum(module.image.layout.core for module in modules)
    assert kernel._percpu == sum(module.percpu for module in modules)
    for module in modules:
        assert all(module in target.sources for target in module.targets)
        assert all(source.name in kernel._modules for source in module.sources)


TARGETS = (
    Target("engine", make, check, 300),
    Target("engine-threads", make_several, check, 100),
)
