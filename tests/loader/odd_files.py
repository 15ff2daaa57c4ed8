"""Modules that no compiler writes: valid to the kernel, with names and tables that overlap."""

from __future__ import annotations

import struct
from typing import NamedTuple

from loader.image.elf_format import (
    EHDR,
    ELF_MAGIC,
    ET_REL,
    MODULE_NAME_OFFSET,
    RELA,
    SHDR,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    SYM,
    THIS_MODULE,
)

X86_64, ARM64 = 62, 183
MODINFO, MODULE, SYMTAB, STRTAB, SHSTRTAB, FIRST = 1, 2, 3, 4, 5, 6


class Part(NamedTuple):
    """A section. ``same_as``: its bytes are those of another part, which stands before it."""

    name: bytes
    data: bytes = b""
    type: int = SHT_PROGBITS
    flags: int = SHF_ALLOC
    link: int = 0
    info: int = 0
    size: int | None = None
    same_as: int | None = None


def module(
    *parts: Part,
    symbols: bytes = bytes(SYM.size),
    strings: bytes = b"\0",
    modinfo: bytes = b"",
    machine: int = X86_64,
) -> bytes:
    """A file with these sections from number FIRST on."""
    this_module = bytes(MODULE_NAME_OFFSET) + b"odd".ljust(1024, b"\0")
    tables = (
        Part(b""),
        Part(b".modinfo", b"vermagic=6.12\0" + modinfo),
        Part(THIS_MODULE.encode(), this_module, flags=SHF_ALLOC | SHF_WRITE),
        Part(b".symtab", symbols, SHT_SYMTAB, 0, STRTAB),
        Part(b".strtab", strings, SHT_STRTAB, 0),
    )
    names = _names([*tables, Part(b".shstrtab"), *parts])
    everything = (*tables, Part(b".shstrtab", b"".join(names) + b"\0", SHT_STRTAB, 0), *parts)
    body, headers, places, start = bytearray(), [bytes(SHDR.size)], [(0, 0)], 0
    for part in everything[1:]:
        start += len(names[len(headers) - 1])
        place = EHDR.size + len(body), len(part.data)
        if part.same_as is not None:
            place = places[part.same_as]
        places.append(place)
        size = place[1] if part.size is None else part.size
        body += part.data
        link = part.link, part.info, 8, 0
        headers.append(SHDR.pack(start, part.type, part.flags, 0, place[0], size, *link))
    header = (ELF_MAGIC, ET_REL, machine, 1, 0, 0, EHDR.size + len(body), 0, EHDR.size, 0, 0)
    counts = SHDR.size, len(headers), SHSTRTAB
    return EHDR.pack(*header, *counts) + body + b"".join(headers)


def _names(parts: list[Part]) -> list[bytes]:
    return [part.name + b"\0" for part in parts]


def symbol(name: int = 0, section: int = 0, value: int = 0) -> bytes:
    return SYM.pack(name, 0x10, 0, section, value, 0)


# -- each kind, with ``n`` of what there are too many of -------------------------------------------


def tails_undefined(n: int) -> bytes:
    """Each of n undefined symbols has another end of one long string for its name."""
    strings = b"\0" + b"x" * 20 * n + b"\0"
    symbols = b"".join(symbol(1 + 20 * i) for i in range(n))
    return module(symbols=bytes(24) + symbols, strings=strings)


def tails_defined(n: int) -> bytes:
    """The same of symbols that stay in memory."""
    strings = b"\0" + b"x" * 20 * n + b"\0"
    symbols = b"".join(symbol(1 + 20 * i, FIRST) for i in range(n))
    return module(Part(b".text", bytes(64)), symbols=bytes(24) + symbols, strings=strings)


def tails_exported(n: int) -> bytes:
    """The same of exports: the string is full of beginnings of their names."""
    strings = b"\0" + b"".join(b"__ksymtab_%08x" % i for i in range(n)) + b"\0"
    symbols = b"".join(symbol(1 + 18 * i, FIRST, 12 * i) for i in range(n))
    table = Part(b"__ksymtab", bytes(12 * n))
    return module(table, symbols=bytes(24) + symbols, strings=strings)


def namespaces(n: int) -> bytes:
    """n exports, their namespaces ends of one long string; and versions in one large section."""
    strings, symbols = bytearray(1), bytearray(24)
    for i in range(n):
        for kind, value in ((b"ksymtab", 12 * i), (b"kstrtabns", 40 * i), (b"crc", 4 * i)):
            symbols += symbol(len(strings), FIRST + (kind != b"ksymtab"), value)
            strings += b"__%s_%d\0" % (kind, i)
    parts = Part(b"__ksymtab", bytes(12 * n)), Part(b"__ksymtab_strings", b"y" * 40 * n)
    return module(*parts, symbols=bytes(symbols), strings=bytes(strings))


def sections(n: int) -> bytes:
    """n sections of one name."""
    return module(*(Part(b"__versions", flags=0) for _ in range(n)))


def tags(n: int) -> bytes:
    """n different tags, n namespaces."""
    entries = b"".join(b"%x=\0import_ns=%x\0" % (i, i) for i in range(n))
    return module(modinfo=entries)


def parameters(n: int) -> bytes:
    """n parameters that are all the same large array."""
    strings, symbols, modinfo = bytearray(1), bytearray(24), bytearray()
    for i in range(n):
        modinfo += b"parmtype=p%d:array of byte\0" % i
        symbols += symbol(len(strings), FIRST)
        strings += b"__param_p%d\0" % i
    own = len(symbols) // 24
    symbols += symbol(0, FIRST + 1) + symbol(0, FIRST + 2)
    holder = struct.pack("<IIQQQ", 1 << 31, 1, 0, 0, 0)
    return module(
        Part(b"__param", bytes(40)),
        Part(b".rodata", holder),
        Part(b".bss", type=SHT_NOBITS, size=1 << 31),
        Part(b".rela__param", RELA.pack(32, own << 32 | 1, 0), SHT_RELA, 0, SYMTAB, FIRST),
        Part(b".rela.rodata", RELA.pack(24, own + 1 << 32 | 1, 0), SHT_RELA, 0, SYMTAB, FIRST + 1),
        symbols=bytes(symbols),
        strings=bytes(strings),
        modinfo=bytes(modinfo),
    )


def relocations(n: int) -> bytes:
    """n tables of relocations that are all the same n branches, on arm64."""
    table = b"".join(RELA.pack(4 * (n - i), i << 32 | 283, 0) for i in range(n))
    first = Part(b".rela.text", table, SHT_RELA, 0, SYMTAB, FIRST)
    return module(
        Part(b".text", bytes(4 * n), flags=SHF_ALLOC | SHF_EXECINSTR),
        first,
        *(first._replace(data=b"", same_as=FIRST + 1) for _ in range(n // 8)),
        *(Part(name, b"\0") for name in (b".plt", b".init.plt")),
        symbols=bytes(24 * n),
        machine=ARM64,
    )


def version_records(n: int) -> bytes:
    """n versions of symbols."""
    records = b"".join(struct.pack("<Q56s", i + 1, b"%055d" % i) for i in range(n))
    return module(Part(b"__versions", records), symbols=bytes(24))


KINDS = {
    "tails_undefined": tails_undefined,
    "tails_defined": tails_defined,
    "tails_exported": tails_exported,
    "namespaces": namespaces,
    "sections": sections,
    "tags": tags,
    "parameters": parameters,
    "relocations": relocations,
    "version_records": version_records,
}
