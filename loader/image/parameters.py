"""A module's parameters as its file declares them: struct kernel_param in the section __param.

.modinfo has names and types; permissions, array sizes and the values before anything is set are in
the structures themselves (include/linux/moduleparam.h), which point at each other by relocations.
What the file does not tell (a section emptied of its bytes, a type of the module's own) is left
out, never guessed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from loader.image.elf import ElfModule, Symbol
from loader.image.elf_format import SHT_NOBITS, SHT_RELA
from loader.words import canonical

# Offsets in bytes: struct kernel_param
_PERM, _ARG = 24, 32

# struct kparam_array
_MAX, _NUM, _ELEM = 0, 8, 24

# type -> (bytes, how it is read, how it is shown)
_SCALARS: dict[str, tuple[str, str]] = {
    "byte": ("<B", "{}"),
    "short": ("<h", "{}"),
    "ushort": ("<H", "{}"),
    "int": ("<i", "{}"),
    "uint": ("<I", "{}"),
    "hexint": ("<I", "{:#08x}"),
    "long": ("<q", "{}"),
    "ulong": ("<Q", "{}"),
    "ullong": ("<Q", "{}"),
    "bint": ("<i", "{}"),
}

_FLAGS: dict[str, str] = {"bool": "NY", "invbool": "YN"}
_ARRAY_OF = "array of "

# struct kparam_string: its size at _MAX as well
_STRING = 8
Place = tuple[int, int]  # section, offset in it


def read_parameters(elf: ElfModule, symbols: Sequence[Symbol]) -> dict[str, Parameter]:
    """Parameters by canonical name, with mode, array size and text as far as the file tells."""
    parameters = parameters_of(elf.modinfo.get("parmtype", ()))
    if parameters:
        memory = _Memory(elf, symbols)
        for key, parameter in parameters.items():
            parameters[key] = _read_parameter(memory, parameter)
    return parameters


def _read_parameter(memory: _Memory, parameter: Parameter) -> Parameter:
    place = memory.symbol(f"__param_{parameter.name}")
    if place is None:
        return parameter
    mode = memory.number(place, _PERM, "<H") or 0
    argument = memory.pointer(place, _ARG)
    if parameter.type == "string":  # struct kparam_string
        maximum = memory.number(argument, _MAX, "<I") or None
        buffer = memory.pointer(argument, _STRING)
        shown = memory.string(buffer) if buffer else ""
        return parameter._replace(mode=mode, max_elements=maximum, default=shown)
    if not parameter.type.startswith(_ARRAY_OF):
        return parameter._replace(mode=mode, default=_text(memory, parameter.type, argument))
    maximum = memory.number(argument, _MAX, "<I") or None
    shown = _array_text(memory, parameter.type.removeprefix(_ARRAY_OF), argument, maximum or 0)
    return parameter._replace(mode=mode, max_elements=maximum, default=shown)


def _text(memory: _Memory, kind: str, place: Place | None, index: int = 0) -> str:
    """What a variable of this type shows; empty if its bytes are not in the file."""
    if kind == "charp":
        return memory.string(memory.pointer(place, 8 * index)) if place else ""
    if kind in _FLAGS:
        value = memory.number(place, index, "<B")
        return "" if value is None else _FLAGS[kind][bool(value)]
    if kind not in _SCALARS:
        return ""
    code, show = _SCALARS[kind]
    value = memory.number(place, index * struct.calcsize(code), code)
    return "" if value is None else show.format(value)


def _array_text(memory: _Memory, kind: str, array: Place | None, maximum: int) -> str:
    """param_array_get: as many elements as are counted, or all where nobody counts."""
    counter = memory.pointer(array, _NUM)
    count = memory.number(counter, 0, "<I") if counter else maximum
    elements = memory.pointer(array, _ELEM)
    if elements is None:
        return ""
    return ",".join(_text(memory, kind, elements, i) for i in range(min(count or 0, maximum)))


class _Memory:
    """The sections as they will lie in memory: bytes, and pointers by relocation."""

    def __init__(self, elf: ElfModule, symbols: Sequence[Symbol]) -> None:
        self._elf = elf
        self._symbols = symbols
        self._names = {s.name: (s.shndx, s.value) for s in symbols if s.name.startswith("__param_")}
        self._relocations: dict[int, dict[int, tuple[int, int]]] = {}

    def symbol(self, name: str) -> Place | None:
        """Where a symbol is; None if it is not in a section of this file."""
        place = self._names.get(name)
        return place if place and 0 < place[0] < self._elf.e_shnum else None

    def number(self, place: Place | None, offset: int, code: str) -> int | None:
        """A number at ``offset`` bytes after ``place``; memory without content in the file is 0."""
        if place is None:
            return None
        section, start = place
        if self._elf.sh_type[section] == SHT_NOBITS:
            return 0
        content = self._elf.content(section)
        start += offset
        if start < 0 or start + struct.calcsize(code) > len(content):
            return None
        return int(struct.unpack_from(code, content, start)[0])

    def pointer(self, place: Place | None, offset: int) -> Place | None:
        """Where the pointer at ``offset`` bytes after ``place`` will point to."""
        if place is None:
            return None
        section, start = place
        if section not in self._relocations:
            self._relocations[section] = self._read_relocations(section)
        found = self._relocations[section].get(start + offset)
        if found is None or found[0] >= len(self._symbols):
            return None
        symbol = self._symbols[found[0]]
        if not 0 < symbol.shndx < self._elf.e_shnum:
            return None
        return symbol.shndx, symbol.value + found[1]

    def string(self, place: Place | None) -> str:
        """The string there; a null pointer shows as the kernel's printf writes it."""
        if place is None:
            return "(null)"
        text = self._elf.content(place[0])[place[1] :].split(b"\0", 1)[0]
        return text.decode("utf-8", "surrogateescape")

    def _read_relocations(self, section: int) -> dict[int, tuple[int, int]]:
        """offset -> (symbol, addend) of all relocations that change ``section``."""
        elf = self._elf
        found = {}
        for index, (kind, target) in enumerate(zip(elf.sh_type, elf.sh_info, strict=True)):
            if kind == SHT_RELA and target == section:
                table = elf.content(index)
                for offset, info, addend in struct.iter_unpack(
                    "<QQq", table[: len(table) // 24 * 24]
                ):
                    found[offset] = (info >> 32, addend)
        return found


class Parameter(NamedTuple):
    """One parameter of a module: its type as .modinfo names it.

    ``max_elements``: of an array, or bytes of a "string"; None if not known. ``mode``: permissions
    in /sys/module/NAME/parameters, 0 where it is not shown. ``default``: its text until it is set.
    """

    name: str
    type: str
    max_elements: int | None = None
    mode: int = 0
    default: str = ""


def parameters_of(types: Iterable[str]) -> dict[str, Parameter]:
    """Parameters by canonical name, from the values of .modinfo's parmtype entries."""
    found = {}
    for entry in types:
        name, _, kind = entry.partition(":")
        found[canonical(name)] = Parameter(name, kind)
    return found
