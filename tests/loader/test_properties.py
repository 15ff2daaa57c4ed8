"""What must hold whatever is asked: random requests, damaged modules, odd sections."""

from __future__ import annotations

import errno
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.calls import DeleteModule, FinitModule, InitModule
from loader.config import PAGE_SIZE, Config
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.stats import Snapshot
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.image.elf import ElfModule
from loader.image.layout import Layout, layout
from loader.image.module_image import read_image
from loader.image.signature import check
from loader.packings import NAMES
from loader.release import RELEASES, release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from modfs import texts

RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
MODULES = (
    ModuleSpec("plain"),
    ModuleSpec("giver", exports=("give",)),
    ModuleSpec(
        "user", imports=("give",), depends=("giver",), parameters=(ParameterSpec("n", "int"),)
    ),
    ModuleSpec("stays", has_exit=False, intree=False),
    ModuleSpec("fails", license="Proprietary"),
)
ENVIRONMENT = InitRoutines(
    {"fails": InitRoutine(returns=-errno.ENODEV), "plain": InitRoutine(returns=3)}
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("modules")
    made = []
    for spec in MODULES:
        for copy in range(2):
            path = folder / f"{spec.name}.{copy}.ko"
            path.write_bytes(build_module(spec))
            made.append(path)
    broken = folder / "broken.ko"
    broken.write_bytes(build_module(MODULES[0])[:900])
    return [*made, broken, folder, folder / "absent.ko"]


requests = st.one_of(
    st.tuples(
        st.just("load"),
        st.integers(0, 2 * len(MODULES) + 2),
        st.sampled_from([0, 0, 0, 0, 1, 4, 8]),
        st.sampled_from(["", "n=5", "n=x", "other=1"]),
    ),
    st.tuples(st.just("remove"), st.sampled_from([*(m.name for m in MODULES), "absent", ""])),
    st.tuples(st.just("buffer"), st.integers(0, 4000)),
)
releases = st.sampled_from(
    [release(name) for name in RELEASES] + [release("6.4", ("early-check",))]
)


def check_invariants(snapshot: Snapshot) -> None:
    """Each of these is in behaviour.md."""
    assert snapshot.wasted_bytes == sum(
        (
            snapshot.invalid_kread_bytes,
            snapshot.invalid_decompress_bytes,
            snapshot.invalid_becoming_bytes,
            snapshot.invalid_mod_bytes,
        )
    ) % (1 << 64)
    assert snapshot.total_mod_size % PAGE_SIZE == snapshot.total_text_size % PAGE_SIZE == 0
    duplicates = sum(duplicate.count for duplicate in snapshot.duplicates)
    assert duplicates <= snapshot.failed_becoming + snapshot.failed_load_modules
    assert all(d.becoming or d.load for d in snapshot.duplicates)
    values = dict(
        line.split("\t")
        for line in texts.stats(snapshot).splitlines()[:18]
        if line.count("\t") == 1
    )
    average = next((int(v) for k, v in values.items() if "Average mod size" in k), None)
    if snapshot.modcount and snapshot.total_mod_size:
        assert average == math.ceil(snapshot.total_mod_size / snapshot.modcount)


@RELAXED
@given(st.lists(requests, max_size=40), releases)
def test_random_requests(files: list[Path], sequence: list[tuple[Any, ...]], running: Any) -> None:
    live = LiveKernel(Config(release=running), init_routines=ENVIRONMENT)
    before = live.snapshot()
    first_duplicates: list[str] = []
    for kind, *arguments in sequence:
        outcome = "OK"
        try:
            if kind == "load":
                index, flags, params = arguments
                live.call(FinitModule(files[index], params, flags))
            elif kind == "remove":
                live.call(DeleteModule(*arguments))
            else:
                live.call(InitModule(build_module(MODULES[0])[: arguments[0]]))
        except LoadError as error:
            outcome = error.name
            assert error.errno
        after = live.snapshot()
        check_invariants(after)
        changed = [
            field
            for field in (
                "modcount",
                "failed_kreads",
                "failed_decompress",
                "failed_becoming",
                "failed_load_modules",
            )
            if getattr(after, field) != getattr(before, field)
        ]
        assert len(changed) <= 1  # one call, one outcome
        assert (changed == ["modcount"]) == (outcome == "OK" and kind != "remove")
        assert all(getattr(after, f) == getattr(before, f) + 1 for f in changed)
        for duplicate in reversed(after.duplicates):
            if duplicate.name not in first_duplicates:
                first_duplicates.append(duplicate.name)
        assert [d.name for d in after.duplicates] == first_duplicates[::-1]  # newest first
        before = after
    assert not live.kernel._idempotent


@settings(RELAXED, max_examples=400)
@given(
    st.integers(0, 2**32),
    st.sampled_from(MODULES),
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from(NAMES),
    releases,
)
def test_damage_gives_an_errno_and_nothing_else(
    seed: int, spec: ModuleSpec, flags: int, compression: str, running: Any
) -> None:
    chance = random.Random(seed)
    data = bytearray(build_module(spec))
    for _ in range(chance.choice([1, 1, 2, 5, 50])):
        where = chance.choice([range(64), range(len(data)), range(len(data) - 3000, len(data))])
        data[max(0, chance.choice(where)) % len(data)] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    if chance.random() < 0.2:
        data[:4] = chance.choice([b"\x28\xb5\x2f\xfd", b"\xfd7zX", b"\x1f\x8b\x08\x00"])
    live = LiveKernel(Config(release=running, compression=compression, decompress_limit=1 << 20))
    image = read_image(bytes(data), flags, live.config)
    failure = image.decompress_failure or image.becoming_failure or image.layout_failure
    assert failure is None or failure.errno > 0
    try:
        live.call(InitModule(bytes(data), "n=1"))
    except LoadError as error:
        assert error.errno in (
            errno.ENOEXEC,
            errno.ENOENT,
            errno.EINVAL,
            errno.EBADMSG,
            errno.ENOMEM,
            errno.EPERM,
        )
    check_invariants(live.snapshot())


@settings(RELAXED, max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_as_a_signature(tail: bytes) -> None:
    data = build_module(MODULES[0]) + tail + len(tail).to_bytes(4, "big").rjust(12, b"\0")
    marked = data[:-10] + b"\2" + data[-9:] + b"~Module signature appended~\n"
    verdict = check(marked, False, None, False)
    assert 0 < verdict.length <= len(marked)


@RELAXED
@given(st.sampled_from(MODULES), st.text("abcxyz_.", min_size=3, max_size=12))
def test_layout_does_not_depend_on_names_it_does_not_know(spec: ModuleSpec, name: str) -> None:
    data = build_module(spec)
    assert _layout(data) == _layout(_renamed(data, b".rodata", name.encode()[:7].ljust(7, b"q")))


def _layout(data: bytes) -> Layout:
    elf = ElfModule(data, int.from_bytes(data[18:20], "little"))
    elf.cache_indices(None)
    return layout(elf, Config())


def _renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Another name of the same length, in the table of section names only."""
    elf = ElfModule(data, int.from_bytes(data[18:20], "little"))
    start = elf.sh_offset[elf.e_shstrndx]
    end = start + elf.sh_size[elf.e_shstrndx]
    names = data[start:end]
    assert b"\0" + old + b"\0" in names
    if new.startswith((b".init", b".data")):
        return data
    names = names.replace(b"\0" + old + b"\0", b"\0" + new + b"\0")
    return data[:start] + names + data[end:]
