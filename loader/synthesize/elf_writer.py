"""Writes relocatable ELF64 files: sections, symbols and relocations in, bytes out.

Knows the format (System V gABI) and nothing of kernel modules; `loader.synthesize` does. Always
little-endian. The order of the file is the toolchain's: contents in section order, each section's
relocations behind it, symbol and string tables, and the section header table last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from loader.image.elf_format import (
    EHDR,
    ET_REL,
    EV_CURRENT,
    RELA,
    SHDR,
    SHF_INFO_LINK,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_LOCAL,
    STT_NOTYPE,
    STT_SECTION,
    SYM,
)


@dataclass(slots=True, eq=False)
class Symbol:
    """A symbol; ``section`` None: undefined."""

    name: str
    section: Section | None = None
    value: int = 0
    size: int = 0
    type: int = STT_NOTYPE
    bind: int = STB_LOCAL


@dataclass(slots=True, eq=False)
class Section:
    """A section's header and contents; ``reserved`` is the size of a NOBITS section, in bytes."""

    name: str
    data: bytes = b""
    flags: int = 0
    align: int = 1
    type: int = SHT_PROGBITS
    entsize: int = 0
    reserved: int = 0
    relocations: list[Relocation] = field(default_factory=list)
    link: int = 0
    info: int = 0


@dataclass(slots=True)
class Relocation:
    """``offset``: bytes into the section; ``target``: a symbol, or a section for its start."""

    offset: int
    type: int
    target: Symbol | Section
    addend: int = 0


class _Strings:
    """A string table; equal strings share their place."""

    def __init__(self) -> None:
        self.data = bytearray(1)
        self._offsets = {"": 0}

    def add(self, text: str) -> int:
        offset = self._offsets.get(text)
        if offset is None:
            offset = self._offsets[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return offset


def write(machine: int, sections: list[Section], symbols: list[Symbol]) -> bytes:
    """The bytes of an object file for ``machine`` (an EM_ number)."""
    targets = dict.fromkeys(r.target for section in sections for r in section.relocations)
    referenced = [target for target in targets if isinstance(target, Section)]
    table = [Symbol("", section, type=STT_SECTION) for section in referenced]
    table += sorted(symbols, key=lambda symbol: symbol.bind)  # those of a section are local
    first_global = 1 + sum(symbol.bind == STB_LOCAL for symbol in table)
    symbol_numbers: dict[Symbol | Section, int] = {s: n for n, s in enumerate(table, 1)}
    symbol_numbers |= {section: n for n, section in enumerate(referenced, 1)}

    symtab = 1 + len(sections) + sum(bool(section.relocations) for section in sections)
    everything: list[Section] = []
    section_numbers: dict[Section, int] = {}
    for section in sections:
        everything.append(section)
        section_numbers[section] = number = len(everything)
        if section.relocations:
            everything.append(_relocations(section, number, symbol_numbers, symtab))
    everything += _symbol_tables(table, section_numbers, symtab, first_global)
    return _lay_out(machine, everything)


def _relocations(
    section: Section, number: int, symbol_numbers: dict[Symbol | Section, int], symtab: int
) -> Section:
    data = b"".join(
        RELA.pack(r.offset, symbol_numbers[r.target] << 32 | r.type, r.addend)
        for r in section.relocations
    )
    name = ".rela" + section.name
    return Section(name, data, SHF_INFO_LINK, 8, SHT_RELA, RELA.size, link=symtab, info=number)


def _symbol_tables(
    table: list[Symbol], section_numbers: dict[Section, int], symtab: int, first_global: int
) -> tuple[Section, Section]:
    strings = _Strings()
    entries = [bytes(SYM.size)]
    for symbol in table:
        number = 0 if symbol.section is None else section_numbers[symbol.section]
        info = symbol.bind << 4 | symbol.type
        entries.append(
            SYM.pack(strings.add(symbol.name), info, 0, number, symbol.value, symbol.size)
        )
    data = b"".join(entries)
    return (
        Section(".symtab", data, 0, 8, SHT_SYMTAB, SYM.size, link=symtab + 1, info=first_global),
        Section(".strtab", bytes(strings.data), type=SHT_STRTAB),
    )


def _lay_out(machine: int, sections: list[Section]) -> bytes:
    """Contents at aligned offsets, then the section headers, of which the first is empty."""
    names = _Strings()
    name_offsets = [names.add(name) for name in (*(s.name for s in sections), ".shstrtab")]
    sections = [*sections, Section(".shstrtab", bytes(names.data), type=SHT_STRTAB)]
    out = bytearray(EHDR.size)
    headers = [bytes(SHDR.size)]
    for section, name in zip(sections, name_offsets, strict=True):
        out += bytes(-len(out) % section.align)
        size = section.reserved if section.type == SHT_NOBITS else len(section.data)
        headers.append(
            SHDR.pack(
                name,
                section.type,
                section.flags,
                0,
                len(out),
                size,
                section.link,
                section.info,
                section.align,
                section.entsize,
            )
        )
        out += section.data
    out += bytes(-len(out) % 8)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64-bit, little-endian, version 1
    out[: EHDR.size] = EHDR.pack(
        ident,
        ET_REL,
        machine,
        EV_CURRENT,
        0,
        0,
        len(out),
        0,
        EHDR.size,
        0,
        0,
        SHDR.size,
        len(headers),
        len(headers) - 1,
    )
    return bytes(out) + b"".join(headers)
