"""What a load needs of a module beyond its layout: symbols, versions, parameters, licence."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from loader.config import Config
from loader.errors import Failure
from loader.image.elf import ElfModule, Symbol
from loader.image.elf_format import (
    SHF_ALLOC,
    SHN_ABS,
    SHN_COMMON,
    SHN_LIVEPATCH,
    SHN_UNDEF,
    SHT_NOTE,
    STB_WEAK,
)
from loader.image.parameters import Parameter, Place, read_parameters
from loader.image.relocations import relocation_failure
from loader.image.room import MOST, Room

_VERSION = struct.Struct("<Q56s")  # struct modversion_info
_CRC = struct.Struct("<I")
_EXPORT = 12  # bytes: sizeof(struct kernel_symbol)
_GPL_ONLY = 1  # KSYM_FLAG_GPL_ONLY

# The tags that a load looks at; only import_ns is taken more than once.
_TAGS = (
    *("depends", "intree", "license", "livepatch", "srcversion", "staging", "test", "vermagic"),
    "version",
)
_INIT, _EXIT = b"init_module\0", b"cleanup_module\0"
_OBSOLETE = ("__ksymtab_gpl", "__kcrctab_gpl")
_DESCRIBING = (b"__ksymtab_", b"__kstrtabns_", b"__crc_", b"__param_")
_NEED = 200  # bytes: what Python takes for one Need besides its name


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

    ``modinfo``: the values of those tags that a load looks at. ``versions``: CRC by symbol from
    __versions, None if it holds none; ``extended_versions``: those of __version_ext_crcs.
    ``unversioned``: there is neither. ``percpu``: bytes and alignment of .data..percpu.
    ``crcs_missing``, ``flags_missing``: exports without __kcrctab, __kflagstab. ``obsolete``:
    sections of exports that this kernel does not look at. ``relocation_failure``: ends the load
    when its relocations are applied. ``notes``: loaded sections of notes, by name, their bytes as
    text (surrogateescape).
    """

    modinfo: dict[str, list[str]] = field(default_factory=dict)
    has_init: bool = True
    has_exit: bool = True
    needs: Iterable[Need] = ()
    exports: tuple[Export, ...] = ()
    versions: dict[str, int] | None = None
    extended_versions: dict[str, int] | None = None
    unversioned: bool = False
    parameters: dict[str, Parameter] = field(default_factory=dict)
    percpu: tuple[int, int] = (0, 0)
    crcs_missing: bool = False
    flags_missing: bool = False
    obsolete: tuple[str, ...] = ()
    relocation_failure: Failure | None = None
    notes: dict[str, str] = field(default_factory=dict)

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


def read_contents(elf: ElfModule, config: Config | None = None) -> Contents:
    """Symbols, versions and parameters of a module that passed every check.

    ``config``: of the kernel that loads it, None for the default. All that is kept of a file takes
    about as much memory as the file, however often its names overlap (see loader.image.room).
    """
    config = config or Config()
    export_flags = config.export_flags
    found = _Symbols(elf)
    pcpu = elf.index_pcpu
    return Contents(
        notes=_notes(elf),
        modinfo=_modinfo(elf),
        has_init=found.has_init,
        has_exit=found.has_exit,
        needs=found.needs,
        exports=tuple((_flagged_exports if export_flags else _exports)(elf, found.places)),
        versions=versions(elf),
        extended_versions=extended_versions(elf),
        unversioned=not elf.index_vers and not elf.index_vers_ext_crc,
        parameters=read_parameters(elf, found.places),
        percpu=(elf.sh_size[pcpu], elf.sh_addralign[pcpu]) if pcpu else (0, 0),
        crcs_missing=any(
            _has_exports(elf, "__ksymtab" + kind) and not elf.find("__kcrctab" + kind)
            for kind in (("",) if export_flags else ("", "_gpl"))
        ),
        flags_missing=export_flags
        and _has_exports(elf, "__ksymtab")
        and not elf.find("__kflagstab"),
        obsolete=tuple(name for name in _OBSOLETE if export_flags and elf.find(name)),
        relocation_failure=relocation_failure(elf, config.release.relocation_places_told),
    )


def _has_exports(elf: ElfModule, table: str) -> bool:
    return elf.sh_size[elf.find(table)] >= _EXPORT


def _notes(elf: ElfModule) -> dict[str, str]:
    """add_notes_attrs."""
    notes: dict[str, str] = {}
    room = Room(elf.size)
    for index, kind in enumerate(elf.sh_type):
        if kind == SHT_NOTE and elf.sh_flags[index] & SHF_ALLOC and elf.sh_size[index]:
            if len(notes) >= MOST or not room.take(elf.sh_size[index]):
                break
            start, end = elf.extent(index)
            data = elf.data[start:end].decode("utf-8", "surrogateescape")
            notes.setdefault(elf.name(index), data)
    return notes


def _modinfo(elf: ElfModule) -> dict[str, list[str]]:
    tags = {name: [value] for name in _TAGS if (value := elf.tag(name)) is not None}
    namespaces = list(islice(elf.values("import_ns"), MOST))
    return tags | ({"import_ns": namespaces} if namespaces else {})


# -- symbols --------------------------------------------------------------------------------------


class _Symbols:
    """What one pass over the symbols finds.

    ``places``: where the symbols are that describe others, by name. ``needs``: what is not defined
    in a section.
    """

    def __init__(self, elf: ElfModule) -> None:
        self.places: dict[str, Place] = {}
        self.needs: Iterable[Need]
        self.has_init = self.has_exit = False
        names, room, needs = Room(elf.size), elf.size, []
        for symbol in _telling(elf):
            if 0 < symbol.shndx < elf.e_shnum:
                self._describe(elf, symbol, names)
            elif room >= 0 and (need := _need(elf, symbol)):
                needs.append(need)
                room -= _NEED + len(need.name) + len(need.problem)
        self.needs = tuple(needs) if room >= 0 else _ManyNeeds(elf)

    def _describe(self, elf: ElfModule, symbol: Symbol, names: Room) -> None:
        start = elf.strings + symbol.st_name
        if elf.data.startswith(_INIT, start):
            self.has_init = True
        elif elf.data.startswith(_EXIT, start):
            self.has_exit = True
        elif len(self.places) < MOST:
            name = elf.string(symbol.st_name)
            if names.take(len(name)):
                self.places[name] = symbol.shndx, symbol.value


def _telling(elf: ElfModule) -> Iterator[Symbol]:
    """The symbols that are not defined in a section, and those whose name tells something."""
    telling, count = (_INIT, _EXIT, *_DESCRIBING), elf.e_shnum
    starts, strings = elf.data.startswith, elf.strings
    for first, names, sections in elf.symbol_columns(1):
        for index, (name, shndx) in enumerate(zip(names, sections, strict=True), first):
            if not 0 < shndx < count or starts(telling, strings + name):
                yield elf.symbol(index)


class _ManyNeeds(Iterable[Need]):
    """Needs that would take more memory than their file: made anew when they are gone through."""

    def __init__(self, elf: ElfModule) -> None:
        self._elf = elf

    def __iter__(self) -> Iterator[Need]:
        for symbol in _telling(self._elf):
            if not 0 < symbol.shndx < self._elf.e_shnum and (need := _need(self._elf, symbol)):
                yield need


def _need(elf: ElfModule, symbol: Symbol) -> Need | None:
    """What simplify_symbols does with a symbol that is not defined in a section."""
    shndx = symbol.shndx
    if shndx in (SHN_ABS, SHN_LIVEPATCH):
        return None
    name = elf.string(symbol.st_name)
    if shndx == SHN_UNDEF:
        weak = symbol.info >> 4 == STB_WEAK or name == "_GLOBAL_OFFSET_TABLE_"
        return Need(name, weak=weak)
    if shndx == SHN_COMMON:
        if name.startswith("__gnu_lto"):
            return None
        return Need(name, problem="please compile with -fno-common")
    problem = f"Symbol {name} has an invalid section index {shndx} (max {elf.e_shnum - 1})"
    return Need(name, problem=problem)


# -- exports --------------------------------------------------------------------------------------


def _exports(elf: ElfModule, places: dict[str, Place]) -> Iterator[Export]:
    room = Room(elf.size)
    for symbol, (shndx, _) in places.items():
        if not symbol.startswith("__ksymtab_"):
            continue
        name = symbol.removeprefix("__ksymtab_")
        gpl = elf.name_starts_with(shndx, (b"__ksymtab_gpl", b"___ksymtab_gpl"))
        yield _export(elf, places, name, gpl, room)


def _flagged_exports(elf: ElfModule, places: dict[str, Place]) -> Iterator[Export]:
    """As 7.1 has them: those in __ksymtab, each with a byte of __kflagstab."""
    room, table = Room(elf.size), elf.find("__ksymtab")
    start, end = elf.extent(elf.find("__kflagstab"))
    flags = elf.data[start:end]
    for symbol, (shndx, value) in places.items():
        if not symbol.startswith("__ksymtab_") or shndx != table:
            continue
        flag = flags[value // _EXPORT] if value // _EXPORT < len(flags) else 0
        yield _export(elf, places, symbol.removeprefix("__ksymtab_"), bool(flag & _GPL_ONLY), room)


def _export(elf: ElfModule, places: dict[str, Place], name: str, gpl: bool, room: Room) -> Export:
    namespace = _string_at(elf, places.get(f"__kstrtabns_{name}"))
    if not room.take(len(namespace)):
        namespace = ""
    return Export(name, gpl, namespace, _crc_at(elf, places.get(f"__crc_{name}")))


def _string_at(elf: ElfModule, place: Place | None) -> str:
    if place is None:
        return ""
    start, end = elf.extent(place[0])
    return elf.text(start + place[1], end)


def _crc_at(elf: ElfModule, place: Place | None) -> int | None:
    """The version of an export; None where the section was emptied."""
    if place is None:
        return None
    start, end = elf.extent(place[0])
    start += place[1]
    if start + _CRC.size > end or elf.is_blank(place[0]):
        return None
    return int(_CRC.unpack_from(elf.data, start)[0])


def versions(elf: ElfModule) -> dict[str, int] | None:
    """CRC of every symbol that the module was built against; None if nothing is recorded.

    A section of zeros records nothing: modules stripped to their tables have one.
    """
    if not elf.index_vers or elf.is_blank(elf.index_vers):
        return None
    start, end = elf.extent(elf.index_vers)
    end -= (end - start) % _VERSION.size
    crcs: dict[str, int] = {}
    for crc, name in _VERSION.iter_unpack(memoryview(elf.data)[start:end]):
        text = name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        crcs.setdefault(text, crc)
    return crcs


def extended_versions(elf: ElfModule) -> dict[str, int] | None:
    """The same of __version_ext_crcs and __version_ext_names, which go before __versions (6.14)."""
    crcs, names = elf.index_vers_ext_crc, elf.index_vers_ext_name
    if not crcs or elf.is_blank(names):
        return None
    start, end = elf.extent(crcs)
    end -= (end - start) % _CRC.size
    texts = elf.data[slice(*elf.extent(names))].split(b"\0", (end - start) // _CRC.size)
    found: dict[str, int] = {}
    for (crc,), name in zip(_CRC.iter_unpack(elf.data[start:end]), texts, strict=False):
        found.setdefault(name.decode("utf-8", "surrogateescape"), crc)
    return found
