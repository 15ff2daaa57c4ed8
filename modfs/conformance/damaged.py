"""Damaged copies of a module: one table of what is wrong with each."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

from loader.image.elf import ElfModule
from loader.image.elf_format import EHDR, SHDR, SYM
from loader.image.signature import MARKER


class _Header(NamedTuple):
    """A field of the ELF header: where it is, and how wide."""

    at: int
    format: str


_SHOFF, _SHENTSIZE = _Header(0x28, "<Q"), _Header(0x3A, "<H")
_SHNUM, _SHSTRNDX = _Header(0x3C, "<H"), _Header(0x3E, "<H")
_TYPE, _MACHINE = _Header(0x10, "<H"), _Header(0x12, "<H")
_CLASS, _ORDER, _VERSION = _Header(4, "<B"), _Header(5, "<B"), _Header(6, "<B")

_HEADERS: dict[str, tuple[_Header, int]] = {
    "bad_magic": (_Header(0, "<B"), 0x7E),
    "class32": (_CLASS, 1),
    "bigendian": (_ORDER, 2),
    "eversion": (_VERSION, 77),
    "type_exec": (_TYPE, 2),
    "machine_other": (_MACHINE, 40),
    "shentsize": (_SHENTSIZE, 63),
    "shoff_past": (_SHOFF, 1 << 30),
    "shoff_max": (_SHOFF, (1 << 64) - 1),
    "shnum_none": (_SHNUM, 0),
    "shnum_max": (_SHNUM, 0xFFFF),
    "shstrndx_none": (_SHSTRNDX, 0),
    "shstrndx_past": (_SHSTRNDX, 0xFF00),
    "shstrndx_text": (_SHSTRNDX, 1),
}

# A section's header: where its fields are.
_NAME, _KIND, _FLAGS = _Header(0, "<I"), _Header(4, "<I"), _Header(8, "<Q")
_ADDRESS, _OFFSET, _SIZE = _Header(16, "<Q"), _Header(24, "<Q"), _Header(32, "<Q")
_LINK, _INFO, _ALIGN = _Header(40, "<I"), _Header(44, "<I"), _Header(48, "<Q")
_SYMTAB, _STRTAB, _NULL = "(symbols)", "(strings)", ""

_SECTIONS: dict[str, tuple[str, _Header, int]] = {
    "null_type": (_NULL, _KIND, 1),
    "null_size": (_NULL, _SIZE, 1),
    "null_address": (_NULL, _ADDRESS, 1),
    "name_past": (".text", _NAME, 1 << 20),
    "offset_past": (".text", _OFFSET, 1 << 20),
    "offset_wraps": (".text", _OFFSET, (1 << 64) - 4),
    "size_huge": (".text", _SIZE, 1 << 40),
    "align_none": (".rodata", _ALIGN, 0),
    "align_page": (".data", _ALIGN, 4096),
    "text_writable": (".text", _FLAGS, 7),
    "data_bare": (".data", _FLAGS, 0),
    "modinfo_bare": (".modinfo", _FLAGS, 0),
    "modinfo_nobits": (".modinfo", _KIND, 8),
    "this_module_nobits": (".gnu.linkonce.this_module", _KIND, 8),
    "this_module_bare": (".gnu.linkonce.this_module", _FLAGS, 1),
    "this_module_long": (".gnu.linkonce.this_module", _SIZE, 8),
    "symtab_gone": (_SYMTAB, _KIND, 1),
    "symtab_link": (_SYMTAB, _LINK, 200),
    "symtab_link_text": (_SYMTAB, _LINK, 1),
    "strtab_type": (_STRTAB, _KIND, 1),
    "strtab_empty": (_STRTAB, _SIZE, 0),
}


def damaged(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Name of the file and its bytes, of each damaged copy of ``good``, which is a module."""
    for name, (header, value) in _HEADERS.items():
        yield name, _set(good, header.at, header.format, value)
    elf = _read(good)
    for name, (section, header, value) in _SECTIONS.items():
        yield name, _set(good, _header_at(elf, section) + header.at, header.format, value)
    yield "cut_half", good[: len(good) // 2]
    yield "cut_one", good[:-1]
    yield "cut_header", good[: EHDR.size]
    yield "cut_short", good[: EHDR.size - 1]
    yield "junk_behind", good + b"junk" * 10
    yield "marker_alone", good + MARKER
    yield "signature_long", good + struct.pack(">BBBBBxxxI", 0, 0, 2, 0, 0, 1 << 24) + MARKER
    yield "signature_odd", good + struct.pack(">BBBBBxxxI", 1, 0, 2, 0, 0, 0) + MARKER
    yield "signature_kind", good + struct.pack(">BBBBBxxxI", 0, 0, 1, 0, 0, 0) + MARKER
    yield "strtab_head", _set(good, elf.strings, "<B", 65)
    yield "strtab_tail", _set(good, elf.strings + elf.sh_size[elf.index_str] - 1, "<B", 65)
    yield "symbol_past", _set(good, elf.sh_offset[elf.index_sym] + SYM.size, "<I", 1 << 20)
    yield "no_name", good.replace(b"\0name=", b"\0nime=")
    yield "no_vermagic", good.replace(b"\0vermagic=", b"\0vermegic=")
    yield "two_modinfo", _renamed(good, elf, ".comment", ".modinfo")
    yield "two_this_module", _renamed(good, elf, ".comment", ".gnu.linkonce.this_module")
    yield "versions_gone", _renamed(good, elf, "__versions", ".comment")


_FIELDS = (_NAME, _KIND, _FLAGS, _OFFSET, _SIZE, _LINK, _INFO, _ALIGN)
_ODD = (
    0,
    1,
    2,
    3,
    7,
    8,
    63,
    64,
    4095,
    4097,
    1 << 16,
    1 << 31,
    1 << 32,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
_SAFE = (".modinfo", ".comment", ".note.GNU-stack", "__versions", _SYMTAB, _STRTAB, ".rodata")


def mutated(good: bytes, dice: random.Random) -> bytes:
    """A copy with a field or two of its headers changed by chance.

    Only fields whose odd values make a kernel refuse a module, or which it does not look at: the
    headers of what is executed or written to stay as they are, so no kernel runs what is damaged.
    """
    elf, data = _read(good), good
    present = [name for name in _SAFE if name in (_SYMTAB, _STRTAB) or _index(elf, name)]
    for _ in range(dice.randint(1, 2)):
        if dice.random() < 0.3:
            header = dice.choice([found for found, _ in _HEADERS.values()])
            at = header.at
        else:
            header = dice.choice(_FIELDS)
            at = _header_at(elf, dice.choice(present)) + header.at
        mask = (1 << 8 * struct.calcsize(header.format)) - 1
        (was,) = struct.unpack_from(header.format, data, at)
        value = dice.choice([*_ODD, was + 1, was - 1, was * 2]) & mask
        data = _set(data, at, header.format, value)
    return data


def _read(good: bytes) -> ElfModule:
    elf = ElfModule(good, int.from_bytes(good[18:20], "little"))
    elf.cache_indices(None)
    return elf


def _set(data: bytes, at: int, format: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(format, changed, at, value)
    return bytes(changed)


def _index(elf: ElfModule, section: str) -> int:
    """Its number, whether it takes memory or not; 0 for none."""
    return next((index for index in range(elf.e_shnum) if elf.name(index) == section), 0)


def _header_at(elf: ElfModule, section: str) -> int:
    kinds = {_SYMTAB: elf.index_sym, _STRTAB: elf.index_str, _NULL: 0}
    index = kinds[section] if section in kinds else _index(elf, section)
    start = int(struct.unpack_from("<Q", elf.data, _SHOFF.at)[0])
    return start + index * SHDR.size


def _renamed(good: bytes, elf: ElfModule, section: str, name: str) -> bytes:
    """``section`` takes the name of another section that is there; the same without it."""
    index, other = _index(elf, section), _index(elf, name)
    if not index or not other:
        return good
    return _set(good, _header_at(elf, section), "<I", elf.sh_name[other])
