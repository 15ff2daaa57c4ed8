"""Nothing that a request makes is left to the garbage collector.

An error refers to its traceback, that to the frames, and a frame that keeps the error in a name
closes the ring. Each request would leave it to be found later, and a look at all that is there
costs a fifth of every duplicate.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.calls import Call, DeleteModule, FinitModule, InitModule
from loader.config import Config
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from tests.modfs.doors import Door

_TIMES = 20
FAILING = InitRoutines({"failing": InitRoutine(returns=-19)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = ModuleSpec("m", parameters=(ParameterSpec("n"),))
    (tmp_path / "m.ko").write_bytes(build_module(spec))
    (tmp_path / "failing.ko").write_bytes(build_module(ModuleSpec("failing")))
    (tmp_path / "needy.ko").write_bytes(build_module(ModuleSpec("needy", depends=("absent",))))
    (tmp_path / "empty.ko").write_bytes(b"")
    (tmp_path / "odd.ko").write_bytes(b"x" * 3000)
    (tmp_path / "odd.ko.xz").write_bytes(b"\xfd7zXZ\0" + b"x" * 300)
    return tmp_path


def garbage(do: Callable[[], object]) -> int:
    """How many objects are found that only refer to each other, after doing it some times."""
    do()
    gc.collect()
    gc.disable()
    try:
        for _ in range(_TIMES):
            do()
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("kernel", ["6.4", "6.12"])
@pytest.mark.parametrize(
    "call",
    [
        FinitModule("m.ko"),  # it is there: a duplicate
        FinitModule("m.ko", "n=x"),
        FinitModule("failing.ko"),
        FinitModule("needy.ko"),
        FinitModule("empty.ko"),
        FinitModule("odd.ko"),
        FinitModule("odd.ko.xz", flags=4),
        FinitModule("m.ko", flags=64),
        FinitModule("absent.ko"),
        FinitModule("."),
        FinitModule(1 << 20),
        InitModule(b""),
        InitModule(b"x" * 3000),
        InitModule(None),
        InitModule("m.ko"),
        DeleteModule("absent"),
        DeleteModule(None),
    ],
    ids=str,
)
def test_calls(call: Call, kernel: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    live = LiveKernel(Config(release(kernel)), init_routines=FAILING)
    live.call(FinitModule("m.ko"))

    def ask() -> None:
        with pytest.raises(LoadError):
            live.call(call)

    assert garbage(ask) == 0


@pytest.mark.parametrize(
    "line",
    [
        "insmod m.ko",
        "insmod absent.ko",
        "insmod -x",
        "rmmod absent",
        "modprobe absent",
        "modprobe -r absent",
        "finit_module m.ko",
        "finit_module --fd 1000",
        "request_module absent",
        "get_fs_type absent",
        "no request",
    ],
)
def test_lines(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    door = Door()
    door.ask("insmod m.ko")
    with door.opened() as handle:
        assert garbage(lambda: door.write(handle, os.fsencode(line) + b"\n")) == 0
