"""What a kernel's modules tell of the kernel they were built for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from loader.config import EM_X86_64, MACHINES, Build
from loader.elf import ElfError, ElfModule
from loader.image import versions
from loader.signature import module_length
from loader.tree import Tree, read_module

T = TypeVar("T")

_SAMPLE = 5  # modules of a tree that are looked at


def learn_build(modules: Iterable[bytes]) -> Build:
    """What most of ``modules`` (contents of uncompressed files) agree on.

    Files that are no modules are passed over; a fact that none of them knows stays None.
    """
    magics: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    crcs: Counter[int] = Counter()
    for data in modules:
        elf = _elf(data)
        if elf is None:
            continue
        sizes[elf.sh_size[elf.index_mod]] += 1
        if magic := elf.tag("vermagic"):
            magics[magic] += 1
        crc = (versions(elf) or {}).get("module_layout")
        if crc is not None:
            crcs[crc] += 1
    return Build(_most_common(magics), _most_common(sizes), _most_common(crcs))


def build_of(tree: Tree) -> Build:
    """What some modules of a tree agree on: all of one tree were built for one kernel."""
    names = sorted(tree.names())
    chosen = names[:: max(1, len(names) // _SAMPLE)][:_SAMPLE]
    paths = (tree.path(name) for name in chosen)
    return learn_build(read_module(path) for path in paths if path is not None)


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
