"""What a kernel's modules tell of the kernel they were built for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, TypeVar

from loader.config import EM_X86_64, MACHINES, BuiltFor
from loader.image.contents import versions
from loader.image.elf import ElfError, ElfModule
from loader.image.signature import module_length

T = TypeVar("T")

# The start of an ELF file: class and byte order (e_ident), and e_machine.
_MAGIC, _CLASS, _DATA = b"\x7fELF", 4, 5
_CLASS32, _BIG = 1, 2
_E_MACHINE = slice(18, 20)
_FOLLOWED = {(64, "little", machine) for machine in MACHINES.values()}


def learn_built_for(modules: Iterable[bytes]) -> BuiltFor:
    """What most of ``modules`` (contents of uncompressed files) agree on.

    Files that are no modules are passed over; a fact that none of them knows stays None.
    """
    magics: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    crcs: Counter[int] = Counter()
    machines: Counter[int] = Counter()
    for data in modules:
        elf = _elf(data)
        if elf is None:
            continue
        machines[elf.machine] += 1
        sizes[elf.sh_size[elf.index_mod]] += 1
        if magic := elf.tag("vermagic"):
            magics[magic] += 1
        crc = (versions(elf) or {}).get("module_layout")
        if crc is not None:
            crcs[crc] += 1
    return BuiltFor(
        _most_common(magics), _most_common(sizes), _most_common(crcs), _most_common(machines)
    )


def foreign_machine(modules: Iterable[bytes]) -> str | None:
    """The architecture of ``modules`` in words, if most are for one that is not followed here.

    None: they are for one that is, or none of them is a module.
    """
    found = _most_common(Counter(filter(None, map(_machine, modules))))
    return None if found is None or found in _FOLLOWED else _named(*found)


def _machine(data: bytes) -> tuple[int, str, int] | None:
    """Bits, byte order and e_machine."""
    if len(data) < _E_MACHINE.stop or not data.startswith(_MAGIC):
        return None
    order: Literal["big", "little"] = "big" if data[_DATA] == _BIG else "little"
    bits = 32 if data[_CLASS] == _CLASS32 else 64
    return bits, order, int.from_bytes(data[_E_MACHINE], order)


def _named(bits: int, order: str, machine: int) -> str:
    from elftools.elf.descriptions import describe_e_machine
    from elftools.elf.enums import ENUM_E_MACHINE

    names = {number: name for name, number in ENUM_E_MACHINE.items()}
    name = describe_e_machine(names.get(machine, "")) if machine in names else str(machine)
    return f"{name} ({bits} bits, {order}-endian)"


def _elf(data: bytes) -> ElfModule | None:
    machine = int.from_bytes(data[_E_MACHINE], "little")
    if machine not in (EM_X86_64, *MACHINES.values()):
        return None
    try:
        elf = ElfModule(data, machine, module_length(data))
        elf.cache_indices(None)
    except ElfError:
        return None
    return elf


def _most_common(counter: Counter[T]) -> T | None:
    return counter.most_common(1)[0][0] if counter else None
