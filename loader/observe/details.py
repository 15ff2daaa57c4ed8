"""What a load was about: bytes, memory, name, and which of these were not seen."""

from __future__ import annotations

import errno
import re

from loader.calls import MODULE_INIT_COMPRESSED_FILE
from loader.observe.call import BECOMING, DECOMPRESS, KREAD, LIVE, LOAD
from loader.observe.files import Known
from loader.observe.underway import Underway
from loader.words import module_name

_READING_COMPRESSED = 7
_NAME = re.compile(r"[\w.+-]{1,55}")


def clen_of(load: Underway, outcome: str, gaps: list[str]) -> int | None:
    """Bytes of the compressed file: what reading it gave."""
    if not is_compressed(load):
        return None
    if load.read is not None and load.read >= 0:
        return load.read
    if outcome in (DECOMPRESS, BECOMING, LOAD):
        gaps.append("clen")
    return None


def memory_of(
    load: Underway, known: Known, outcome: str, gaps: list[str]
) -> tuple[tuple[int | None, int], ...]:
    """The types and sizes of what it got."""
    memory = load.memory
    if outcome != LIVE:
        return memory
    if not memory:
        gaps.append("memory-same-file" if known.memory else "memory")
        return known.memory
    if known.memory and sorted(known.memory, key=str) != sorted(memory, key=str):
        gaps.append("memory-differs")
    if any(kind is None for kind, _ in memory):
        gaps.append("text")
    return memory


def first(*values: int | None) -> int | None:
    """The first that was seen."""
    return next((value for value in values if value is not None), None)


def results(load: Underway) -> tuple[int | None, ...]:
    """The load's result, where each of those who pass it on returned it."""
    return load.load_return, load.from_file, load.result


def is_compressed(load: Underway) -> bool:
    """The kernel was asked to unpack the file itself."""
    if load.flags is not None:
        return bool(load.flags & MODULE_INIT_COMPRESSED_FILE)
    return load.unpacked_seen or load.read_id == _READING_COMPRESSED


def is_duplicate(load: Underway) -> bool:
    """module_patient_check_exists has failed: EEXIST or EBUSY, before any symbol was resolved."""
    result = first(*results(load))
    return result in (-errno.EEXIST, -errno.EBUSY) and not load.resolved


def length_of(load: Underway, known: Known, outcome: str, gaps: list[str]) -> int | None:
    """Bytes without signature."""
    if load.stripped is not None:
        return load.stripped
    matters = outcome in (BECOMING, LOAD)
    if known.length is not None:
        gaps += ["length-same-file"] if matters else []
        return known.length
    if matters:
        gaps.append("length" if load.raw is None else "length-signed")
    return load.raw if load.entered else None


def name_of(load: Underway, known: Known) -> str | None:
    """The module's name: what was looked for, else what the module says, else the file's."""
    seen = load.found or load.laid_out_name or load.module_loaded or known.name
    if seen is not None:
        return seen
    by_file = module_name(load.file) if load.file else None
    if load.loaded_name and (by_file == load.loaded_name or _NAME.fullmatch(load.loaded_name)):
        return load.loaded_name
    return by_file


def name_gap(load: Underway, known: Known, name: str | None) -> list[str]:
    """The gap that a duplicate's name has."""
    if load.found or load.laid_out_name:
        return []
    if name is None:
        return ["name"]
    return ["name-same-file"] if name == known.name else ["name-file"]


def counted_at(load: Underway, outcome: str) -> int:
    """The event by which the kernel had counted it."""
    if outcome == LIVE:
        return first(load.init_n, load.load_n, load.n) or 0
    if outcome == KREAD:
        return first(load.read_n, load.n) or 0
    if outcome == DECOMPRESS:
        return first(load.unpacked_n, load.n) or 0
    return first(load.load_n, load.n) or 0
