"""What arm64 adds to a module before it is laid out: procedure linkage tables.

module_frob_arch_sections (arch/arm64/kernel/module-plts.c). A branch reaches 128 MiB; for each that
might have to go further there is room for an entry of three instructions. The same in 6.4 to 7.3;
what processors with erratum 843419 (Cortex-A53) take besides is left out.
"""

from __future__ import annotations

from loader.config import EM_AARCH64
from loader.image.elf import ElfModule
from loader.image.elf_format import RELA, SHF_ALLOC, SHF_EXECINSTR

_ENTRY, _ENTRY_ALIGN = 12, 4  # bytes: struct plt_entry
_PLT_ALIGN = 64  # bytes: L1_CACHE_BYTES
_PLTS = (".plt", ".init.plt")
_TRAMPOLINES = (".text.ftrace_trampoline", ".init.text.ftrace_trampoline")
_BRANCHES = frozenset((282, 283))  # R_AARCH64_JUMP26, R_AARCH64_CALL26


def missing(elf: ElfModule) -> str:
    """What the kernel logs of a module that lacks one of the two tables; "" if it has both."""
    if elf.machine != EM_AARCH64 or all(elf.named(name) for name in _PLTS):
        return ""
    return "module PLT section(s) missing"


def frob(elf: ElfModule, flags: list[int], init: tuple[bytes, ...]) -> tuple[list[int], list[int]]:
    """The new alignment and size of each section, in bytes; ``flags`` is changed.

    ``init``: how the names of sections begin that are gone once init is done.
    """
    alignments, sizes = list(elf.sh_addralign), list(elf.sh_size)
    entries = dict.fromkeys(_PLTS, 1)
    shndx = elf.symbol_sections()
    for target, tables in elf.relocations.items():
        if target < elf.e_shnum and flags[target] & SHF_EXECINSTR:
            plt = ".init.plt" if elf.name_starts_with(target, init) else ".plt"
            entries[plt] += sum(_far_branches(table, target, shndx) for table in tables)
    changed = [(name, _PLT_ALIGN, count * _ENTRY) for name, count in entries.items()]
    changed += [(name, _ENTRY_ALIGN, _ENTRY) for name in _TRAMPOLINES]
    for name, alignment, size in changed:
        for index in elf.named(name)[-1:]:
            flags[index] = SHF_EXECINSTR | SHF_ALLOC
            alignments[index], sizes[index] = alignment, size
    return alignments, sizes


def _far_branches(table: memoryview, target: int, shndx: memoryview) -> int:
    """Branches out of section ``target``; equal ones without addend share an entry.

    The kernel finds those that are equal by sorting (count_plts). If nothing but such branches is
    in the table, the last of them is left where it is (partition_branch_plt_relas), so that only
    the greatest of the others can be equal to it.
    """
    shared: set[int] = set()
    own = count = 0
    greatest = last = (0, 0, 0)  # type, symbol, addend: the order of sorting
    for _, info, addend in RELA.iter_unpack(table):
        symbol, kind = info >> 32, info & 0xFFFFFFFF
        if kind not in _BRANCHES or symbol >= len(shndx) or shndx[symbol] == target:
            continue
        greatest, last = max(greatest, last), (kind, symbol, addend)
        count += 1
        if addend:
            own += 1
        elif count * RELA.size < len(table):
            shared.add(info)
    if count * RELA.size == len(table) and not last[2]:
        own += last != greatest
    return own + len(shared)
