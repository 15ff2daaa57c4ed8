"""What the kernel image itself exports: Module.symvers, System.map or /proc/kallsyms.

Module.symvers (scripts/mod/modpost.c) has all that a load asks for: the version of each symbol, who
exports it, for whom, and its namespace. The other two only have addresses: there an export NAME is
known by the symbol __ksymtab_NAME, and those for GPL modules, until 7.0, by lying between
__start___ksymtab_gpl and __stop___ksymtab_gpl.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from loader.errors import UserError
from loader.image.contents import Export
from loader.packings import read_module

KERNEL = "vmlinux"
_LINE = re.compile(
    r"0x(?P<crc>[0-9a-f]{1,16})\t(?P<name>[^\t\n]+)\t(?P<owner>[^\t\n]+)\t"
    r"EXPORT_SYMBOL(?P<gpl>_GPL)?\t(?P<namespace>[^\t\n]*)"
)
_ADDRESS = re.compile(r"(?P<address>[0-9a-f]{1,16}) [A-Za-z?] (?P<name>[^\s]+)")
EXPORT = "__ksymtab_"
"""What the name of a symbol begins with that stands for an export."""
_GPL_START, _GPL_STOP = BOUNDS = ("__start___ksymtab_gpl", "__stop___ksymtab_gpl")
"""Between them are those for GPL modules."""


def read_kernel_exports(path: Path) -> dict[str, Export]:
    """What the kernel image exports, by name; the file may be packed like a module.

    OSError: it cannot be read. UserError: it is none of the three, or not all of it is there.
    """
    with path.open("rb"):
        pass  # OSError
    text = read_module(path).decode("utf-8", "replace")
    read = _symvers if text.startswith("0x") else _addresses
    exports = dict(read(path, text))
    if not exports:
        raise UserError(f"{path}: there is no export of the kernel in it")
    return exports


def _symvers(path: Path, text: str) -> Iterator[tuple[str, Export]]:
    for number, line in enumerate(text.split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            if line or number <= text.count("\n"):
                raise UserError(f"{path}, line {number}: not of Module.symvers, or cut off")
        elif match["owner"] == KERNEL:
            crc = int(match["crc"], 16) & 0xFFFFFFFF
            yield match["name"], Export(match["name"], bool(match["gpl"]), match["namespace"], crc)


def _addresses(path: Path, text: str) -> Iterator[tuple[str, Export]]:
    lines = [_ADDRESS.match(line) for line in text.splitlines()]
    if not lines or any(match is None for match in lines):
        raise UserError(f"{path} is no Module.symvers, System.map or /proc/kallsyms")
    places = {match["name"]: int(match["address"], 16) for match in lines if match}
    start, stop = places.get(_GPL_START, 0), places.get(_GPL_STOP, 0)
    for name, address in places.items():
        if name.startswith(EXPORT):
            exported = name.removeprefix(EXPORT)
            yield exported, Export(exported, start <= address < stop)
