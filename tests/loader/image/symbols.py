"""A module with one symbol of the test's own."""

from __future__ import annotations

import io
import struct

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from loader.image.elf_format import SYM
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec


def with_symbol(name: str, info: int, shndx: int) -> bytes:
    """A module that imports ``name``, and has another kind of symbol there instead."""
    data = bytearray(build_module(ModuleSpec("made", machine="x86_64", imports=(name,))))
    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    index = next(i for i, symbol in enumerate(table.iter_symbols()) if symbol.name == name)
    place = table["sh_offset"] + index * SYM.size
    struct.pack_into("<BBH", data, place + 4, info, 0, shndx)
    return bytes(data)
