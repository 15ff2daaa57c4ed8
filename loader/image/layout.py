"""How much memory a module takes, and of which kind (layout_sections, layout_symtab).

kernel/module/main.c and kallsyms.c since 6.4, which brought struct module_memory: seven kinds of
memory, each rounded up to the page by itself. Section sizes and alignments, the symbol table and
the string table decide; what the sections hold plays no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, repeat
from typing import NamedTuple

from loader.config import EM_AARCH64, EM_X86_64, PAGE_SIZE, Config
from loader.image import plts
from loader.image.elf import ElfModule
from loader.image.elf_format import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_RO_AFTER_INIT,
    SHF_WRITE,
    SYM,
)
from loader.release import Release

_KALLSYMS_SIZE = 32  # bytes: sizeof(struct mod_kallsyms)
_KALLSYMS_ALIGN = 8
_LONG = 4096  # bytes, where no compiler's names get to
_SOON = 32 << 20  # bytes that are looked through in milliseconds

# enum mod_mem_type
TEXT, DATA, RODATA, RO_AFTER_INIT, INIT_TEXT, INIT_DATA, INIT_RODATA = range(7)

# (flags a section must have, flags it must not have, kind in the core pass, in the init pass).
# A section belongs to the first row it fits; init sections skip the row that has no kind for them.
_CLASSES: tuple[tuple[int, int, int, int | None], ...] = (
    (SHF_EXECINSTR | SHF_ALLOC, 0, TEXT, INIT_TEXT),
    (SHF_ALLOC, SHF_WRITE, RODATA, INIT_RODATA),
    (SHF_RO_AFTER_INIT | SHF_ALLOC, 0, RO_AFTER_INIT, None),
    (SHF_WRITE | SHF_ALLOC, 0, DATA, INIT_DATA),
)

_RO_AFTER_INIT_SECTIONS: tuple[str, ...] = (".data..ro_after_init", "__jump_table")


class Layout(NamedTuple):
    """Bytes of each kind of memory, rounded up to the page (struct module_memory)."""

    text: int = 0
    data: int = 0
    rodata: int = 0
    ro_after_init: int = 0
    init_text: int = 0
    init_data: int = 0
    init_rodata: int = 0

    @property
    def total(self) -> int:
        """Bytes of all seven kinds: what a load adds to total_mod_size."""
        return sum(self)

    @property
    def text_total(self) -> int:
        """Bytes of code with that of init: what a load adds to total_text_size."""
        return self.text + self.init_text

    @property
    def core(self) -> int:
        """Bytes kept once init is done: /proc/modules and coresize."""
        return self.text + self.data + self.rodata + self.ro_after_init

    @property
    def init(self) -> int:
        """Bytes freed once init is done: initsize while the module is coming."""
        return self.init_text + self.init_data + self.init_rodata


_UINT = 0xFFFFFFFF  # sizes are unsigned int: what does not fit is lost


def _align(size: int, alignment: int) -> int:
    """ALIGN() on an unsigned int: 32 bits, also of an alignment that is no power of two."""
    mask = ((alignment or 1) - 1) & _UINT
    return (size + mask) & ~mask & _UINT


def page_align(size: int, page: int = PAGE_SIZE) -> int:
    """``size`` bytes rounded up to whole pages."""
    return (size + page - 1) // page * page


def section_flags(elf: ElfModule, release: Release) -> list[int]:
    """sh_flags of each section as the loader has rewritten them before it lays them out."""
    flags = list(elf.sh_flags)
    dropped = (elf.index_vers, elf.index_vers_ext_crc, elf.index_vers_ext_name)
    for index in (*dropped, elf.index_info, elf.index_pcpu):
        flags[index] &= ~SHF_ALLOC
    marked = list(_RO_AFTER_INIT_SECTIONS)
    if release.static_call_sites_ro and elf.machine == EM_X86_64:
        marked.append(".static_call_sites")
    for name in marked:  # by the same commit each one of that name, before only the first
        found = elf.named(name) if release.static_call_sites_ro else [elf.find(name)]
        for index in filter(None, found):
            flags[index] |= SHF_RO_AFTER_INIT
    return flags


def _place(flags: int, is_init: bool) -> int | None:
    """The kind of memory that a section with these flags goes to, None for none."""
    for wanted, unwanted, core, init in _CLASSES:
        if flags & wanted == wanted and not flags & unwanted:
            kind = init if is_init else core
            if kind is not None:
                return kind
    return None


_DECIDING = SHF_WRITE | SHF_ALLOC | SHF_EXECINSTR | SHF_RO_AFTER_INIT

# (flags, init) -> kind, for every section that has memory: _place asked beforehand
_KINDS: dict[tuple[int, bool], int | None] = {
    (flags, is_init): _place(flags, is_init)
    for flags in (
        SHF_ALLOC | written | run | ro_after_init
        for written in (0, SHF_WRITE)
        for run in (0, SHF_EXECINSTR)
        for ro_after_init in (0, SHF_RO_AFTER_INIT)
    )
    for is_init in (False, True)
}


def layout(elf: ElfModule, config: Config) -> Layout:
    """The memory that ``elf`` takes of a kernel of this ``config``."""
    flags = section_flags(elf, config.release)
    alignments, lengths = elf.sh_addralign, elf.sh_size
    init = (b".init",) if config.module_unload else (b".init", b".exit")
    kallsyms_all = config.kallsyms_all
    if elf.machine == EM_AARCH64:
        alignments, lengths = plts.frob(elf, flags, init)
    sizes = [0] * 7
    kept: set[int] = set()  # sections whose symbols survive init
    for index, flag in enumerate(flags):
        if not flag & SHF_ALLOC:
            continue
        is_init = elf.name_starts_with(index, init)
        kind = _KINDS[flag & _DECIDING, is_init]
        if kind is not None:
            sizes[kind] = _align(sizes[kind], alignments[index]) + lengths[index] & _UINT
            if not is_init and (kallsyms_all or flag & SHF_EXECINSTR):
                kept.add(index)
    if elf.index_pcpu and kallsyms_all:
        kept.add(elf.index_pcpu)
    if config.kallsyms:
        _layout_symtab(elf, sizes, kept)
    page = config.page_size
    return Layout._make([page_align(size & _UINT, page) & _UINT for size in sizes])


def _layout_symtab(elf: ElfModule, sizes: list[int], kept: set[int]) -> None:
    """layout_symtab: symbols go to init data, those kept after init to the end of data as well."""
    symtab, strtab = elf.index_sym, elf.index_str
    count = string_bytes = 0
    for names in _kept_names(elf, kept):
        count += len(names)
        string_bytes += _string_bytes(elf, names)
    size = _align(sizes[DATA], elf.sh_addralign[symtab]) + count * SYM.size
    sizes[DATA] = size + string_bytes + count
    size = _align(sizes[INIT_DATA], elf.sh_addralign[symtab]) + elf.sh_size[symtab]
    size = _align(size, elf.sh_addralign[strtab]) + elf.sh_size[strtab]
    sizes[INIT_DATA] = _align(size, _KALLSYMS_ALIGN) + _KALLSYMS_SIZE + elf.symbol_count()


def _kept_names(elf: ElfModule, kept: set[int]) -> Iterator[list[int]]:
    """st_name of the symbols that stay, in groups.

    Index 0 stays, and those that is_core_symbol says; in a livepatch module all.
    """
    livepatch = elf.tag("livepatch") is not None
    for first, names, stays in elf.symbols_in(kept):
        if livepatch:
            yield names
            continue
        flags = bytes(stays)
        stay = list(filter(None, compress(names, flags)))
        if first == 0 and not (names[0] and flags[0]):
            stay.append(names[0])
        yield stay


def _string_bytes(elf: ElfModule, names: list[int]) -> int:
    """Bytes of the names at these places of the string table, each with its NUL."""
    data, strings = elf.data, elf.strings
    places = [strings + name for name in names]
    last = max(places, default=strings)
    ends: Iterator[int] = map(data.find, repeat(0), places)
    if not (_are_few(data, strings, last, len(places)) or _are_short(data, strings, last)):
        ends = _shared_ends(data, places)
    return sum(ends) - sum(places) + len(places)


def _are_few(data: bytes, first: int, last: int, count: int) -> bool:
    """Do they all end, and soon enough, however long they are?"""
    return count * (len(data) - first) <= _SOON and data.find(0, last) >= 0


def _are_short(data: bytes, first: int, last: int) -> bool:
    """Is every string that starts between two places shorter than twice _LONG?"""
    return all(
        data.find(0, place, place + _LONG) >= 0 for place in range(first, last + _LONG + 1, _LONG)
    )


def _shared_ends(data: bytes, places: list[int]) -> Iterator[int]:
    """Where the strings at these places end, lowest first.

    Many may be ends of one string as long as the file: its NUL is looked for once.
    """
    end = -1
    for place in sorted(places):
        if place > end:
            found = data.find(0, place)
            end = found if found >= 0 else len(data)
        yield end
