"""A module file as the kernel sees it: section headers, names, symbols, and nothing more.

Mirrors elf_validity_cache_copy (kernel/module/main.c; split into these checks in 6.12, the same
since 5.12 but for their messages). The kernel reads the file as 64-bit little-endian whatever its
header says of class and byte order, and what it does not check it does not look at: a general ELF
library would refuse files that the kernel loads and load files that it refuses. So the tables are
decoded here, a column at a time; the numbers come from pyelftools' tables of constants.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from operator import add
from typing import NamedTuple

from loader.config import MODULE_NAME_LEN, PAGE_SIZE
from loader.errors import Failure
from loader.image.elf_format import (
    EHDR,
    ELF_MAGIC,
    ET_REL,
    MODULE_NAME_OFFSET,
    RELA,
    SHDR,
    SHF_ALLOC,
    SHT_NOBITS,
    SHT_NULL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    SYM,
    THIS_MODULE,
)

NO_NAME = "(missing .modinfo section or name field)"

# Names may overlap: thousands of symbols can each have another end of one string as long as the
# file for their name. So no text is taken longer than anybody looks at it.
_NAME_MAX = 1024  # bytes: a line of the log; kallsyms takes half of it (KSYM_NAME_LEN)
_VALUE_MAX = 1 << 16  # bytes of a .modinfo value: a page is shown of it, `depends` may be longer
_BYTE = 256
_IS_ZERO = bytes((1,)) + bytes(_BYTE - 1)  # for bytes.translate
_SYMBOLS_AT_ONCE = 1 << 16  # as many as are held decoded, of a table that may fill the file


class Symbol(NamedTuple):
    """One Elf64_Sym. ``st_name`` is where its name starts in the string table."""

    st_name: int
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

    def __init__(
        self, data: bytes, machine: int, size: int | None = None, typed_strings: bool = True
    ) -> None:
        """Check ``data``; ``machine`` is the e_machine that this kernel runs.

        ``typed_strings``: it looks at the type of string tables.

        ElfError: the first check that fails, in the kernel's order.
        """
        self.data = data
        self.size = len(data) if size is None else size
        self.machine = machine
        self._typed_strings = typed_strings
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
        self.index_vers_ext_crc = self.index_vers_ext_name = 0
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
        if magic != ELF_MAGIC:
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
        self.sh_link, self.sh_info = words[10::16], words[11::16]
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
        if self._typed_strings and self.sh_type[index] != SHT_STRTAB:
            raise ElfError(f"Invalid ELF section name table type: {self.sh_type[index]}")
        size = self.sh_size[index]
        if size == 0:
            raise ElfError("empty section name table")
        self._name_table = self.sh_offset[index]
        self._name_table_end = self._name_table + size
        end = self._name_table_end  # one that has no content may be said to lie past the file
        if self.data[end - 1 : end] != b"\0":
            raise ElfError("ELF Spec violation: section name table isn't null terminated")
        self._check_section_names(size)

    def _check_section_names(self, size: int) -> None:
        if max(self.sh_name) < size:
            return
        for number, (name, kind) in enumerate(zip(self.sh_name, self.sh_type, strict=True)):
            if name >= size and kind != SHT_NULL:
                problem = f"Invalid ELF section name in module (section {number} type {kind})"
                raise ElfError(problem)

    # -- sections ---------------------------------------------------------------------------------

    def name(self, index: int) -> str:
        """The name of one section; no more than 1024 bytes of it."""
        return self.text(self._name_table + self.sh_name[index])

    def name_starts_with(self, index: int, start: bytes | tuple[bytes, ...]) -> bool:
        """Does the section's name begin so?"""
        return self.data.startswith(start, self._name_table + self.sh_name[index])

    def named(self, name: str) -> list[int]:
        """Sections of that name, in order.

        The table is searched for the name before the headers are: most names are in no module. A
        name may be the end of a longer one, and stand in the table more than once.
        """
        data, table, end = self.data, self._name_table, self._name_table_end
        wanted = name.encode() + b"\0"
        place = data.find(wanted, table, end)
        if place < 0:
            return []
        if data.find(wanted, place + 1, end) < 0:
            at = place - table
            return [i for i, start in enumerate(self.sh_name) if start == at and i]
        return [
            i
            for i, start in enumerate(self.sh_name)
            if data.startswith(wanted, table + start) and i
        ]

    def find(self, name: str) -> int:
        """The first allocated section of that name, 0 if there is none (find_sec)."""
        for index in self.named(name):
            if self.sh_flags[index] & SHF_ALLOC:
                return index
        return 0

    def extent(self, index: int) -> tuple[int, int]:
        """Where a section starts and ends in the file; (0, 0) for one without content there."""
        if self.sh_type[index] in (SHT_NULL, SHT_NOBITS):
            return 0, 0
        start = self.sh_offset[index]
        return start, start + self.sh_size[index]

    def is_blank(self, index: int) -> bool:
        """Is a section emptied: nothing but zeros in its first page?"""
        start, end = self.extent(index)
        return not self.data[start : min(end, start + PAGE_SIZE)].strip(b"\0")

    @cached_property
    def relocations(self) -> dict[int, list[memoryview]]:
        """Whole entries of the SHT_RELA sections, in order, by the section that they change.

        Tables that lie apart are together shorter than the file. Those that overlap it so often
        that they are longer are left out from there on.
        """
        tables: dict[int, list[memoryview]] = {}
        room, file = self.size, memoryview(self.data)
        for index, kind in enumerate(self.sh_type):
            if kind == SHT_RELA:
                room -= self.sh_size[index]
                if room < 0:
                    break
                start = self.sh_offset[index]
                table = file[start : start + self.sh_size[index] // RELA.size * RELA.size]
                tables.setdefault(self.sh_info[index], []).append(table)
        return tables

    def _unique(self, name: str) -> int:
        """find_any_unique_sec: its index, 0 if absent, negative if there are several."""
        found = self.named(name)
        return found[0] if len(found) == 1 else -len(found)

    def text(self, start: int, end: int | None = None, most: int = _NAME_MAX) -> str:
        """The C string at a place of the file, up to ``end``; no more than ``most`` bytes of it."""
        stop = start + most if end is None else min(start + most, end)
        found = self.data.find(b"\0", start, stop)
        text = self.data[start : stop if found < 0 else found]
        return text.decode("utf-8", "surrogateescape")

    # -- .modinfo ---------------------------------------------------------------------------------

    def tag(self, name: str) -> str | None:
        """The first value of a .modinfo tag, None if it is not there (get_modinfo)."""
        return next(self.values(name), None)

    def values(self, name: str) -> Iterator[str]:
        """The values of a .modinfo tag in order; no more than 65,536 bytes of each."""
        data, start = self.data, self.sh_offset[self.index_info]
        end = start + self.sh_size[self.index_info]
        wanted = name.encode() + b"="
        if data.startswith(wanted, start, end):
            yield self.text(start + len(wanted), end, _VALUE_MAX)
        found = data.find(b"\0" + wanted, start, end)
        while found >= 0:
            found += 1 + len(wanted)
            yield self.text(found, end, _VALUE_MAX)
            found = data.find(b"\0" + wanted, found, end)

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
        if self._typed_strings and self.sh_type[index] != SHT_STRTAB:
            raise ElfError(f"Invalid ELF symbol string table type: {self.sh_type[index]}")
        return index

    def cache_extended_versions(self) -> None:
        """elf_validity_cache_index_versions (6.14 and later): a name for each CRC."""
        crcs, names = self.find("__version_ext_crcs"), self.find("__version_ext_names")
        if bool(crcs) != bool(names):
            raise ElfError("extended version crc+name presence does not match")
        if crcs and self.sh_size[crcs] // 4 > self._strings_in(names):
            raise ElfError("more extended version crcs than names")
        self.index_vers_ext_crc, self.index_vers_ext_name = crcs, names

    def _strings_in(self, index: int) -> int:
        """How many strings end in a section that has content."""
        return self.data.count(b"\0", *self.extent(index))

    def ignore_versions(self) -> None:
        """As if the module had none: MODULE_INIT_IGNORE_MODVERSIONS."""
        self.index_vers = self.index_vers_ext_crc = self.index_vers_ext_name = 0

    def check_symbol_names(self) -> None:
        """elf_validity_cache_strtab (6.13 and later): every symbol's name inside the strings."""
        start, end = self.extent(self.index_str)
        if start == end:
            raise ElfError("empty symbol string table")
        if self.data[start]:
            raise ElfError("symbol string table missing leading NUL")
        if self.data[end - 1]:
            raise ElfError("symbol string table isn't NUL terminated")
        if any(max(names) >= end - start for _, names, _ in self.symbol_columns()):
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

    def symbol_columns(self, first: int = 0) -> Iterator[tuple[int, list[int], list[int]]]:
        """The symbols in groups: index of the first, st_name and st_shndx of each."""
        table, step = self._symbol_table_bytes(), _SYMBOLS_AT_ONCE * SYM.size
        for start in range(first * SYM.size, len(table), step):
            group = table[start : start + step]
            names, sections = group.cast("I")[0::6], group.cast("H")[3::12]
            yield start // SYM.size, names.tolist(), sections.tolist()

    def symbols_in(
        self, sections: Collection[int]
    ) -> Iterator[tuple[int, list[int], Iterable[int]]]:
        """The symbols in groups: index of the first, st_name of each, and of each whether it is in
        one of these sections, true or false.

        Numbers of sections are mostly single bytes: those of a group are told at once.
        """
        if max(sections, default=0) >= _BYTE:
            for first, names, found in self.symbol_columns():
                yield first, names, map(sections.__contains__, found)
            return
        wanted = bytearray(_BYTE)
        for number in sections:
            wanted[number] = True
        table, step = self._symbol_table_bytes(), _SYMBOLS_AT_ONCE * SYM.size
        for start in range(0, len(table), step):
            group = bytes(table[start : start + step])
            low, high = group[6 :: SYM.size], group[7 :: SYM.size]  # st_shndx
            found_in = low.translate(wanted)
            if high.count(0) < len(high):
                of_a_byte = int.from_bytes(high.translate(_IS_ZERO), "little")
                both = int.from_bytes(found_in, "little") & of_a_byte
                found_in = both.to_bytes(len(high), "little")
            yield start // SYM.size, memoryview(group).cast("I")[0::6].tolist(), found_in

    def symbol_sections(self) -> memoryview:
        """st_shndx of every symbol, to be asked for by index."""
        return self._symbol_table_bytes().cast("H")[3::12]

    @property
    def strings(self) -> int:
        """Where the symbols' names start in the file."""
        return self.sh_offset[self.index_str]

    def string(self, st_name: int) -> str:
        """A symbol's name; like the kernel's strlen it may run past the string table.

        No more than 1024 bytes of it: names of which so much is the same count as the same.
        """
        return self.text(self.strings + st_name)

    def symbol(self, index: int) -> Symbol:
        """One symbol of the table."""
        place = self.sh_offset[self.index_sym] + index * SYM.size
        name, info, _, shndx, value, _ = SYM.unpack_from(self.data, place)
        return Symbol(name, info, shndx, value)


def _signed(word: int) -> int:
    """As the kernel prints an unsigned int with %d."""
    return word - ((word & 1 << 31) << 1)
