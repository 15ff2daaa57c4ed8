"""Which relocations are refused: worked out by hand from apply_relocate_add (behaviour.md 2.10)."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import pytest

from loader.config import EM_AARCH64, EM_X86_64
from loader.errors import Failure
from loader.image.elf import ElfModule
from loader.image.elf_format import (
    MODULE_NAME_OFFSET,
    RELA,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_RELA,
    STB_GLOBAL,
    THIS_MODULE,
)
from loader.image.plts import frob
from loader.image.relocations import _are_small, relocation_failure
from loader.synthesize.elf_writer import Relocation, Section, Symbol, write

CALL26, JUMP26 = 283, 282
Target = tuple[int, int, int]  # place, type, addend


def module(
    machine: int, relocations: Iterable[Target], content: bytes = bytes(64), far: bool = False
) -> ElfModule:
    """A module whose .data has these relocations, to its .text or (``far``) the kernel's."""
    text = Section(".text", bytes(1 << 12), SHF_ALLOC | SHF_EXECINSTR, 16)
    data = Section(".data", content, SHF_ALLOC | SHF_WRITE, 16)
    name = bytes(MODULE_NAME_OFFSET) + b"made"
    this = Section(THIS_MODULE, name.ljust(256, b"\0"), SHF_ALLOC | SHF_WRITE, 64)
    local = Symbol("local", text, 16)
    kernels = Symbol("printk", None, bind=STB_GLOBAL)
    symbol = kernels if far else local
    data.relocations = [Relocation(place, kind, symbol, add) for place, kind, add in relocations]
    elf = ElfModule(write(machine, [text, data, this], [local, kernels]), machine)
    elf.cache_indices(None)
    return elf


def refused(elf: ElfModule, places_told: bool = True) -> tuple[str, ...]:
    failure = relocation_failure(elf, places_told)
    if failure is None:
        return ()
    assert isinstance(failure, Failure) and failure.errno == errno.ENOEXEC
    return failure.log


@pytest.mark.parametrize("kind", [1, 2, 4, 11, 24])
def test_what_x86_knows(kind: int) -> None:
    assert refused(module(EM_X86_64, [(0, kind, 0), (8, kind, 4)])) == ()
    assert refused(module(EM_X86_64, [(0, 0, 0)])) == ()  # R_X86_64_NONE


@pytest.mark.parametrize("kind", [3, 9, 26, 42, 255])
def test_what_x86_does_not_know(kind: int) -> None:
    elf = module(EM_X86_64, [(0, 2, 0), (8, kind, 0)])
    assert refused(elf) == (f"made: Unknown rela relocation: {kind}",)


def test_a_place_that_is_not_zero() -> None:
    elf = module(EM_X86_64, [(0, 2, 0), (8, 2, 0)], bytes(11) + b"\1" + bytes(52))
    text = "x86/modules: Invalid relocation target, existing value is nonzero for"
    number = next(i for i, kind in enumerate(elf.sh_type) if kind == SHT_RELA)
    assert refused(elf) == (f"{text} sec {number}, idx 1, type 2, loc 0, val 0",)
    assert refused(elf, places_told=False) == (f"{text} type 2, loc {'0' * 16}, val 0",)
    assert refused(module(EM_X86_64, [(0, 2, 0), (12, 2, 0)], bytes(11) + b"\1" + bytes(52))) == ()


@pytest.mark.parametrize("places", [(0, 0), (0, 2), (8, 5), (60, 62)])
def test_a_place_that_another_has_written(places: tuple[int, int]) -> None:
    assert "existing value" in "".join(refused(module(EM_X86_64, [(p, 2, 0) for p in places])))


@pytest.mark.parametrize(("wide", "narrow", "good"), [(0, 8, True), (0, 4, False), (8, 4, True)])
def test_a_long_place_beside_a_short_one(wide: int, narrow: int, good: bool) -> None:
    elf = module(EM_X86_64, [(wide, 1, 0), (narrow, 2, 0)])
    assert (refused(elf) == ()) == good


def test_an_address_does_not_fit_32_bits_without_sign() -> None:
    """Modules are in the last 2 GiB of the address space."""
    line = "`made' likely not compiled with -mcmodel=kernel"
    assert refused(module(EM_X86_64, [(0, 10, 0)]))[-1] == line
    assert refused(module(EM_X86_64, [(0, 11, 1 << 33)]))[-1] == line


def test_what_has_no_memory_is_not_relocated() -> None:
    elf = module(EM_X86_64, [(0, 99, 0)])
    elf.sh_flags = [flags & ~SHF_ALLOC for flags in elf.sh_flags]
    assert refused(elf) == ()


# -- arm64 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 256, 257, 261, 275, 277, CALL26, 299])
def test_what_arm64_knows(kind: int) -> None:
    assert refused(module(EM_AARCH64, [(0, kind, 0)], b"\1" * 64)) == ()


@pytest.mark.parametrize("kind", [1, 281, 294, 1027])
def test_what_arm64_does_not_know(kind: int) -> None:
    line = f"module made: unsupported RELA relocation: {kind}"
    assert refused(module(EM_AARCH64, [(0, kind, 0)])) == (line,)


@pytest.mark.parametrize("kind", [258, 259, 263])
def test_no_address_of_arm64_is_so_low(kind: int) -> None:
    line = f"module made: overflow in relocation type {kind} val 0"
    assert refused(module(EM_AARCH64, [(0, kind, 0)])) == (line,)


# -- room for far branches ------------------------------------------------------------------------


def entries(branches: list[Target], others: int = 0) -> int:
    """How many there is room for, besides the one that always is."""
    text = Section(".text", bytes(1 << 12), SHF_ALLOC | SHF_EXECINSTR, 16)
    plts = [Section(name, b"\0") for name in (".plt", ".init.plt")]
    this = Section(THIS_MODULE, bytes(256), SHF_ALLOC | SHF_WRITE, 64)
    symbols = [Symbol(f"f{number}", None, bind=STB_GLOBAL) for number in range(4)]
    text.relocations = [Relocation(0, 277, symbols[0], 0)] * others
    text.relocations += [Relocation(0, kind, symbols[n], add) for n, kind, add in branches]
    elf = ElfModule(write(EM_AARCH64, [text, *plts, this], symbols), EM_AARCH64)
    elf.cache_indices(None)
    sizes = frob(elf, list(elf.sh_flags), (b".init",))[1]
    return sizes[elf.named(".plt")[0]] // 12 - 1


@pytest.mark.parametrize(
    ("branches", "room"),
    [
        ([(0, CALL26, 0)], 1),
        ([(0, CALL26, 0), (0, CALL26, 0)], 1),
        ([(0, CALL26, 0), (0, JUMP26, 0)], 2),  # they are sorted by type first
        ([(0, CALL26, 4), (0, CALL26, 4)], 2),
        ([(0, CALL26, 0), (1, CALL26, 0), (0, CALL26, 0)], 2),
    ],
)
def test_equal_branches_share_an_entry(branches: list[Target], room: int) -> None:
    assert entries(branches, others=1) == room


def test_the_last_of_nothing_but_branches_is_not_sorted() -> None:
    """partition_branch_plt_relas ends one too early; 0, 1, then 0 are three."""
    branches = [(0, CALL26, 0), (1, CALL26, 0), (0, CALL26, 0)]
    assert entries(branches) == 3
    assert entries([*branches[:2], (1, CALL26, 0)]) == 2


@pytest.mark.parametrize("odd", [0, 1 << 24, (1 << 30) - 1, 1 << 30, 1 << 31, 1 << 40, 1 << 62])
@pytest.mark.parametrize("sign", [1, -1])
def test_addends_that_are_small(odd: int, sign: int) -> None:
    """As each is by itself, whatever they look like by columns."""
    addends = [*range(-3, 4), sign * odd, sign * odd - sign, 0x7F_FFFF, -0x80_0000]
    for some in (addends, addends[:8], addends[7:8], addends[:7]):
        table = b"".join(RELA.pack(0xFFFF, 0xFFFF_FFFF_FFFF, addend) for addend in some)
        expected = all(-(1 << 30) < addend < 1 << 30 for addend in some)
        assert _are_small(memoryview(table)) == expected
