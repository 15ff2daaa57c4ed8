"""A module file as the kernel sees it: section headers, names, symbols, and nothing more.

Mirrors elf_validity_cache_copy (kernel/module/main.c; split into these checks in 6.12, the same
since 5.12 but for their messages). The kernel reads the file as 64-bit little-endian whatever its
header says of class and byte order, and what it does not check it does not look at: a general ELF
library would refuse files that the kernel loads and load files that it refuses. So the tables are
decoded here, a column at a time; the numbers come from pyelftools' tables of constants.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from operator import add
from typing import NamedTuple

from loader.config import MODULE_NAME_LEN
from loader.errors import Failure
from loader.image.elf_format import (
    EHDR,
    ET_REL,
    MODULE_NAME_OFFSET,
    SHDR,
    SHF_ALLOC,
    SHT_NOBITS,
    SHT_NULL,
    SHT_STRTAB,
    SHT_SYMTAB,
    SYM,
    THIS_MODULE,
)

NO_NAME = "(missing .modinfo section or name field)"


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

    ``sh_*`` are the columns of the section header table, named as in the specification: the flags
    of section 3 are ``sh_flags[3]``. ``index_*`` are section numbers, 0 for none. Positions are in
    bytes from the start of ``data``, of which the first ``size`` bytes are the module.
    """

    def __init__(self, data: bytes, machine: int, size: int | None = None) -> None:
        """Check ``data``; ``machine`` is the e_machine that this kernel runs.

        ElfError: the first check that fails, in the kernel's order.
        """
        self.data = data
        self.size = len(data) if size is None else size
        self.machine = machine
        self._cache_sechdrs()
        self._cache_secstrings()
        self.index_info = self._unique(".modinfo")
        if self.index_info < 0:
            raise ElfError("Only one .modinfo section must exist.")
        self.modinfo_name = self.tag("name") or ""

    def cache_indices(self, struct_module_size: int | None) -> None:
        """The checks that need the kernel's own build: this_module, symbols, strings.

        ``struct_module_size``: sizeof(struct module) in bytes, None if it is not known.
        """
        self.index_mod = self._this_module(struct_module_size)
        self.index_sym = self._symbol_table()
        self.index_str = self._symbol_strings()
        self.index_vers = self.find("__versions")
        self.index_pcpu = self.find(".data..percpu")

    # -- the header and its tables ----------------------------------------------------------------

    def _cache_sechdrs(self) -> None:
        """elf_validity_ehdr and elf_validity_cache_sechdrs."""
        data, size = self.data, self.size
        if size < EHDR.size:
            raise ElfError(f"Invalid ELF header len {size}")
        header = EHDR.unpack_from(data)
        magic, e_type, e_machine = header[0][:4], header[1], header[2]
        e_shoff, e_shentsize, e_shnum, self.e_shstrndx = header[6], *header[11:14]
        if magic != b"\x7fELF":
            raise ElfError("Invalid ELF header magic: != \x7fELF")
        if e_type != ET_REL:
            raise ElfError(f"Invalid ELF header type: {e_type} != {ET_REL}")
        if e_machine != self.machine:
            raise ElfError(f"Invalid architecture in ELF header: {e_machine}")
        if e_shentsize != SHDR.size:
            raise ElfError("Invalid ELF section header size")
        if e_shoff >= size or e_shnum * SHDR.size > size - e_shoff:
            raise ElfError("Invalid ELF section header overflow")
        # With e_shnum 0 the kernel still looks at section 0, wherever that is.
        table = data[e_shoff : e_shoff + max(e_shnum, 1) * SHDR.size].ljust(SHDR.size, b"\0")
        words, longs = memoryview(table).cast("I"), memoryview(table).cast("Q")
        if words[1] or longs[4] or longs[2]:
            raise ElfError(
                f"ELF Spec violation: section 0 type({_signed(words[1])})!=SH_NULL or non-zero len"
                " or addr"
            )
        self.e_shnum = e_shnum
        self.sh_name, self.sh_type = words[0::16].tolist(), words[1::16].tolist()
        self.sh_flags, self.sh_offset = longs[1::8].tolist(), longs[3::8].tolist()
        self.sh_size, self.sh_addralign = longs[4::8].tolist(), longs[6::8].tolist()
        self.sh_link, self.sh_info = words[10::16].tolist(), words[11::16].tolist()
        self._check_section_ends()

    def _check_section_ends(self) -> None:
        """validate_section_offset: all that has content lies inside the file."""
        if max(map(add, self.sh_offset, self.sh_size)) <= self.size:
            return
        for index in range(1, self.e_shnum):
            kind, end = self.sh_type[index], self.sh_offset[index] + self.sh_size[index]
            if end > self.size and kind not in (SHT_NULL, SHT_NOBITS):
                raise ElfError(f"Invalid ELF section in module (section {index} type {kind})")

    def _cache_secstrings(self) -> None:
        """elf_validity_cache_secstrings: the table of section names."""
        index, count = self.e_shstrndx, self.e_shnum
        if index == 0 or index >= count:
            raise ElfError(
                f"Invalid ELF section name index: {index} || e_shstrndx ({index}) >= e_shnum"
                f" ({count})"
            )
        if self.sh_type[index] != SHT_STRTAB:
            raise ElfError(f"Invalid ELF section name table type: {self.sh_type[index]}")
        size = self.sh_size[index]
        if size == 0:
            raise ElfError("empty section name table")
        self._names = self.data[self.sh_offset[index] : self.sh_offset[index] + size]
        if self._names[-1]:
            raise ElfError("ELF Spec violation: section name table isn't null terminated")
        if max(self.sh_name) < size:
            return
        for number, (name, kind) in enumerate(zip(self.sh_name, self.sh_type, strict=True)):
            if name >= size and kind != SHT_NULL:
                problem = f"Invalid ELF section name in module (section {number} type {kind})"
                raise ElfError(problem)

    # -- sections ---------------------------------------------------------------------------------

    def name(self, index: int) -> str:
        """The name of one section."""
        start = self.sh_name[index]
        return self._names[start:].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    def name_starts_with(self, index: int, start: bytes) -> bool:
        """Does the section's name begin so?"""
        return self._names.startswith(start, self.sh_name[index])

    def named(self, name: str) -> list[int]:
        """Sections of that name, in order.

        The table is searched for the name, then the headers for where it stands: most names are in
        no module. A name may be the end of a longer one.
        """
        wanted = name.encode() + b"\0"
        found: list[int] = []
        position = self._names.find(wanted)
        while position >= 0:
            index = 0
            for _ in range(self.sh_name.count(position) - (self.sh_name[0] == position)):
                index = self.sh_name.index(position, index + 1)
                found.append(index)
            position = self._names.find(wanted, position + 1)
        found.sort()
        return found

    def find(self, name: str) -> int:
        """The first allocated section of that name, 0 if there is none (find_sec)."""
        for index in self.named(name):
            if self.sh_flags[index] & SHF_ALLOC:
                return index
        return 0

    def content(self, index: int) -> bytes:
        """The bytes of a section; empty for one without content in the file."""
        if self.sh_type[index] in (SHT_NULL, SHT_NOBITS):
            return b""
        start = self.sh_offset[index]
        return self.data[start : start + self.sh_size[index]]

    def _unique(self, name: str) -> int:
        """find_any_unique_sec: its index, 0 if absent, negative if there are several."""
        found = self.named(name)
        return found[0] if len(found) == 1 else -len(found)

    # -- .modinfo ---------------------------------------------------------------------------------

    def tag(self, name: str) -> str | None:
        """The first value of a .modinfo tag, None if it is not there (get_modinfo)."""
        start = self.sh_offset[self.index_info]
        end = start + self.sh_size[self.index_info]
        wanted = name.encode() + b"="
        if self.data.startswith(wanted, start, end):
            found = start + len(wanted)
        else:
            found = self.data.find(b"\0" + wanted, start, end) + len(wanted) + 1
            if found <= start:
                return None
        return self.data[found:end].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    @property
    def modinfo(self) -> dict[str, list[str]]:
        """Each .modinfo tag's values, in order."""
        tags: dict[str, list[str]] = {}
        if self.index_info:
            start = self.sh_offset[self.index_info]
            content = self.data[start : start + self.sh_size[self.index_info]]
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
        if self.sh_type[index] == SHT_NOBITS:
            raise ElfError(f"{label}: {THIS_MODULE} section must have a size set")
        if not self.sh_flags[index] & SHF_ALLOC:
            raise ElfError(f"{label}: {THIS_MODULE} must occupy memory during process execution")
        if size is not None and self.sh_size[index] != size:
            raise ElfError(
                f"{label}: {THIS_MODULE} section size must match the kernel's built struct module"
                " size at run time"
            )
        return index

    def _symbol_table(self) -> int:
        if self.sh_type.count(SHT_SYMTAB) != 1:
            raise ElfError(f"{self.modinfo_name or NO_NAME}: module has no symbols (stripped?)")
        return self.sh_type.index(SHT_SYMTAB)

    def _symbol_strings(self) -> int:
        index, count = self.sh_link[self.index_sym], self.e_shnum
        if index == 0 or index >= count:
            shown = _signed(index)
            raise ElfError(
                f"Invalid ELF sh_link!=SHN_UNDEF({shown}) or (sh_link({shown}) >="
                f" hdr->e_shnum({count})"
            )
        if self.sh_type[index] != SHT_STRTAB:
            raise ElfError(f"Invalid ELF symbol string table type: {self.sh_type[index]}")
        return index

    def check_symbol_names(self) -> None:
        """elf_validity_cache_strtab (6.13 and later): every symbol's name inside the strings."""
        strings = self.content(self.index_str)
        if not strings:
            raise ElfError("empty symbol string table")
        if strings[0]:
            raise ElfError("symbol string table missing leading NUL")
        if strings[-1]:
            raise ElfError("symbol string table isn't NUL terminated")
        if max(self.symbol_columns()[0], default=0) >= len(strings):
            raise ElfError("symbol name out of bounds in string table")

    # -- symbols ----------------------------------------------------------------------------------

    @property
    def module_name(self) -> str:
        """The name in struct module; that of .modinfo where the structure holds none."""
        start = self.sh_offset[self.index_mod] + MODULE_NAME_OFFSET
        name = self.data[start : start + MODULE_NAME_LEN].split(b"\0", 1)[0]
        return name.decode("utf-8", "surrogateescape") or self.modinfo_name

    @property
    def log_name(self) -> str:
        """The name in messages before the module is listed: that of .modinfo first."""
        return self.modinfo_name or self.module_name

    def symbol_count(self) -> int:
        """Whole entries in the symbol table."""
        return self.sh_size[self.index_sym] // SYM.size

    def _symbol_table_bytes(self) -> memoryview:
        start = self.sh_offset[self.index_sym]
        return memoryview(self.data)[start : start + self.symbol_count() * SYM.size]

    def symbol_columns(self) -> tuple[list[int], list[int]]:
        """st_name and st_shndx of every symbol: all that the layout needs."""
        table = self._symbol_table_bytes()
        return table.cast("I")[0::6].tolist(), table.cast("H")[3::12].tolist()

    def string(self, st_name: int) -> str:
        """A symbol's name; like the kernel's strlen it may run past the string table."""
        start = self.sh_offset[self.index_str] + st_name
        end = self.data.find(b"\0", start)
        return self.data[start : end if end >= 0 else None].decode("utf-8", "surrogateescape")

    def symbols(self) -> Iterator[Symbol]:
        """Every symbol, with its name decoded."""
        for name, info, _, shndx, value, _ in SYM.iter_unpack(self._symbol_table_bytes()):
            yield Symbol(self.string(name), info, shndx, value)


def _signed(word: int) -> int:
    """As the kernel prints an unsigned int with %d."""
    return word - ((word & 1 << 31) << 1)
