"""Whether a module's relocations can be applied (apply_relocations, kernel/module/main.c).

What apply_relocate_add refuses: a type that the architecture does not know, a value that does not
fit, and on x86-64 a place that is not zero before (arch/x86/kernel/module.c,
arch/arm64/kernel/module.c). All are ENOEXEC. Where modules and the kernel lie in memory is not
known; so of values only those are refused that fit nowhere. In the log addresses are 0.

Nearly all modules are good. So each table is first gone through by columns, and only if something
is odd by relocations, in the kernel's order.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from operator import itemgetter, sub
from typing import NamedTuple

from loader.config import EM_AARCH64
from loader.errors import Failure
from loader.image.elf import ElfModule
from loader.image.elf_format import (
    MODULE_NAME_OFFSET,
    RELA,
    SHF_ALLOC,
    SHF_RELA_LIVEPATCH,
    SHN_ABS,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
)

# -- x86-64: R_X86_64_NONE, _64, _PC32, _PLT32, _32, _32S, _PC64 ----------------------------------

_SIZES: dict[int, int] = {0: 0, 1: 8, 2: 4, 4: 4, 10: 4, 11: 4, 24: 8}  # bytes that it writes
_UNSIGNED, _SIGNED = 10, 11
_FAR = 1 << 30  # bytes: no compiler adds so much
_ADDEND = 16  # byte of an entry where its addend begins

# -- arm64 ----------------------------------------------------------------------------------------

_ARM64_KNOWN = frozenset((0, *range(256, 281), *range(282, 294), 299))
# Absolute values of 16, 32 or 48 bits that are checked: no address is so low. The bits it keeps.
_ABSOLUTE: dict[int, int] = {258: 32, 259: 16, 263: 16, 265: 32, 267: 48}
# Distances: bits with the sign. To another section they are not known.
_NEAR: dict[int, int] = {262: 16, 273: 21, 274: 21, 279: 16, 280: 21}
_ARM64_NARROW = frozenset((*_ABSOLUTE, *_NEAR))


class _Table(NamedTuple):
    """One section of relocations: its number, what it changes, its whole entries."""

    number: int
    target: int
    entries: memoryview

    @property
    def types(self) -> Iterable[int]:
        return self.entries.cast("I")[2::6]

    @property
    def places(self) -> memoryview:
        return self.entries.cast("Q")[0::3]


def relocation_failure(elf: ElfModule, places_told: bool) -> Failure | None:
    """Why its relocations are refused, None if they are not.

    ``places_told``: the log says which relocation it was (6.19 and later).
    """
    name = elf.module_name
    by_target: dict[int, list[_Table]] = {}
    for table in _tables(elf):
        if elf.sh_type[table.number] == SHT_REL:
            return _refused(f"module {name}: REL relocation unsupported")
        by_target.setdefault(table.target, []).append(table)
    for target, tables in by_target.items():
        if elf.machine == EM_AARCH64:
            line = _arm64_problem(elf, tables, name)
        elif _is_plain(elf, target, tables):
            continue
        else:
            line = _x86_problem(elf, target, tables, name, places_told)
        if line:
            return _refused(*line)
    return None


def _refused(*lines: str) -> Failure:
    return Failure(errno.ENOEXEC, lines)


def _tables(elf: ElfModule) -> Iterator[_Table]:
    """Those that are applied: to sections that have memory. Overlapping ones: see ElfModule."""
    room, file = elf.size, memoryview(elf.data)
    dropped = (elf.index_vers, elf.index_vers_ext_crc, elf.index_vers_ext_name, elf.index_info)
    for index, kind in enumerate(elf.sh_type):
        target = elf.sh_info[index]
        if kind not in (SHT_RELA, SHT_REL) or target >= elf.e_shnum:
            continue
        if elf.sh_flags[index] & SHF_RELA_LIVEPATCH:
            continue
        has_memory = elf.sh_flags[target] & SHF_ALLOC or target in (elf.index_sym, elf.index_str)
        if not has_memory or target in dropped:
            continue
        room -= elf.sh_size[index]
        if room < 0:
            break
        start = elf.sh_offset[index]
        end = start + elf.sh_size[index] // RELA.size * RELA.size
        yield _Table(index, target, file[start:end])


class _Values:
    """What the symbols come to, as far as a file can tell."""

    def __init__(self, elf: ElfModule) -> None:
        self._elf = elf
        self._count = elf.symbol_count()

    def exact(self, symbol: int) -> int | None:
        """The value of an absolute symbol; None for all others."""
        if symbol >= self._count:
            return None
        found = self._elf.symbol(symbol)
        return found.value if found.shndx == SHN_ABS else None

    def place(self, symbol: int) -> tuple[int, int] | None:
        """The section that a symbol is in and where; None for those that are in none."""
        if symbol >= self._count:
            return None
        found = self._elf.symbol(symbol)
        return (found.shndx, found.value) if 0 < found.shndx < self._elf.e_shnum else None

    def is_high(self, symbol: int) -> bool:
        """Is it certainly an address in the kernel's half? Per-CPU variables may be low."""
        place = self.place(symbol)
        return place is not None and place[0] != self._elf.index_pcpu


# -- x86-64 ---------------------------------------------------------------------------------------


def _is_plain(elf: ElfModule, target: int, tables: list[_Table]) -> bool:
    """Only known types, no value that could be too large, each place there, zero, and once."""
    places: dict[int, list[int]] = {4: [], 8: []}
    for table in tables:
        types = set(table.types)
        sizes = {_SIZES.get(kind, 0) for kind in types}
        if 0 in sizes or _UNSIGNED in types:
            return False
        if _SIGNED in types and not _are_small(table.entries):
            return False
        if len(sizes) == 1:
            places[sizes.pop()] += table.places.tolist()
            continue
        for place, kind in zip(table.places, table.types, strict=True):
            places[_SIZES[kind]].append(place)
    return _are_apart(places[4], places[8]) and _are_zero(_content(elf, target), places)


def _are_apart(narrow: list[int], wide: list[int]) -> bool:
    """Does no place of 4 bytes overlap another, nor one of 8?"""
    ordered = sorted(narrow + wide)
    if min(map(sub, ordered[1:], ordered), default=4) < 4:
        return False
    taken = set(ordered) if wide else set()
    return all(taken.isdisjoint(map(first.__add__, wide)) for first in range(4, 8))


def _are_zero(content: bytes, places: dict[int, list[int]]) -> bool:
    for size, found in places.items():
        if not found:
            continue
        if max(found) + size > len(content):
            return False
        gather = itemgetter(*found, found[0])  # two at least, or it would give no tuple
        if any(any(gather(content[first:])) for first in range(size)):
            return False
    return True


def _are_small(entries: memoryview) -> bool:
    """Are all addends far from what would not fit? Mostly that is seen by their highest bytes."""
    data = bytes(entries)
    sign, *others = (data[byte :: RELA.size] for byte in range(_ADDEND + 3, RELA.size))
    if all(other == sign for other in others) and sign.count(0) + sign.count(0xFF) == len(sign):
        return True
    addends = entries.cast("q")[2::3]
    return min(addends) > -_FAR and max(addends) < _FAR


def _content(elf: ElfModule, index: int) -> bytes:
    """What is in a section's memory before: what the file has, and the list that a module is in."""
    if elf.sh_type[index] == SHT_NOBITS:
        return bytes(min(elf.sh_size[index], elf.size))
    start, end = elf.extent(index)
    content = elf.data[start:end]
    if index == elf.index_mod:
        content = b"\xff" * MODULE_NAME_OFFSET + content[MODULE_NAME_OFFSET:]
    return content


def _x86_problem(
    elf: ElfModule, target: int, tables: list[_Table], name: str, places_told: bool
) -> tuple[str, ...]:
    """The first relocation that is refused, as the kernel logs it; () if none is."""
    content, values = bytearray(_content(elf, target)), _Values(elf)
    for table in tables:
        for number, (place, info, addend) in enumerate(RELA.iter_unpack(table.entries)):
            symbol, kind = info >> 32, info & 0xFFFFFFFF
            size = _SIZES.get(kind)
            if size is None:
                return (f"{name}: Unknown rela relocation: {kind}",)
            where = f"sec {table.number} idx {number}" if places_told else ""
            if _overflows(values, kind, symbol, addend):
                first = f"overflow in relocation type {kind} val 0 {where}".rstrip()
                return first, f"`{name}' likely not compiled with -mcmodel=kernel"
            if place + size > len(content) or any(content[place : place + size]):
                return (_nonzero(kind, table.number, number, places_told),)
            content[place : place + size] = b"\xff" * size
    return ()


def _nonzero(kind: int, section: int, number: int, places_told: bool) -> str:
    text = "x86/modules: Invalid relocation target, existing value is nonzero for"
    if places_told:
        return f"{text} sec {section}, idx {number}, type {kind}, loc 0, val 0"
    return f"{text} type {kind}, loc {0:016x}, val 0"


def _overflows(values: _Values, kind: int, symbol: int, addend: int) -> bool:
    if kind not in (_UNSIGNED, _SIGNED):
        return False
    exact = values.exact(symbol)
    if exact is not None:
        value = exact + addend
        low, high = (0, 1 << 32) if kind == _UNSIGNED else (-(1 << 31), 1 << 31)
        return not low <= _signed(value) < high
    if not values.is_high(symbol):
        return False
    # Addresses are from -2 GiB to 0.
    return not (-(1 << 31) <= addend < 1 << 32) if kind == _SIGNED else addend < 1 << 31


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - ((value & 1 << 63) << 1)


# -- arm64 ----------------------------------------------------------------------------------------


def _arm64_problem(elf: ElfModule, tables: list[_Table], name: str) -> tuple[str, ...]:
    values = _Values(elf)
    for table in tables:
        types = set(table.types)
        if types <= _ARM64_KNOWN and not types & _ARM64_NARROW:
            continue
        for place, info, addend in RELA.iter_unpack(table.entries):
            symbol, kind = info >> 32, info & 0xFFFFFFFF
            if kind not in _ARM64_KNOWN:
                return (f"module {name}: unsupported RELA relocation: {kind}",)
            if _is_too_far(values, table.target, place, kind, symbol, addend):
                return (f"module {name}: overflow in relocation type {kind} val 0",)
    return ()


def _is_too_far(
    values: _Values, target: int, place: int, kind: int, symbol: int, addend: int
) -> bool:
    if bits := _ABSOLUTE.get(kind):
        exact = values.exact(symbol)
        if exact is not None:
            return not 0 <= _signed(exact + addend) < 1 << bits
        return values.is_high(symbol) and -(1 << 46) < addend < 1 << 46
    bits = _NEAR.get(kind, 0)
    at = values.place(symbol)
    if not bits or at is None or at[0] != target:
        return False
    distance = _signed(at[1] + addend - place)
    return not -(1 << bits - 1) <= distance < 1 << bits - 1
