"""A module's parameters as its file declares them: struct kernel_param in the section __param.

.modinfo has names and types; permissions, array sizes and the values before anything is set are in
the structures themselves (include/linux/moduleparam.h), which point at each other by relocations.
What the file does not tell (a section emptied of its bytes, a type of the module's own) is left
out, never guessed.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from operator import le
from typing import NamedTuple

from loader.config import PAGE_SIZE
from loader.image.elf import ElfModule
from loader.image.elf_format import RELA, SHT_NOBITS
from loader.image.own_checks import OWN_CHECKS, OwnCheck
from loader.image.parameter_types import ARRAY_OF, CHARP, FLAGS, INTEGERS, STRING, WIDTHS
from loader.image.room import MOST, Room
from loader.words import canonical

# Offsets in bytes: struct kernel_param
_NAME, _OPS, _PERM, _PARAM_FLAGS, _ARG, _PARAM = 0, 16, 24, 27, 32, 40
_UNSAFE = 1  # KERNEL_PARAM_FL_UNSAFE

# struct kernel_param_ops
_FLAGS, _SET, _GET = 0, 8, 16
_NOARG = 1  # KERNEL_PARAM_OPS_FL_NOARG
_SETTER, _GETTER = "param_set_", "param_get_"

# struct kparam_array
_MAX, _NUM, _ELEM = 0, 8, 24

# struct kparam_string: its size at _MAX as well
_BUFFER = 8
_SHOWN = PAGE_SIZE - 1  # bytes that sysfs shows of a value, the newline at its end among them
_ALL_SHOWN = 1 << 18  # characters of all values of a module; those of a real one take some pages
Place = tuple[int, int]  # section, offset in it


def read_parameters(elf: ElfModule, places: Mapping[str, Place]) -> dict[str, Parameter]:
    """Parameters by canonical name, with mode, array size and text as far as the file tells.

    ``places``: where the symbols __param_NAME are.
    """
    parameters = parameters_of(elf.values("parmtype"))
    memory, room, found = _Memory(elf), Room(_ALL_SHOWN), set[Place]()
    for key, parameter in parameters.items():
        place = places.get(f"__param_{parameter.name}")
        if place and place[0] < elf.e_shnum:
            parameters[key] = _read_parameter(memory, place, parameter, room)
            found.add(place)
    for place in _undeclared(elf, found):
        name = memory.pointer(place, _NAME)
        if name is not None and room.take(len(text := memory.string(name))):
            parameter = _read_parameter(memory, place, Parameter(text, ""), room)
            parameters.setdefault(canonical(text), parameter)
    return parameters


def _undeclared(elf: ElfModule, found: Set[Place]) -> Iterator[Place]:
    """Those whose type .modinfo does not tell (module_param_cb, module_param_call)."""
    section = elf.find("__param")
    count = min(elf.sh_size[section] // _PARAM, MOST) if section else 0
    places = ((section, _PARAM * number) for number in range(count))
    return (place for place in places if place not in found)


def _read_parameter(memory: _Memory, place: Place, parameter: Parameter, room: Room) -> Parameter:
    """With what struct kernel_param at ``place`` tells; without text where ``room`` has no more."""
    flags = memory.number(place, _PARAM_FLAGS, "<B") or 0
    mode = memory.number(place, _PERM, "<H") or 0
    parameter = parameter._replace(mode=mode, unsafe=bool(flags & _UNSAFE))
    operations = memory.pointer(place, _OPS)
    if operations is not None:  # else the kernel's, of the type that .modinfo tells
        parameter = _with_own(memory, operations, parameter)
    argument, kind = memory.pointer(place, _ARG), parameter.type
    if room.left < 0:
        return parameter
    if kind == STRING:  # struct kparam_string
        maximum = memory.number(argument, _MAX, "<I") or None
        buffer = memory.pointer(argument, _BUFFER)
        shown = memory.string(buffer) if buffer else ""
        parameter = parameter._replace(max_elements=maximum, default=shown)
    elif kind.startswith(ARRAY_OF):
        maximum = memory.number(argument, _MAX, "<I") or None
        shown = _array_text(memory, kind.removeprefix(ARRAY_OF), argument, maximum or 0)
        counted = memory.pointer(argument, _NUM) is not None or argument is None
        parameter = parameter._replace(max_elements=maximum, default=shown, counted=counted)
    else:
        parameter = parameter._replace(default=_text(memory, kind, argument))
    room.take(len(parameter.default))
    return parameter


def _with_own(memory: _Memory, operations: Place, parameter: Parameter) -> Parameter:
    """With what a struct kernel_param_ops of the module's own tells: which of the kernel's
    functions are in it."""
    setter, getter = memory.undefined(operations, _SET), memory.undefined(operations, _GET)
    kind = parameter.type
    for name, start in ((getter, _GETTER), (setter, _SETTER)):
        found = name.removeprefix(start)
        if kind not in WIDTHS and found in WIDTHS:
            kind = found
    flags = memory.number(operations, _FLAGS, "<I") or 0
    return parameter._replace(
        type=kind,
        own_set=not setter,
        check=None if setter else OWN_CHECKS.get((memory.module, canonical(parameter.name))),
        no_argument=bool(flags & _NOARG),
    )


def _text(memory: _Memory, kind: str, place: Place | None, index: int = 0) -> str:
    """What a variable of this type shows; empty if its bytes are not in the file."""
    if kind == CHARP:
        return memory.string(memory.pointer(place, 8 * index)) if place else ""
    if kind in FLAGS:
        value = memory.number(place, index, "<B")
        return "" if value is None else FLAGS[kind][bool(value)]
    if kind not in INTEGERS:
        return ""
    integer = INTEGERS[kind]
    value = memory.number(place, index * WIDTHS[kind], integer.code)
    return "" if value is None else integer.show.format(value)


def _array_text(memory: _Memory, kind: str, array: Place | None, maximum: int) -> str:
    """param_array_get: as many elements as are counted, or all where nobody counts.

    Those that lie in the section and that a page has room for. Each has a comma or the newline
    after it.
    """
    counter = memory.pointer(array, _NUM)
    count = memory.number(counter, 0, "<I") if counter else maximum
    elements = memory.pointer(array, _ELEM)
    if elements is None or kind not in WIDTHS:
        return ""
    count = min(count or 0, maximum, memory.after(elements) // WIDTHS[kind])
    texts, left = [], _SHOWN
    for index in range(count):
        texts.append(_text(memory, kind, elements, index))
        left -= len(texts[-1]) + 1
        if left <= 0:
            break
    return page_of(",".join(texts))


def page_of(text: str) -> str:
    """As much of a value as sysfs shows (param_attr_show)."""
    if len(text) * 4 < _SHOWN:
        return text
    return text.encode("utf-8", "surrogateescape")[:_SHOWN].decode("utf-8", "surrogateescape")


class _Memory:
    """The sections as they will lie in memory: bytes, and pointers by relocation."""

    def __init__(self, elf: ElfModule) -> None:
        self._elf = elf
        self.module = canonical(elf.modinfo_name)
        self._relocations: dict[int, list[_Relocations]] = {}

    def after(self, place: Place) -> int:
        """Bytes from a place to the end of its section."""
        return max(self._elf.sh_size[place[0]] - place[1], 0) if place[1] >= 0 else 0

    def number(self, place: Place | None, offset: int, code: str) -> int | None:
        """A number at ``offset`` bytes after ``place``; memory without content in the file is 0."""
        if place is None:
            return None
        section, start = place
        if self._elf.sh_type[section] == SHT_NOBITS:
            return 0
        first, end = self._elf.extent(section)
        start += first + offset
        if start < first or start + struct.calcsize(code) > end:
            return None
        return int(struct.unpack_from(code, self._elf.data, start)[0])

    def pointer(self, place: Place | None, offset: int) -> Place | None:
        """Where the pointer at ``offset`` bytes after ``place`` will point to."""
        found = None if place is None else self._relocation(place, offset)
        return None if found is None else self._target(*found)

    def undefined(self, place: Place, offset: int) -> str:
        """The name of what the pointer there will point to, if the module does not have it."""
        found = self._relocation(place, offset)
        if found is None or not 0 < found[0] < self._elf.symbol_count():
            return ""
        symbol = self._elf.symbol(found[0])
        return "" if symbol.shndx else self._elf.string(symbol.st_name)

    def _relocation(self, place: Place, offset: int) -> tuple[int, int] | None:
        """Symbol and addend of the pointer at ``offset`` bytes after ``place``."""
        section, start = place
        if section not in self._relocations:
            tables = self._elf.relocations.get(section, ())
            self._relocations[section] = [_Relocations(table) for table in reversed(tables)]
        for table in self._relocations[section]:
            if found := table.last_at(start + offset):
                return found
        return None

    def _target(self, index: int, addend: int) -> Place | None:
        if index >= self._elf.symbol_count():
            return None
        symbol = self._elf.symbol(index)
        if not 0 < symbol.shndx < self._elf.e_shnum:
            return None
        return symbol.shndx, symbol.value + addend

    def string(self, place: Place | None) -> str:
        """The string there; a null pointer shows as the kernel's printf writes it."""
        if place is None:
            return "(null)"
        start, end = self._elf.extent(place[0])
        return self._elf.text(start + place[1], end, _SHOWN) if place[1] >= 0 else ""


class _Relocations:
    """One table of relocations, to be searched by the place that they change."""

    def __init__(self, table: memoryview) -> None:
        self._table = table
        places = self._places = table.cast("Q")[:: RELA.size // 8]
        order: Sequence[int] = range(len(places))
        if not all(map(le, places, islice(places, 1, None))):
            order = array("I", sorted(order, key=places.__getitem__))
        self._order = order

    def last_at(self, place: int) -> tuple[int, int] | None:
        """Symbol and addend of the last one that changes this place: it counts."""
        after = bisect_right(self._order, place, key=self._places.__getitem__)
        if after:
            offset, info, addend = RELA.unpack_from(self._table, self._order[after - 1] * RELA.size)
            if offset == place:
                return info >> 32, addend
        return None


class Parameter(NamedTuple):
    """One parameter of a module: its type as .modinfo names it.

    ``max_elements``: of an array, or bytes of a "string"; None if not known. ``mode``: permissions
    in /sys/module/NAME/parameters, 0 where it is not shown. ``default``: its text until it is set.
    ``counted``: the module knows how many elements of an array were set. ``own_set``: its set
    function is the module's own; ``check``: what that takes, None where it is not known;
    ``no_argument``: it takes a name without "="; ``unsafe``: setting it taints the kernel.
    """

    name: str
    type: str
    max_elements: int | None = None
    mode: int = 0
    default: str = ""
    counted: bool = True
    own_set: bool = False
    check: OwnCheck | None = None
    no_argument: bool = False
    unsafe: bool = False


def parameters_of(types: Iterable[str]) -> dict[str, Parameter]:
    """Parameters by canonical name, from the values of .modinfo's parmtype entries."""
    found = {}
    for entry in islice(types, MOST):
        name, _, kind = entry.partition(":")
        found[canonical(name)] = Parameter(name, kind)
    return found
