"""The texts of /sys/kernel/debug/modules, /proc/modules and /sys/module, byte for byte.

Every format that people's tools read is here and only here; each text is made from one Snapshot.
The stats report is unchanged from 6.4 to 7.x (read_file_mod_stats, kernel/module/stats.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from loader.engine.stats import Duplicate, LoadedModule, Snapshot

# (label, field) of the lines that are always there
PREAMBLE: tuple[tuple[str, str], ...] = (
    ("Mods ever loaded", "modcount"),
    ("Mods failed on kread", "failed_kreads"),
    ("Mods failed on decompress", "failed_decompress"),
    ("Mods failed on becoming", "failed_becoming"),
    ("Mods failed on load", "failed_load_modules"),
    ("Total module size", "total_mod_size"),
    ("Total mod text size", "total_text_size"),
    ("Failed kread bytes", "invalid_kread_bytes"),
    ("Failed decompress bytes", "invalid_decompress_bytes"),
    ("Failed becoming bytes", "invalid_becoming_bytes"),
    ("Failed kmod bytes", "invalid_mod_bytes"),
    ("Virtual mem wasted bytes", "wasted_bytes"),
)

# (label, bytes, count) of the averages, each shown only where both are non-zero
AVERAGES: tuple[tuple[str, str, str], ...] = (
    ("Average mod size", "total_mod_size", "modcount"),
    ("Average mod text size", "total_text_size", "modcount"),
    ("Avg fail kread bytes", "invalid_kread_bytes", "failed_kreads"),
    ("Avg fail becoming bytes", "invalid_becoming_bytes", "failed_becoming"),
    ("Avg fail decomp bytes", "invalid_decompress_bytes", "failed_decompress"),
    ("Average fail load bytes", "invalid_mod_bytes", "failed_load_modules"),
)

REASONS = {(True, True): "Becoming & Load", (True, False): "Becoming", (False, True): "Load"}

DUPLICATES = "Duplicate failed modules:"
TITLES = f"{'Module-name':>25}\t{'How-many-times':>15}\t{'Reason':>25}"

# The kernel's buffer: bytes for the preamble, bytes a failure, and the most rows it prints.
_MAX_PREAMBLE, _MAX_BYTES_PER_MOD, _MAX_FAILED_MOD_PRINT = 1024, 64, 112
_LONG_BITS = 64


def stats(snapshot: Snapshot) -> str:
    """The report in ``stats``.

    Cut, in the middle of a line if need be, where the kernel's buffer ends.
    """
    text = "".join(_stats_lines(snapshot))
    failures = snapshot.failed_load_modules + snapshot.failed_becoming & 0xFFFFFFFF
    size = _MAX_PREAMBLE + min(failures, _MAX_FAILED_MOD_PRINT) * _MAX_BYTES_PER_MOD
    if len(text) < size:
        return text  # also in bytes, unless a name is not ASCII
    return text.encode("utf-8", "surrogateescape")[: size - 1].decode("utf-8", "surrogateescape")


def _stats_lines(snapshot: Snapshot) -> Iterator[str]:
    for label, field in PREAMBLE:
        yield f"{label:>25}\t{getattr(snapshot, field)}\n"
    for label, total_field, count_field in AVERAGES:
        total, count = getattr(snapshot, total_field), getattr(snapshot, count_field)
        if total and count:
            rounded_up = (total + count - 1 & (1 << _LONG_BITS) - 1) // count
            yield f"{label:>25}\t{rounded_up}\n"
    if snapshot.duplicates:
        yield f"{DUPLICATES}\n"
        yield f"{TITLES}\n"
        for duplicate in snapshot.duplicates[: _MAX_FAILED_MOD_PRINT - 1]:
            yield _duplicate_row(duplicate)


def _duplicate_row(duplicate: Duplicate) -> str:
    reason = REASONS[duplicate.becoming, duplicate.load]
    return f"{duplicate.name:>25}\t{duplicate.count:>15}\t{reason:>25}\n"


def unloaded_tainted(snapshot: Snapshot) -> str:
    """Modules that left the kernel tainted (kernel/module/tracking.c)."""
    rows = snapshot.unloaded_tainted
    return "".join(f"{row.name} ({row.taints}) {row.count}\n" for row in rows)


class File(NamedTuple):
    """One file: its permissions and how its text is made."""

    mode: int
    text: Callable[[Snapshot], str]


def _unsigned_long(field: str) -> File:
    return File(0o400, lambda snapshot: f"{getattr(snapshot, field)}\n")


def _atomic_t(field: str) -> File:
    """atomic_t files show a signed 32-bit number."""

    def text(snapshot: Snapshot) -> str:
        value: int = getattr(snapshot, field)
        return f"{value - ((value & 1 << 31) << 1)}\n"

    return File(0o400, text)


FILES: dict[str, File] = {
    "stats": File(0o400, stats),
    "total_mod_size": _unsigned_long("total_mod_size"),
    "total_text_size": _unsigned_long("total_text_size"),
    "invalid_kread_bytes": _unsigned_long("invalid_kread_bytes"),
    "invalid_decompress_bytes": _unsigned_long("invalid_decompress_bytes"),
    "invalid_becoming_bytes": _unsigned_long("invalid_becoming_bytes"),
    "invalid_mod_bytes": _unsigned_long("invalid_mod_bytes"),
    "modcount": _atomic_t("modcount"),
    "failed_kreads": _atomic_t("failed_kreads"),
    "failed_decompress": _atomic_t("failed_decompress"),
    "failed_becoming": _atomic_t("failed_becoming"),
    "failed_load_modules": _atomic_t("failed_load_modules"),
    "unloaded_tainted": File(0o444, unloaded_tainted),
}

# -- /proc/modules and /sys/module ----------------------------------------------------------------
_STATES = {"live": "Live", "coming": "Loading", "going": "Unloading"}
_FLAGS = {"live": "", "coming": "+", "going": "-"}


def proc_modules(snapshot: Snapshot) -> str:
    """/proc/modules (m_show, kernel/module/procfs.c); addresses are 0."""
    return "".join(map(_proc_modules_row, snapshot.modules))


def _proc_modules_row(module: LoadedModule) -> str:
    users = "".join(f"{user}," for user in module.users)
    if module.permanent:
        users += "[permanent],"
    size = module.core_size + module.init_size
    flags = f" ({module.taints}{_FLAGS[module.state]})" if module.taints else ""
    refcount = "-" if module.refcount is None else module.refcount
    return (
        f"{module.name} {size} {refcount} {users or '-'} {_STATES[module.state]}"
        f" 0x0000000000000000{flags}\n"
    )


def sys_module(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """/sys/module: for each module that is there, its files by relative path, with their texts.

    ``holders/USER`` has an empty text: it is a link to that module.
    """
    return {m.name: module_files(m) for m in snapshot.modules if m.in_sysfs}


def module_files(module: LoadedModule) -> dict[str, str]:
    """/sys/module/NAME: its files by relative path, with their texts."""
    files = {
        "initstate": f"{module.state}\n",
        "coresize": f"{module.core_size}\n",
        "initsize": f"{module.init_size}\n",
        "taint": f"{module.taints}\n",
    }
    if module.refcount is not None:
        files["refcnt"] = f"{module.refcount}\n"
    for name, text in (
        ("version", module.version),
        ("srcversion", module.srcversion),
        ("import_ns", module.import_ns),
    ):
        if text is not None:
            files[name] = f"{text}\n"
    files.update({f"parameters/{name}": f"{text}\n" for name, text, _ in module.parameters})
    files.update({f"holders/{user}": "" for user in module.users})
    files.update({f"notes/{name}": data for name, data in module.notes.items()})
    return files
