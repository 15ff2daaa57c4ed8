"""What a load needs of a module beyond its layout: symbols, versions, parameters, licence."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from loader.image.elf import ElfModule
from loader.image.elf_format import SHN_ABS, SHN_COMMON, SHN_LIVEPATCH, STB_WEAK
from loader.image.parameters import Parameter, read_parameters

_VERSION = struct.Struct("<Q56s")  # struct modversion_info
_CRC = struct.Struct("<I")


class Export(NamedTuple):
    """A symbol that a module exports. ``crc`` None: not known. ``namespace`` "" for none."""

    name: str
    gpl: bool = False
    namespace: str = ""
    crc: int | None = None


class Need(NamedTuple):
    """One symbol that simplify_symbols has to settle.

    ``problem``: set for what can never be settled, the kernel's log line without module name.
    """

    name: str
    weak: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What the load needs beyond the layout: symbols, versions, parameters, licence.

    ``versions``: CRC by symbol from __versions, None if it holds none. ``percpu``: bytes and
    alignment of .data..percpu. ``crcs_missing``: exports without __kcrctab.
    """

    modinfo: dict[str, list[str]] = field(default_factory=dict)
    has_init: bool = True
    has_exit: bool = True
    needs: tuple[Need, ...] = ()
    exports: tuple[Export, ...] = ()
    versions: dict[str, int] | None = None
    parameters: dict[str, Parameter] = field(default_factory=dict)
    percpu: tuple[int, int] = (0, 0)
    crcs_missing: bool = False

    def tag(self, name: str) -> str | None:
        """The first value of a .modinfo tag, None if it is not there (get_modinfo)."""
        values = self.modinfo.get(name)
        return values[0] if values else None

    @property
    def depends(self) -> tuple[str, ...]:
        """Names of the modules that modpost found this one to need."""
        return tuple(
            name.replace("-", "_") for name in (self.tag("depends") or "").split(",") if name
        )


# -- contents -------------------------------------------------------------------------------------


def read_contents(elf: ElfModule) -> Contents:
    """Symbols, versions and parameters of a module that passed every check."""
    values: dict[str, tuple[int, int]] = {}  # the symbols that describe others: shndx, value
    needs: list[Need] = []
    defined: set[str] = set()
    count = elf.e_shnum
    symbols = list(elf.symbols())
    for symbol in symbols[1:]:
        if 0 < symbol.shndx < count:
            if symbol.name.startswith("__"):
                values[symbol.name] = symbol.shndx, symbol.value
            defined.add(symbol.name)
        elif need := _need(symbol.name, symbol.info, symbol.shndx, count):
            needs.append(need)
    exports = tuple(_exports(elf, values))
    pcpu = elf.index_pcpu
    return Contents(
        modinfo=elf.modinfo,
        has_init="init_module" in defined,
        has_exit="cleanup_module" in defined,
        needs=tuple(needs),
        exports=exports,
        versions=versions(elf),
        parameters=read_parameters(elf, symbols),
        percpu=(elf.sh_size[pcpu], elf.sh_addralign[pcpu]) if pcpu else (0, 0),
        crcs_missing=any(
            elf.find(table) and not elf.find(crcs)
            for table, crcs in (("__ksymtab", "__kcrctab"), ("__ksymtab_gpl", "__kcrctab_gpl"))
        ),
    )


def _need(name: str, info: int, shndx: int, count: int) -> Need | None:
    """What simplify_symbols does with a symbol that is not defined in a section."""
    if shndx == 0:
        return Need(name, weak=info >> 4 == STB_WEAK or name == "_GLOBAL_OFFSET_TABLE_")
    if shndx == SHN_COMMON:
        if name.startswith("__gnu_lto"):
            return None
        return Need(name, problem="please compile with -fno-common")
    if shndx in (SHN_ABS, SHN_LIVEPATCH):
        return None
    problem = f"Symbol {name} has an invalid section index {shndx} (max {count - 1})"
    return Need(name, problem=problem)


def _exports(elf: ElfModule, values: dict[str, tuple[int, int]]) -> list[Export]:
    exports = []
    for symbol, (shndx, _) in values.items():
        if not symbol.startswith("__ksymtab_"):
            continue
        name = symbol.removeprefix("__ksymtab_")
        gpl = elf.name(shndx).startswith(("__ksymtab_gpl", "___ksymtab_gpl"))
        namespace = _string_at(elf, values.get(f"__kstrtabns_{name}"))
        exports.append(Export(name, gpl, namespace, _crc_at(elf, values.get(f"__crc_{name}"))))
    return exports


def _string_at(elf: ElfModule, place: tuple[int, int] | None) -> str:
    if place is None:
        return ""
    content = elf.content(place[0])
    return content[place[1] :].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _crc_at(elf: ElfModule, place: tuple[int, int] | None) -> int | None:
    """The version of an export; None where the section was emptied."""
    if place is None:
        return None
    content = elf.content(place[0])
    if place[1] + _CRC.size > len(content) or not any(content):
        return None
    return int(_CRC.unpack_from(content, place[1])[0])


def versions(elf: ElfModule) -> dict[str, int] | None:
    """CRC of every symbol that the module was built against; None if nothing is recorded.

    A section of zeros records nothing: modules stripped to their tables have one.
    """
    content = elf.content(elf.index_vers) if elf.index_vers else b""
    if not any(content):
        return None
    whole = content[: len(content) // _VERSION.size * _VERSION.size]
    crcs: dict[str, int] = {}
    for crc, name in _VERSION.iter_unpack(whole):
        text = name.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        crcs.setdefault(text, crc)
    return crcs
