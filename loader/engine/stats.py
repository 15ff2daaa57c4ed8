"""module debugging statistics overview

What the kernel counts about module loading (CONFIG_MODULE_STATS, since 6.4): how many loads failed,
at which of four steps, and how many bytes of virtual memory each failure had taken by then and gave
back unused. A load first reads the file into a buffer (kread), may unpack it into a second one
(decompress), checks it (becoming) and only then gets memory of its own (load). The later a load
fails, the more it has wasted.

The counters only ever go up, wrap like the kernel's atomic_t and atomic_long_t, and start from zero
with each engine.

dup_failed_modules - tracks duplicate failed modules

Most failures are requests for a module that is already there or on its way: every CPU device asks
for the same ones. They are listed by module (Duplicate), newest module first, with the step where
the duplicate was noticed: Becoming, when nothing but the file's own buffers had been taken, or
Load, after memory for the module itself had been taken as well. A name keeps its place in the list
and collects both reasons.

module statistics debugfs counters

- total_mod_size, total_text_size: bytes of all modules that went live, init memory included; and
  of their code
- invalid_kread_bytes: bytes lost to failed reads (almost only init_module with a bad buffer)
- invalid_decompress_bytes: bytes of compressed files that did not unpack
- invalid_becoming_bytes: bytes of files, compressed and not, that failed a check or were duplicates
- invalid_mod_bytes: twice the bytes of the file, plus the compressed ones: a load that failed after
  its own memory had been taken
- modcount, failed_kreads, failed_decompress, failed_becoming, failed_load_modules: how often each

The memory wasted altogether is the sum of the four ``invalid_`` counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

# enum fail_dup_mod_reason, as the bits of dup_fail_mask
BECOMING, LOAD = 1, 2

# Rows of duplicates that ``stats`` can print (MAX_FAILED_MOD_PRINT), and so all that it asks for.
STATS_ROWS = 112

_LONG = (1 << 64) - 1
_INT = (1 << 32) - 1


def becoming_bytes(length: int, clen: int) -> int:
    """What a load had taken that fails before it has memory of its own; see Counters."""
    return length + clen


def load_bytes(length: int, clen: int) -> int:
    """What a load had taken that fails after it had memory of its own; see Counters."""
    return 2 * length + clen


@dataclass(slots=True)
class Counters:
    """The counters themselves, as unbounded integers; guarded by the kernel's lock."""

    modcount: int = 0
    failed_kreads: int = 0
    failed_decompress: int = 0
    failed_becoming: int = 0
    failed_load_modules: int = 0
    total_mod_size: int = 0
    total_text_size: int = 0
    invalid_kread_bytes: int = 0
    invalid_decompress_bytes: int = 0
    invalid_becoming_bytes: int = 0
    invalid_mod_bytes: int = 0

    def kread_failed(self, count: int) -> None:
        """A file or buffer could not be read; ``count`` bytes are lost."""
        self.failed_kreads += 1
        self.invalid_kread_bytes += count

    def decompress_failed(self, clen: int) -> None:
        """A compressed file of ``clen`` bytes did not unpack."""
        self.failed_decompress += 1
        self.invalid_decompress_bytes += clen

    def becoming_failed(self, length: int, clen: int) -> None:
        """A load failed before it had memory of its own (mod_stat_bump_becoming).

        ``length``: bytes without signature; ``clen``: of the compressed file, 0 if it was none.
        """
        self.failed_becoming += 1
        self.invalid_becoming_bytes += becoming_bytes(length, clen)

    def load_failed(self, length: int, clen: int) -> None:
        """A load failed after it had memory of its own (mod_stat_bump_invalid)."""
        self.failed_load_modules += 1
        self.invalid_mod_bytes += load_bytes(length, clen)

    def went_live(self, total: int, text: int) -> None:
        """A module's init succeeded: bytes of all its memory, and of the code in it."""
        self.total_text_size += text
        self.total_mod_size += total
        self.modcount += 1


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One row of dup_failed_modules."""

    name: str
    count: int
    becoming: bool
    load: bool


def try_add_failed_module(duplicates: dict[str, int], name: str, reason: int) -> None:
    """Record a duplicate: ``duplicates`` has times << 2 | mask by name, oldest first."""
    duplicates[name] = (duplicates.get(name, 0) + (1 << 2)) | reason


def duplicate_rows(duplicates: dict[str, int], rows: int | None) -> tuple[Duplicate, ...]:
    """At most ``rows`` of them, None for all, newest first."""
    return tuple(
        Duplicate(name, packed >> 2, bool(packed & BECOMING), bool(packed & LOAD))
        for name, packed in islice(reversed(duplicates.items()), rows)
    )


@dataclass(frozen=True, slots=True)
class UnloadedTainted:
    """One row of unloaded_tainted (kernel/module/tracking.c)."""

    name: str
    taints: str
    count: int


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """One module of the list, as /proc/modules and /sys/module show it.

    ``state``: live, coming or going. Sizes in bytes. ``users``: modules that use this one, newest
    first. ``refcount`` None: the kernel counts no references (without CONFIG_MODULE_UNLOAD).
    ``in_sysfs``: its folder in /sys/module is there. ``parameters``: (name, text, mode).
    ``import_ns``: namespaces, a line each; None before 7.1. ``notes``: sections of notes, with
    their bytes as text (surrogateescape).
    """

    name: str
    state: str
    core_size: int
    init_size: int
    refcount: int | None
    users: tuple[str, ...]
    permanent: bool
    taints: str
    in_sysfs: bool
    parameters: tuple[tuple[str, str, int], ...]
    version: str | None = None
    srcversion: str | None = None
    import_ns: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that can be read, as it stood at one moment.

    Counts are unsigned 32-bit, bytes unsigned 64-bit. Lists are as the kernel's, newest first.
    """

    modcount: int
    failed_kreads: int
    failed_decompress: int
    failed_becoming: int
    failed_load_modules: int
    total_mod_size: int
    total_text_size: int
    invalid_kread_bytes: int
    invalid_decompress_bytes: int
    invalid_becoming_bytes: int
    invalid_mod_bytes: int
    duplicates: tuple[Duplicate, ...] = ()
    unloaded_tainted: tuple[UnloadedTainted, ...] = ()
    modules: tuple[LoadedModule, ...] = ()

    @classmethod
    def of(
        cls,
        counters: Counters,
        duplicates: tuple[Duplicate, ...] = (),
        unloaded_tainted: tuple[UnloadedTainted, ...] = (),
        modules: tuple[LoadedModule, ...] = (),
    ) -> Snapshot:
        """A snapshot of ``counters``, wrapped to the kernel's widths."""
        return cls(
            counters.modcount & _INT,
            counters.failed_kreads & _INT,
            counters.failed_decompress & _INT,
            counters.failed_becoming & _INT,
            counters.failed_load_modules & _INT,
            counters.total_mod_size & _LONG,
            counters.total_text_size & _LONG,
            counters.invalid_kread_bytes & _LONG,
            counters.invalid_decompress_bytes & _LONG,
            counters.invalid_becoming_bytes & _LONG,
            counters.invalid_mod_bytes & _LONG,
            duplicates,
            unloaded_tainted,
            modules,
        )

    @property
    def wasted_bytes(self) -> int:
        """Virtual memory taken by loads that failed, in bytes; wraps at 64 bits."""
        return (
            self.invalid_kread_bytes
            + self.invalid_decompress_bytes
            + self.invalid_becoming_bytes
            + self.invalid_mod_bytes
        ) & _LONG
