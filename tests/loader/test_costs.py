"""What a file costs is in proportion to its length, whatever is in it.

Counted are the bytes that are looked at or copied and the memory at its peak, each for a file and
for one about twice as long: in proportion is twice as much, and what goes with the square is four
times. No times are measured.
"""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

import pytest
import zstandard

from loader.config import Config
from loader.engine.params import parse_args
from loader.image.elf import ElfModule
from loader.image.layout import layout
from loader.image.module_image import read_image
from loader.image.parameters import Parameter
from loader.release import release
from tests.loader import odd_files
from tests.loader.odd_files import KINDS

SIZES = {"sections": 500, "relocations": 600, "parameters": 20}


class Watched(bytes):
    """Counts the bytes that are searched or copied."""

    touched = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
        end = len(self) if end is None else min(end, len(self))
        found = super().find(sub, start, end)
        Watched.touched += max(0, (end if found < 0 else found) - start) + 1
        return found

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        part = super().__getitem__(key)
        Watched.touched += len(part) if isinstance(part, bytes) else 1
        return part

    def startswith(self, prefix: Any, start: Any = 0, end: Any = None, /) -> bool:
        Watched.touched += 1
        return super().startswith(prefix, start, len(self) if end is None else end)


def load(data: bytes) -> None:
    """All that a load makes of a file."""
    image = read_image(data, 0, Config(machine=int.from_bytes(data[18:20], "little")))
    assert (image.becoming_failure, image.layout_failure) == (None, None)
    for _ in image.contents.needs:
        pass


def touched(data: bytes) -> int:
    watched, Watched.touched = Watched(data), 0
    load(watched)
    return Watched.touched


def peak(data: bytes) -> int:
    tracemalloc.start()
    try:
        load(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cost", [touched, peak])
def test_costs_go_with_the_length(kind: str, cost: Callable[[bytes], int]) -> None:
    n = SIZES.get(kind, 2000)
    files = [KINDS[kind](size) for size in (n, n, 4 * n)]
    _, one, four = map(cost, files)  # the first makes what is made once for all files
    assert four < 6 * one  # a cost that grows with the square would be 16 times


@pytest.mark.parametrize("kind", KINDS)
def test_memory_for_a_byte_of_the_file(kind: str) -> None:
    data = KINDS[kind](5 * SIZES.get(kind, 2000))
    assert peak(data) < 3 * len(data) + (16 << 20)


def test_sections_of_one_name_are_found_in_one_pass() -> None:
    class Headers(list[int]):
        passes = 0

        def count(self, value: int, /) -> int:
            Headers.passes += 1
            return super().count(value)

        def index(self, *where: Any) -> int:
            Headers.passes += 1
            return super().index(*where)

    elf = ElfModule(odd_files.sections(300), odd_files.X86_64)
    elf.sh_name = Headers(elf.sh_name)
    assert len(list(elf.named("__versions"))) == 300
    assert Headers.passes < 3


# -- the kernel's numbers all the same -------------------------------------------------------------


def test_names_that_overlap_are_counted_one_by_one() -> None:
    """layout_symtab adds up strlen of each, in 32 bits; worked out by hand."""
    n = 22_000
    elf = ElfModule(odd_files.tails_defined(n), odd_files.X86_64)
    elf.cache_indices(None)
    names = sum(20 * n - 20 * i + 1 for i in range(n)) + 1  # and that of the null symbol
    this_module = 24 + 1024
    symbols = -(-this_module // 8) * 8 + (n + 1) * 24 + names + n + 1
    assert names > 2**32
    assert layout(elf, Config(release=release("6.12"))).data == -(-(symbols % 2**32) // 4096) * 4096


def test_every_need_is_told_though_they_are_many() -> None:
    image = read_image(odd_files.tails_undefined(3000), 0, Config(machine=odd_files.X86_64))
    names = [need.name for need in image.contents.needs]
    assert len(names) == 3000
    assert names[-3:] == ["x" * 60, "x" * 40, "x" * 20]
    assert names == [need.name for need in image.contents.needs]


def test_an_array_shows_no_more_than_a_page() -> None:
    """param_array_get: the elements in .bss are zeros, each with a comma or the newline."""
    image = read_image(odd_files.parameters(1), 0, Config(machine=odd_files.X86_64))
    shown = image.contents.parameters["p0"]
    assert shown.max_elements == 1 << 31
    assert shown.default == ("0," * 4096)[:4095]


# -- parameters ------------------------------------------------------------------------------------


class Text(str):
    """Counts the characters that are copied."""

    copied = 0

    def __getitem__(self, key: SupportsIndex | slice) -> Text:
        part = Text(super().__getitem__(key))
        Text.copied += len(part)
        return part

    def lstrip(self, characters: str | None = None, /) -> Text:
        part = Text(super().lstrip(characters))
        Text.copied += len(part)
        return part


@pytest.mark.parametrize("text", ["a ", "n=1 ", '"a b" ', 'x="', "-- ", "l=1,"])
def test_a_long_parameter_string_is_gone_through_once(text: str) -> None:
    known = {"n": Parameter("n", "int"), "l": Parameter("l", "array of int")}
    long = Text(text * 20_000)
    Text.copied = 0
    parsed = parse_args("m", long, known)
    assert Text.copied <= 3 * len(long)
    assert len(parsed.log) <= 4096
    assert all(len(line) <= 1024 for line in parsed.log)


# -- compressed ------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from loader.config import Config
from loader.image.module_image import read_image
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_image(data, 4, Config(decompress_limit=1 << 30))
print(image.vmalloc_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("start", "factor"), [(b"\x7fELF", 1.25), (b"\0\0\0\0", 0.1)], ids=["a module", "no module"]
)
def test_memory_for_what_comes_out(tmp_path: Path, start: bytes, factor: float) -> None:
    """The module once, and its last eighth while it grows; nothing of what is no module."""
    size = 256 << 20
    packer = zstandard.ZstdCompressor().compressobj()
    parts = [packer.compress(start), *(packer.compress(bytes(1 << 20)) for _ in range(256))]
    path = tmp_path / "large.ko.zst"
    path.write_bytes(b"".join(parts) + packer.flush())
    command = [sys.executable, "-c", MEASURE, str(path)]
    length, kilobytes = subprocess.check_output(command, text=True).split()
    assert int(length) == size + len(start)
    assert int(kilobytes) << 10 < factor * size + (16 << 20)
