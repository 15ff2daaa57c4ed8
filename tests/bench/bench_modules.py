"""``modfs inspect`` of a distribution's whole tree, and the first load of a module.

Against what else reads such files: modinfo, zstd, the library by which they are unpacked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import zstandard

from loader.calls import MODULE_INIT_COMPRESSED_FILE, FinitModule
from loader.config import Config
from loader.engine.threads import LiveKernel
from modfs import kept
from tests.bench import kernel_modules
from tests.bench.harness import MODFS, Command, Row, in_turn, run_quietly, timed

_LARGE = "xfs"  # a module of 4 MB


def rows() -> Iterable[Row]:
    name = ["modinfo", "-F", "name"]
    plain, xz, zst = kernel_modules.plain(), *map(kernel_modules.packed, (".xz", ".zst"))
    yield _row(plain, name, 1.5, rounds=9)
    yield _again(plain, rounds=9)
    yield _row(xz, name, 1.0, rounds=3)
    yield _row(zst, ["zstd", "-dcq"], 1.2, rounds=9)
    yield _again(zst, rounds=3)
    yield _first_load("its file", _LARGE, Path.read_bytes)
    yield _first_load("its .zst", _LARGE, lambda path: _unpacked(path.read_bytes()), ".zst")


# -- many -----------------------------------------------------------------------------------------


def _row(modules: list[Path], other: list[str], target: float, rounds: int) -> Row:
    """Each time as if for the first time, but for what the host's kernel keeps of the files."""
    theirs: Command = [*other, *modules]
    with _kept_in(Path(os.devnull)):
        pair = in_turn(
            lambda: _inspect(modules), lambda: timed(lambda: run_quietly(theirs)), rounds
        )
    return pair.row(_what(modules), " ".join(other), target)


def _again(modules: list[Path], rounds: int) -> Row:
    """With what the time before has found, and with nothing."""
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder, _kept_in(Path(folder)):
        _wait_until_settled(modules)

        def first() -> float:
            shutil.rmtree(Path(folder, "modfs"), ignore_errors=True)
            return _inspect(modules)

        def again() -> float:
            _inspect(modules)
            return _inspect(modules)

        pair = in_turn(again, first, rounds)
    return pair.row(f"{_what(modules)}, again", "the first time", 0.1)


def _what(modules: list[Path]) -> str:
    return f"modfs inspect of {len(modules):,} {''.join(modules[0].suffixes)}"


def _inspect(modules: list[Path]) -> float:
    return timed(lambda: run_quietly([MODFS, "inspect", modules[0].parent]))


def _wait_until_settled(modules: list[Path]) -> None:
    """Of what has just been unpacked nothing is kept."""
    changed = max(path.stat().st_ctime for path in modules)
    time.sleep(max(0.0, changed + kept.SETTLED + 1 - time.time()))


@contextlib.contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Where it is kept from run to run what was found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


# -- one ------------------------------------------------------------------------------------------


def _first_load(what: str, name: str, read: Callable[[Path], bytes], suffix: str = "") -> Row:
    """The whole call, of a module that the engine has never seen; what it needs is there."""
    *needed, file = kernel_modules.with_dependencies(name)
    flags = MODULE_INIT_COMPRESSED_FILE if suffix else 0
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder:
        if suffix:
            packed = Path(folder, file.name + suffix)
            packed.write_bytes(kernel_modules.zst(file.read_bytes()))
            file = packed

        def load() -> float:
            engine = LiveKernel(Config(compression="zstd"))
            for each in needed:
                engine.call(FinitModule(each))
            return timed(lambda: engine.call(FinitModule(file, flags=flags)))

        pair = in_turn(load, lambda: timed(lambda: read(file)), rounds=25)
    against = "reading and unpacking it" if suffix else "reading it"
    return pair.row(f"first load of {name}, {what}", against, 1.5)


def _unpacked(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)
