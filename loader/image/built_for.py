"""What a kernel's modules tell of the kernel they were built for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from loader.config import EM_X86_64, MACHINES, BuiltFor
from loader.image.contents import versions
from loader.image.elf import ElfError, ElfModule
from loader.image.signature import module_length

T = TypeVar("T")


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


def _elf(data: bytes) -> ElfModule | None:
    machine = int.from_bytes(data[18:20], "little")
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
