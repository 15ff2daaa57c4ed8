"""What modules say about the kernel: its taints, and those of modules that are gone.

All methods are called with the kernel's lock held.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from loader.engine.log import KernelLog
from loader.engine.module import Module, taint_letters
from loader.engine.stats import UnloadedTainted

# license_is_gpl_compatible (include/linux/license.h)
_GPL_COMPATIBLE = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)

# Modules that taint as proprietary whatever they say: does the module itself carry the taint?
_MARKED_PROPRIETARY = {"ndiswrapper": False, "driverloader": True, "lve": True}


# Bits of /proc/sys/kernel/tainted (include/linux/panic.h); others are set by no module.
_BITS = {"P": 0, "F": 1, "R": 3, "U": 6, "C": 10, "O": 12, "E": 13, "K": 15, "N": 18}


class Taints:
    """The kernel's taints (kernel/panic.c)."""

    def __init__(self, log: KernelLog, module_sig: bool = True) -> None:
        self._log = log
        self._module_sig = module_sig
        self._taints: set[str] = set()
        self._said_unsigned = False
        self._said_livepatch = False
        self._lock_debugging = True

    @property
    def mask(self) -> int:
        """As /proc/sys/kernel/tainted shows them."""
        return sum(1 << _BITS[letter] for letter in self._taints)

    def augment(self, module: Module) -> None:
        """What the module's licence, origin and signature say about the kernel from now on."""
        contents = module.image.contents
        proprietary_before = "P" in self._taints
        if module.image.forced:
            module.taints.add("F")
        if contents.tag("intree") is None:
            self._add(module, "O", "loading out-of-tree module taints kernel.")
        if contents.tag("staging") is not None:
            self._add(module, "C")
            self._log.write(
                f"{module.name}: module is from the staging directory, the quality is unknown,"
                " you have been warned."
            )
        if contents.tag("livepatch") is not None:
            self._add_livepatch(module)
        license_ = contents.tag("license") or "unspecified"
        if license_ not in _GPL_COMPATIBLE:
            self._add(module, "P", f"module license '{license_}' taints kernel.")
        if contents.tag("test") is not None:
            self._add(module, "N", "loading test module taints kernel.")
        if self._module_sig and not module.image.signed:
            self._add_unsigned(module)
        self._add_marked(module)
        if not proprietary_before and "P" in self._taints:
            self._log.write(f"{module.name}: module license taints kernel.")

    def _add(self, module: Module, letter: str, line: str = "") -> None:
        """add_taint_module; ``line`` is logged when the kernel was not yet tainted so."""
        if line and letter not in self._taints:
            self._log.write(f"{module.name}: {line}")
        self._taints.add(letter)
        module.taints.add(letter)
        if letter == "P":
            self._lock_debugging_is_off()

    def force(self, name: str, reason: str, module: Module | None = None) -> None:
        """try_to_force_load, where the kernel is built to: it goes on, tainted."""
        if "F" not in self._taints:
            self._log.write(f"{name}: {reason}: kernel tainted.")
        self._taints.add("F")
        if module is not None:
            module.taints.add("F")
        self._lock_debugging_is_off()

    def user(self) -> None:
        """A program asked for it (TAINT_USER)."""
        self._taints.add("U")

    def force_removal(self) -> None:
        """try_force_unload (TAINT_FORCED_RMMOD)."""
        self._taints.add("R")
        self._lock_debugging_is_off()

    def _lock_debugging_is_off(self) -> None:
        if self._lock_debugging:
            self._lock_debugging = False
            self._log.write("Disabling lock debugging due to kernel taint")

    def _add_livepatch(self, module: Module) -> None:
        self._add(module, "K")
        if not self._said_livepatch:
            self._said_livepatch = True
            self._log.write(f"{module.name}: tainting kernel with TAINT_LIVEPATCH")

    def _add_unsigned(self, module: Module) -> None:
        if not self._said_unsigned:
            self._said_unsigned = True
            self._log.write(
                f"{module.name}: module verification failed: signature and/or required key missing"
                " - tainting kernel"
            )
        self._add(module, "E")

    def _add_marked(self, module: Module) -> None:
        carries = _MARKED_PROPRIETARY.get(module.name)
        if carries:
            self._add(module, "P")
        elif carries is not None:
            self._taints.add("P")


class _Unloaded:
    """struct mod_unload_taint: a name with its taints, and how often it went."""

    __slots__ = ("count", "name", "taints")

    def __init__(self, name: str, taints: Set[str]) -> None:
        self.name = name
        self.taints = taints
        self.count = 1


class Tainted(Protocol):
    """What is asked of a module that goes: its name, and the letters of its taints."""

    @property
    def name(self) -> str: ...

    @property
    def taints(self) -> Set[str]: ...


class UnloadedTaints:
    """The list of tainted modules that were removed (kernel/module/tracking.c)."""

    def __init__(self) -> None:
        self._rows: list[_Unloaded] = []  # oldest first
        self._by_name: dict[str, list[_Unloaded]] = {}

    def add(self, module: Tainted) -> None:
        """try_add_tainted_module: a known name with a taint in common is counted up."""
        if not module.taints:
            return
        known = self._by_name.setdefault(module.name, [])
        for row in reversed(known):
            if row.taints & module.taints:
                row.count += 1
                return
        row = _Unloaded(module.name, set(module.taints))
        known.append(row)
        self._rows.append(row)

    def rows(self) -> tuple[UnloadedTainted, ...]:
        """All of them, newest first."""
        return tuple(
            UnloadedTainted(row.name, taint_letters(row.taints), row.count)
            for row in reversed(self._rows)
        )
