"""A module file as the kernel sees it: section headers, names, symbols, and nothing more.

Mirrors elf_validity_cache_copy (kernel/module/main.c; split into these checks in 6.12, the same
since 5.12 but for their messages). The kernel reads the file as 64-bit little-endian whatever its
header says of class and byte order, and what it does not check it does not look at: a general ELF
library would refuse files that the kernel loads and load files that it refuses. So the tables are
decoded here, each in one sweep; the numbers come from pyelftools' tables of constants.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import NamedTuple

from elftools.elf.constants import SH_FLAGS, SHN_INDICES

from loader.errors import Failure

SHF_WRITE: int = SH_FLAGS.SHF_WRITE
SHF_ALLOC: int = SH_FLAGS.SHF_ALLOC
SHF_EXECINSTR: int = SH_FLAGS.SHF_EXECINSTR
SHN_ABS: int = SHN_INDICES.SHN_ABS
SHN_COMMON: int = SHN_INDICES.SHN_COMMON
SHN_LIVEPATCH = 0xFF20  # include/uapi/linux/elf.h

SHT_NULL, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS = 0, 2, 3, 4, 8
ET_REL = 1
STB_WEAK = 2

_EHDR = struct.Struct("<4s12xHHIQQQIHHHHHH")  # Elf64_Ehdr
_SHDR = struct.Struct("<IIQQQQIIQQ")  # Elf64_Shdr
EHDR_SIZE = _EHDR.size
SYM_SIZE = 24  # bytes: Elf64_Sym
_SYM_NAME_SHNDX = struct.Struct("<I2xH16x")
_SYM = struct.Struct("<IBBHQQ")

THIS_MODULE = ".gnu.linkonce.this_module"
_NAME_OFFSET = 24  # bytes into struct module: state, list head, then the name
MODULE_NAME_LEN = 56  # bytes, with the NUL
NO_NAME = "(missing .modinfo section or name field)"


class Section(NamedTuple):
    """One Elf64_Shdr, its fields named as in the specification."""

    sh_name: int
    sh_type: int
    sh_flags: int
    sh_addr: int
    sh_offset: int
    sh_size: int
    sh_link: int
    sh_info: int
    sh_addralign: int
    sh_entsize: int


class Symbol(NamedTuple):
    """One Elf64_Sym with its name."""

    name: str
    info: int
    shndx: int
    value: int


class ElfError(Exception):
    """The kernel would not take this file: ``failure`` holds ENOEXEC and the log line."""

    def __init__(self, *log: str) -> None:
        super().__init__(*log)
        self.failure = Failure(errno.ENOEXEC, log)


class ElfModule:
    """A file that passed the kernel's checks, with the indices that they found.

    ``index_*`` are section numbers, 0 for none. ``modinfo`` is each .modinfo tag's values in order.
    """

    def __init__(self, data: bytes, machine: int) -> None:
        """Check ``data``; ``machine`` is the e_machine that this kernel runs.

        ElfError: the first check that fails, in the kernel's order.
        """
        self.data = data
        self.machine = machine
        self.sections = _section_headers(data, machine)
        self.names, self._names = _section_names(data, self.sections)
        self.index_info = self._unique(".modinfo")
        if self.index_info < 0:
            raise ElfError("Only one .modinfo section must exist.")
        self.modinfo = self._modinfo()
        self.modinfo_name = self.modinfo.get("name", [""])[0]

    def cache_indices(self, struct_module_size: int | None) -> None:
        """The checks that need the kernel's own build: this_module, symbols, strings.

        ``struct_module_size``: sizeof(struct module) in bytes, None if it is not known.
        """
        self.index_mod = self._this_module(struct_module_size)
        self.index_sym = self._symbol_table()
        self.index_str = self._symbol_strings()
        self.index_vers = self.find("__versions")
        self.index_pcpu = self.find(".data..percpu")

    # -- sections ---------------------------------------------------------------------------------

    def find(self, name: str) -> int:
        """The first allocated section of that name, 0 if there is none (find_sec)."""
        for index in self.named(name):
            if self.sections[index].sh_flags & SHF_ALLOC:
                return index
        return 0

    def content(self, index: int) -> bytes:
        """The bytes of a section; empty for one without content in the file."""
        section = self.sections[index]
        if section.sh_type in (SHT_NULL, SHT_NOBITS):
            return b""
        return self.data[section.sh_offset : section.sh_offset + section.sh_size]

    def named(self, name: str) -> Iterator[int]:
        """Sections of that name, in order. Most names are in no module: the table tells at once."""
        wanted = name.encode()
        if wanted + b"\0" in self._names:
            for index, found in enumerate(self.names):
                if index and found == wanted:
                    yield index

    def _unique(self, name: str) -> int:
        """find_any_unique_sec: its index, 0 if absent, negative if there are several."""
        found = list(self.named(name))
        return found[0] if len(found) == 1 else -len(found)

    # -- .modinfo ---------------------------------------------------------------------------------

    def _modinfo(self) -> dict[str, list[str]]:
        tags: dict[str, list[str]] = {}
        if self.index_info:
            section = self.sections[self.index_info]
            content = self.data[section.sh_offset : section.sh_offset + section.sh_size]
            for entry in content.decode("utf-8", "surrogateescape").split("\0"):
                tag, equals, value = entry.partition("=")
                if equals:
                    tags.setdefault(tag, []).append(value)
        return tags

    # -- the checks of elf_validity_cache_index_* -------------------------------------------------

    def _this_module(self, size: int | None) -> int:
        label = f"module {self.modinfo_name or NO_NAME}"
        index = self._unique(THIS_MODULE)
        if index <= 0:
            raise ElfError(f"{label}: Exactly one {THIS_MODULE} section must exist.")
        section = self.sections[index]
        if section.sh_type == SHT_NOBITS:
            raise ElfError(f"{label}: {THIS_MODULE} section must have a size set")
        if not section.sh_flags & SHF_ALLOC:
            raise ElfError(f"{label}: {THIS_MODULE} must occupy memory during process execution")
        if size is not None and section.sh_size != size:
            raise ElfError(
                f"{label}: {THIS_MODULE} section size must match the kernel's built struct module"
                " size at run time"
            )
        return index

    def _symbol_table(self) -> int:
        tables = [i for i, s in enumerate(self.sections) if i and s[1] == SHT_SYMTAB]
        if len(tables) != 1:
            raise ElfError(f"{self.modinfo_name or NO_NAME}: module has no symbols (stripped?)")
        return tables[0]

    def _symbol_strings(self) -> int:
        index, count = self.sections[self.index_sym].sh_link, len(self.sections)
        if index == 0 or index >= count:
            shown = index if index < 1 << 31 else index - (1 << 32)
            raise ElfError(
                f"Invalid ELF sh_link!=SHN_UNDEF({shown}) or (sh_link({shown}) >="
                f" hdr->e_shnum({count})"
            )
        section = self.sections[index]
        if section.sh_type != SHT_STRTAB:
            raise ElfError(f"Invalid ELF symbol string table type: {section.sh_type}")
        return index

    def check_symbol_names(self) -> None:
        """elf_validity_cache_strtab (6.13 and later): every symbol's name inside the strings."""
        section = self.sections[self.index_str]
        strings = self.content(self.index_str)
        if section.sh_size == 0:
            raise ElfError("empty symbol string table")
        if strings[:1] != b"\0":
            raise ElfError("symbol string table missing leading NUL")
        if strings[-1:] != b"\0":
            raise ElfError("symbol string table isn't NUL terminated")
        if any(name >= section.sh_size for name, _ in self.symbol_names_and_sections()):
            raise ElfError("symbol name out of bounds in string table")

    # -- symbols ----------------------------------------------------------------------------------

    @property
    def module_name(self) -> str:
        """The name in struct module; that of .modinfo where the structure holds none."""
        start = self.sections[self.index_mod].sh_offset + _NAME_OFFSET
        name = self.data[start : start + MODULE_NAME_LEN].split(b"\0", 1)[0]
        return name.decode("utf-8", "surrogateescape") or self.modinfo_name

    @property
    def log_name(self) -> str:
        """The name in messages before the module is listed: that of .modinfo first."""
        return self.modinfo_name or self.module_name

    def symbol_count(self) -> int:
        """Whole entries in the symbol table."""
        return self.sections[self.index_sym].sh_size // SYM_SIZE

    def _symbol_table_bytes(self) -> bytes:
        start = self.sections[self.index_sym].sh_offset
        return self.data[start : start + self.symbol_count() * SYM_SIZE]

    def symbol_names_and_sections(self) -> Iterator[tuple[int, int]]:
        """(st_name, st_shndx) of every symbol: all that the layout needs."""
        return _SYM_NAME_SHNDX.iter_unpack(self._symbol_table_bytes())

    def string(self, st_name: int) -> str:
        """A symbol's name; like the kernel's strlen it may run past the string table."""
        start = self.sections[self.index_str].sh_offset + st_name
        end = self.data.find(b"\0", start)
        return self.data[start : end if end >= 0 else None].decode("utf-8", "surrogateescape")

    def symbols(self) -> Iterator[Symbol]:
        """Every symbol, with its name decoded."""
        for name, info, _, shndx, value, _ in _SYM.iter_unpack(self._symbol_table_bytes()):
            yield Symbol(self.string(name), info, shndx, value)


def _section_headers(data: bytes, machine: int) -> list[Section]:
    """elf_validity_ehdr and elf_validity_cache_sechdrs."""
    size = len(data)
    if size < EHDR_SIZE:
        raise ElfError(f"Invalid ELF header len {size}")
    header = _EHDR.unpack_from(data)
    magic, e_type, e_machine = header[0], header[1], header[2]
    e_shoff, e_shentsize, e_shnum = header[6], header[11], header[12]
    if magic != b"\x7fELF":
        raise ElfError("Invalid ELF header magic: != \x7fELF")
    if e_type != ET_REL:
        raise ElfError(f"Invalid ELF header type: {e_type} != {ET_REL}")
    if e_machine != machine:
        raise ElfError(f"Invalid architecture in ELF header: {e_machine}")
    if e_shentsize != _SHDR.size:
        raise ElfError("Invalid ELF section header size")
    if e_shoff >= size or e_shnum * _SHDR.size > size - e_shoff:
        raise ElfError("Invalid ELF section header overflow")
    table = data[e_shoff : e_shoff + max(e_shnum, 1) * _SHDR.size]
    # With e_shnum 0 the kernel still looks at section 0, wherever that is.
    table = table.ljust(_SHDR.size, b"\0")
    sections = [Section._make(fields) for fields in _SHDR.iter_unpack(table)]
    first = sections[0]
    if first.sh_type or first.sh_size or first.sh_addr:
        shown = first.sh_type if first.sh_type < 1 << 31 else first.sh_type - (1 << 32)
        raise ElfError(
            f"ELF Spec violation: section 0 type({shown})!=SH_NULL or non-zero len or addr"
        )
    del sections[e_shnum:]
    for index, (_, sh_type, _, _, offset, length, *_) in enumerate(sections):
        if offset + length > size and index and sh_type not in (SHT_NULL, SHT_NOBITS):
            raise ElfError(f"Invalid ELF section in module (section {index} type {sh_type})")
    return sections


def _section_names(data: bytes, sections: list[Section]) -> tuple[list[bytes], bytes]:
    """elf_validity_cache_secstrings: each section's name, and the table with all of them."""
    index, count = int.from_bytes(data[62:64], "little"), len(sections)
    if index == 0 or index >= count:
        raise ElfError(
            f"Invalid ELF section name index: {index} || e_shstrndx ({index}) >= e_shnum ({count})"
        )
    section = sections[index]
    if section.sh_type != SHT_STRTAB:
        raise ElfError(f"Invalid ELF section name table type: {section.sh_type}")
    size = section.sh_size
    if size == 0:
        raise ElfError("empty section name table")
    table = data[section.sh_offset : section.sh_offset + size]
    if table[-1]:
        raise ElfError("ELF Spec violation: section name table isn't null terminated")
    names = []
    for number, (sh_name, sh_type, *_) in enumerate(sections):
        if sh_name < size:
            names.append(table[sh_name : table.index(0, sh_name)])
        elif sh_type == SHT_NULL:
            names.append(b"")  # has no name; the kernel compares whatever lies there
        else:
            raise ElfError(f"Invalid ELF section name in module (section {number} type {sh_type})")
    return names, table
