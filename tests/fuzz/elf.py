"""Damage to module files that knows where things are: headers, tables, .modinfo, signatures."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.mutate import Chance, damaged, odd_number, with_number

# Offset and bytes of each field (System V gABI).
_HEADER = {
    "e_ident": (4, 1),
    "e_type": (16, 2),
    "e_machine": (18, 2),
    "e_shoff": (40, 8),
    "e_shentsize": (58, 2),
    "e_shnum": (60, 2),
    "e_shstrndx": (62, 2),
}
_SECTION = {
    "sh_name": (0, 4),
    "sh_type": (4, 4),
    "sh_flags": (8, 8),
    "sh_addr": (16, 8),
    "sh_offset": (24, 8),
    "sh_size": (32, 8),
    "sh_link": (40, 4),
    "sh_info": (44, 4),
    "sh_addralign": (48, 8),
    "sh_entsize": (56, 8),
}
_SYMBOL = {"st_name": (0, 4), "st_info": (4, 1), "st_shndx": (6, 2), "st_value": (8, 8)}
_RELOCATION = {"offset": (0, 8), "type": (8, 4), "symbol": (12, 4), "addend": (16, 8)}

_SYMTAB, _RELA, _NOBITS = 2, 4, 8
_SECTION_BYTES, _SYMBOL_BYTES, _RELOCATION_BYTES = 64, 24, 24
_MARKER = b"~Module signature appended~\n"

Fields = dict[str, tuple[int, int]]


class Section(NamedTuple):
    """A section header that could be read: where it stands, and four of its fields."""

    header: int
    type: int
    offset: int
    size: int


def sections(data: bytes) -> list[Section]:
    """All section headers inside ``data``."""
    if len(data) < 64:
        return []
    start, count = int.from_bytes(data[40:48], "little"), int.from_bytes(data[60:62], "little")
    found = []
    for header in range(start, start + count * _SECTION_BYTES, _SECTION_BYTES):
        if header + _SECTION_BYTES > len(data):
            break
        kind, offset, size = struct.unpack_from("<4xI16xQQ", data, header)
        found.append(Section(header, kind, offset, size))
    return found


def _field(chance: Chance, data: bytes, start: int, fields: Fields) -> bytes:
    offset, size = fields[chance.choice(tuple(fields))]
    position = start + offset
    near = int.from_bytes(data[position : position + size], "little")
    if chance.random() < 0.2:
        near = len(data)
    return with_number(data, position, size, odd_number(chance, size, near))


def _header(chance: Chance, data: bytes) -> bytes:
    return _field(chance, data, 0, _HEADER)


def _section(chance: Chance, data: bytes) -> bytes:
    found = sections(data)
    return _field(chance, data, chance.choice(found).header, _SECTION) if found else data


def _exchange(chance: Chance, data: bytes) -> bytes:
    """A section header says what another one says, in one field or in all."""
    found = sections(data)
    if not found:
        return data
    here, there = chance.choice(found).header, chance.choice(found).header
    offset, size = chance.choice((*_SECTION.values(), (0, _SECTION_BYTES)))
    piece = data[there + offset : there + offset + size]
    return data[: here + offset] + piece + data[here + offset + size :]


def _entry(kind: int, size: int, fields: Fields) -> Callable[[Chance, bytes], bytes]:
    def change(chance: Chance, data: bytes) -> bytes:
        tables = [one for one in sections(data) if one.type == kind and one.size >= size]
        if not tables:
            return data
        table = chance.choice(tables)
        entry = chance.randrange(min(table.size, 1 << 24) // size)
        return _field(chance, data, table.offset + entry * size, fields)

    return change


def _content(chance: Chance, data: bytes) -> bytes:
    """Damage in what one section holds; its length stays."""
    found = [one for one in sections(data) if one.type != _NOBITS and one.size]
    if not found:
        return data
    one = chance.choice(found)
    start, end = one.offset, one.offset + min(one.size, 1 << 20)
    piece = damaged(chance, data[start:end], 1)
    return data[:start] + piece[: end - start].ljust(len(data[start:end]), b"\0") + data[end:]


_MODINFO = (
    *(b"name=", b"vermagic=", b"depends=a,b", b"license=GPL", b"intree=Y", b"livepatch=Y"),
    *(b"parmtype=n:array of int", b"parmtype=n:int", b"import_ns=X", b"=", b"parm=n:"),
)


def _modinfo(chance: Chance, data: bytes) -> bytes:
    """A word of .modinfo becomes another, of the same length."""
    start = data.find(b"license=")
    if start < 0:
        return data
    end = data.find(b"\0", start)
    length = chance.choice((8, 16, 64, max(end - start, 1)))
    start += chance.choice((0, 0, length, 4 * length))
    word = chance.choice(_MODINFO)[:length].ljust(length, chance.choice((b"\0", b"x", b"\xff")))
    return data[:start] + word + data[start + length :]


def _signature(chance: Chance, data: bytes) -> bytes:
    """The trailer changes, or there is one where there was none."""
    if not data.endswith(_MARKER):
        tail = bytes(8) + odd_number(chance, 4, 0).to_bytes(4, "big")
        return data + bytes((0x30, 0x80)) * chance.randrange(8) + tail + _MARKER
    position = len(data) - len(_MARKER) - 12 + chance.randrange(12)
    return with_number(data, position, 1, odd_number(chance, 1))


_EDITS: tuple[Callable[[Chance, bytes], bytes], ...] = (
    _header,
    *(_section,) * 5,
    *(_exchange,) * 2,
    *(_entry(_SYMTAB, _SYMBOL_BYTES, _SYMBOL),) * 3,
    *(_entry(_RELA, _RELOCATION_BYTES, _RELOCATION),) * 3,
    *(_content,) * 4,
    *(_modinfo,) * 2,
    _signature,
    lambda chance, data: damaged(chance, data, 1),
)


def damaged_module(chance: Chance, data: bytes) -> bytes:
    """A module file with one to eight things wrong."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = chance.choice(_EDITS)(chance, data)
    return data
