"""How much memory a module takes, and of which kind (layout_sections, layout_symtab).

kernel/module/main.c and kallsyms.c since 6.4, which brought struct module_memory: seven kinds of
memory, each rounded up to the page by itself. Section sizes and alignments, the symbol table and
the string table decide; what the sections hold plays no part.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from loader.config import EM_AARCH64, PAGE_SIZE
from loader.elf import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_RELA, SYM_SIZE, ElfModule
from loader.release import Release

SHF_RO_AFTER_INIT = 0x00200000  # include/linux/elf.h: set by the loader on its own copy
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
    flags = [section.sh_flags for section in elf.sections]
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


def layout(elf: ElfModule, release: Release, kallsyms_all: bool = True) -> Layout:
    """The memory that ``elf`` takes. ``kallsyms_all``: CONFIG_KALLSYMS_ALL."""
    flags = section_flags(elf, release)
    extents = [(section.sh_addralign, section.sh_size) for section in elf.sections]
    if elf.machine == EM_AARCH64:
        _frob_plts(elf, flags, extents)
    sizes = [0] * 7
    kept = bytearray(0x10000)  # by st_shndx: does the symbol survive init?
    for index, flag in enumerate(flags):
        if not flag & SHF_ALLOC:
            continue
        is_init = elf.names[index].startswith(b".init")
        kind = _place(flag, is_init)
        if kind is not None:
            alignment, size = extents[index]
            sizes[kind] = _align(sizes[kind], alignment) + size & 0xFFFFFFFF
            kept[index] = not is_init and (kallsyms_all or bool(flag & SHF_EXECINSTR))
    if elf.index_pcpu and kallsyms_all:
        kept[elf.index_pcpu] = True
    _layout_symtab(elf, sizes, kept)
    return Layout._make(map(page_align, sizes))


def _layout_symtab(elf: ElfModule, sizes: list[int], kept: bytearray) -> None:
    """layout_symtab: symbols go to init data, those kept after init to the end of data as well."""
    symbols, strings = elf.sections[elf.index_sym], elf.sections[elf.index_str]
    count = elf.symbol_count()
    names = _kept_names(elf, kept)
    find, start = elf.data.find, strings.sh_offset
    string_bytes = sum([find(0, start + name) - start - name for name in names]) + len(names)
    size = _align(sizes[DATA], symbols.sh_addralign) + len(names) * SYM_SIZE
    sizes[DATA] = size + string_bytes + len(names)
    size = _align(sizes[INIT_DATA], symbols.sh_addralign) + symbols.sh_size
    size = _align(size, strings.sh_addralign) + strings.sh_size
    sizes[INIT_DATA] = _align(size, _KALLSYMS_ALIGN) + _KALLSYMS_SIZE + count


def _kept_names(elf: ElfModule, kept: bytearray) -> list[int]:
    """st_name of the symbols that stay: index 0, and those that is_core_symbol says."""
    table = elf.symbol_names_and_sections()
    if "livepatch" in elf.modinfo:
        return [name for name, _ in table]
    first = next(table, None)
    if first is None:
        return []
    return [first[0]] + [name for name, shndx in table if kept[shndx] and name]


# -- arm64: procedure linkage tables --------------------------------------------------------------


def _frob_plts(elf: ElfModule, flags: list[int], extents: list[tuple[int, int]]) -> None:
    """module_frob_arch_sections (arch/arm64/kernel/module-plts.c): room for far branches."""
    entries = {".plt": 1, ".init.plt": 1}
    shndx = [symbol_shndx for _, symbol_shndx in elf.symbol_names_and_sections()]
    for index, section in enumerate(elf.sections):
        target = section.sh_info
        if section.sh_type != SHT_RELA or target >= len(elf.sections):
            continue
        if flags[target] & SHF_EXECINSTR:
            is_init = elf.names[target].startswith(b".init")
            count = _far_branches(elf.content(index), target, shndx)
            entries[".init.plt" if is_init else ".plt"] += count
    for name, count in entries.items():
        for index in elf.named(name):
            flags[index] = SHF_EXECINSTR | SHF_ALLOC
            extents[index] = (_PLT_ALIGN, count * _PLT_ENTRY)


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
