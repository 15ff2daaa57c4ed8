"""What modules must be like for one kernel to load them, as its own modules show it.

No headers and no compiler: sizes and places in struct module, vermagic and the versions of symbols
are read from modules that were built for it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from loader.config import MACHINES, BuiltFor, Config
from loader.errors import UserError
from loader.image.built_for import learn_built_for
from loader.image.contents import extended_versions, versions
from loader.image.elf import ElfError, ElfModule
from loader.image.signature import module_length
from loader.release import release

_MACHINES = {number: name for name, number in MACHINES.items() if name != "arm64"}
_THIS_MODULE = ".rela.gnu.linkonce.this_module"
_RELEASE = re.compile(r"\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Abi:
    """One kernel as a module sees it.

    ``init_offset``, ``exit_offset``: where struct module has the
    addresses of these functions, in bytes. ``crcs``: versions of the symbols that its modules use;
    empty without CONFIG_MODVERSIONS.
    """

    machine: str
    vermagic: str
    struct_module_size: int
    init_offset: int
    exit_offset: int
    module_layout_crc: int | None
    crcs: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def release(self) -> str:
        """As uname -r has it."""
        return self.vermagic.partition(" ")[0]

    @property
    def series(self) -> str:
        """The release's first two numbers."""
        found = _RELEASE.match(self.release)
        return found[0] if found else self.release

    @property
    def flagged(self) -> bool:
        """Whether exports are as 7.1 has them."""
        config = Config(release=release(self.series), built_for=BuiltFor(self.vermagic))
        return config.export_flags

    @property
    def versioned(self) -> bool:
        """Whether its symbols have versions."""
        return "modversions" in self.vermagic


def learn_abi(modules: Iterable[bytes]) -> Abi:
    """From contents of unpacked modules of that kernel. UserError: they do not tell enough."""
    sample = list(modules)
    built = learn_built_for(sample)
    if built.vermagic is None or built.struct_module_size is None:
        raise UserError("none of the modules tells what kernel it was built for")
    machine = _MACHINES.get(built.machine or 0)
    if machine is None:
        raise UserError("the modules are for a machine that modfs does not know")
    places: set[tuple[int, int]] = set()
    crcs: dict[str, int] = {}
    for data in sample:
        places |= _functions(data)
        crcs |= _crcs(data)
    if len(places) != 1:
        raise UserError("the modules do not tell where struct module has its functions")
    ((init, end),) = places
    abi = Abi(machine, built.vermagic, built.struct_module_size, init, end, built.module_layout_crc)
    return replace(abi, crcs=crcs)


def _functions(data: bytes) -> set[tuple[int, int]]:
    """The two places in struct module, of a module that has both functions; else nothing."""
    elf = ELFFile(io.BytesIO(data))
    table = elf.get_section_by_name(_THIS_MODULE)
    if not isinstance(table, RelocationSection):
        return set()
    symbols = elf.get_section(table["sh_link"])
    assert isinstance(symbols, SymbolTableSection)
    named = {
        symbols.get_symbol(entry["r_info_sym"]).name: entry["r_offset"]
        for entry in table.iter_relocations()
    }
    init, end = named.get("init_module"), named.get("cleanup_module")
    return set() if init is None or end is None else {(init, end)}


def _crcs(data: bytes) -> dict[str, int]:
    machine = int.from_bytes(data[18:20], "little")
    try:
        elf = ElfModule(data, machine, module_length(data))
        elf.cache_indices(None)
    except ElfError:
        return {}
    return (versions(elf) or {}) | (extended_versions(elf) or {})
