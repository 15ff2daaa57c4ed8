"""How much memory a module takes, and of which kind (layout_sections, layout_symtab).

kernel/module/main.c and kallsyms.c since 6.4, which brought struct module_memory: seven kinds of
memory, each rounded up to the page by itself. Section sizes and alignments, the symbol table and
the string table decide; what the sections hold plays no part.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from loader.config import EM_AARCH64, PAGE_SIZE
from loader.image.elf import ElfModule
from loader.image.elf_format import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_RO_AFTER_INIT,
    SHF_WRITE,
    SHT_RELA,
    SYM,
)
from loader.release import Release

_KALLSYMS_SIZE = 32  # bytes: sizeof(struct mod_kallsyms)
_KALLSYMS_ALIGN = 8
_PLT_ENTRY, _PLT_ALIGN = 12, 64  # bytes: sizeof(struct plt_entry), L1_CACHE_BYTES on arm64
_BRANCHES = frozenset((282, 283))  # R_AARCH64_JUMP26, R_AARCH64_CALL26

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

_NO_MEMORY: tuple[str, ...] = (".modinfo", "__versions")
_NO_MEMORY_EXTENDED: tuple[str, ...] = ("__version_ext_crcs", "__version_ext_names")
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


def _align(size: int, alignment: int) -> int:
    """ALIGN() on an unsigned int: 32 bits, also of an alignment that is no power of two."""
    mask = ((alignment or 1) - 1) & 0xFFFFFFFF
    return (size + mask) & ~mask & 0xFFFFFFFF


def page_align(size: int) -> int:
    """``size`` bytes rounded up to whole pages."""
    return (size + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE


def section_flags(elf: ElfModule, release: Release) -> list[int]:
    """sh_flags of each section as the loader has rewritten them before it lays them out."""
    flags = list(elf.sh_flags)
    dropped = [elf.index_vers, elf.index_info, elf.index_pcpu]
    if release.extended_modversions:
        dropped += [elf.find(name) for name in _NO_MEMORY_EXTENDED]
    for index in dropped:
        flags[index] &= ~SHF_ALLOC
    marked = list(_RO_AFTER_INIT_SECTIONS)
    if release.static_call_sites_ro:
        marked.append(".static_call_sites")
    for name in marked:
        if index := elf.find(name):
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


def layout(elf: ElfModule, release: Release, kallsyms_all: bool = True) -> Layout:
    """The memory that ``elf`` takes. ``kallsyms_all``: CONFIG_KALLSYMS_ALL."""
    flags = section_flags(elf, release)
    alignments, lengths = elf.sh_addralign, elf.sh_size
    if elf.machine == EM_AARCH64:
        alignments, lengths = _frob_plts(elf, flags)
    sizes = [0] * 7
    kept: set[int] = set()  # sections whose symbols survive init
    for index, flag in enumerate(flags):
        if not flag & SHF_ALLOC:
            continue
        is_init = elf.name_starts_with(index, b".init")
        kind = _KINDS[flag & _DECIDING, is_init]
        if kind is not None:
            sizes[kind] = _align(sizes[kind], alignments[index]) + lengths[index] & 0xFFFFFFFF
            if not is_init and (kallsyms_all or flag & SHF_EXECINSTR):
                kept.add(index)
    if elf.index_pcpu and kallsyms_all:
        kept.add(elf.index_pcpu)
    _layout_symtab(elf, sizes, kept)
    return Layout._make(map(page_align, sizes))


def _layout_symtab(elf: ElfModule, sizes: list[int], kept: set[int]) -> None:
    """layout_symtab: symbols go to init data, those kept after init to the end of data as well."""
    symtab, strtab = elf.index_sym, elf.index_str
    names = _kept_names(elf, kept)
    find, start = elf.data.find, elf.sh_offset[strtab]
    string_bytes = sum([find(0, start + name) - start - name for name in names]) + len(names)
    size = _align(sizes[DATA], elf.sh_addralign[symtab]) + len(names) * SYM.size
    sizes[DATA] = size + string_bytes + len(names)
    size = _align(sizes[INIT_DATA], elf.sh_addralign[symtab]) + elf.sh_size[symtab]
    size = _align(size, elf.sh_addralign[strtab]) + elf.sh_size[strtab]
    sizes[INIT_DATA] = _align(size, _KALLSYMS_ALIGN) + _KALLSYMS_SIZE + elf.symbol_count()


def _kept_names(elf: ElfModule, kept: set[int]) -> list[int]:
    """st_name of the symbols that stay: index 0, and those that is_core_symbol says."""
    names, sections = elf.symbol_columns()
    if elf.tag("livepatch") is not None:
        return names
    return names[:1] + [
        name for name, shndx in zip(names[1:], sections[1:], strict=True) if shndx in kept and name
    ]


# -- arm64: procedure linkage tables --------------------------------------------------------------


def _frob_plts(elf: ElfModule, flags: list[int]) -> tuple[list[int], list[int]]:
    """module_frob_arch_sections (arch/arm64/kernel/module-plts.c): room for far branches.

    The new alignment and size of each section; ``flags`` is changed.
    """
    alignments, sizes = list(elf.sh_addralign), list(elf.sh_size)
    entries = {".plt": 1, ".init.plt": 1}
    _, shndx = elf.symbol_columns()
    for index, (kind, target) in enumerate(zip(elf.sh_type, elf.sh_info, strict=True)):
        if kind == SHT_RELA and target < elf.e_shnum and flags[target] & SHF_EXECINSTR:
            table = ".init.plt" if elf.name_starts_with(target, b".init") else ".plt"
            entries[table] += _far_branches(elf.content(index), target, shndx)
    for name, count in entries.items():
        for index in elf.named(name):
            flags[index] = SHF_EXECINSTR | SHF_ALLOC
            alignments[index], sizes[index] = _PLT_ALIGN, count * _PLT_ENTRY
    return alignments, sizes


def _far_branches(relocations: bytes, target: int, shndx: list[int]) -> int:
    """Branches out of section ``target``; those to one symbol without addend share an entry."""
    shared: set[int] = set()
    own = 0
    for _, info, addend in struct.iter_unpack("<QQq", relocations[: len(relocations) // 24 * 24]):
        symbol = info >> 32
        if info & 0xFFFFFFFF not in _BRANCHES or symbol >= len(shndx) or shndx[symbol] == target:
            continue
        if addend:
            own += 1
        else:
            shared.add(symbol)
    return own + len(shared)
