"""``modfs inspect`` of a distribution's whole tree, and the first load of a module.

Against what else reads such files: modinfo, zstd, the library by which they are unpacked.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import zstandard

from loader.calls import MODULE_INIT_COMPRESSED_FILE, FinitModule
from loader.config import Config
from loader.engine.threads import LiveKernel
from tests.bench import kernel_modules
from tests.bench.harness import MODFS, Command, Row, in_turn, run_quietly, timed

_LARGE = "xfs"  # a module of 4 MB


def rows() -> Iterable[Row]:
    name = ["modinfo", "-F", "name"]
    plain, xz, zst = kernel_modules.plain(), *map(kernel_modules.packed, (".xz", ".zst"))
    yield _row(".ko", plain, name, 1.5, rounds=9)
    yield _row(".ko.xz", xz, name, 1.0, rounds=3)
    yield _row(".ko.zst", zst, ["zstd", "-dcq"], 1.2, rounds=9)
    yield _first_load("its file", _LARGE, Path.read_bytes)
    yield _first_load("its .zst", _LARGE, lambda path: _unpacked(path.read_bytes()), ".zst")


# -- many -----------------------------------------------------------------------------------------


def _row(kind: str, modules: list[Path], other: list[str], target: float, rounds: int) -> Row:
    """Each time as if for the first time, but for what the host's kernel keeps of the files."""
    ours: Command = [MODFS, "inspect", *modules]
    theirs: Command = [*other, *modules]
    with _nothing_kept():
        pair = in_turn(
            lambda: timed(lambda: run_quietly(ours)),
            lambda: timed(lambda: run_quietly(theirs)),
            rounds,
        )
    return pair.row(f"modfs inspect of {len(modules):,} {kind}", " ".join(other), target)


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """Nothing is kept from run to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.devnull)
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
