"""Which boots are recorded: kernels, processors, and what is changed of the machine."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Spec:
    """One boot. ``kernel``: Debian's, such as 6.1; ``memory`` in MiB. ``children_max``: of udevd,
    None for its own choice; ``blacklist``: names of modules. ``again``: which repetition."""

    kernel: str
    processors: int
    children_max: int | None = None
    blacklist: str = ""
    memory: int = 10240
    again: int = 1

    @property
    def name(self) -> str:
        """Of its recording, such as 6.1-8-1."""
        words = [self.kernel, str(self.processors)]
        if self.children_max is not None:
            words.append(f"children{self.children_max}")
        words += [f"no_{name}" for name in self.blacklist.split()]
        return "-".join((*words, str(self.again)))

    @property
    def command_line(self) -> str:
        """What the kernel's command line has more."""
        return "" if self.children_max is None else f"udev.children_max={self.children_max}"


_MACHINES = (
    Spec("6.1", 8),
    Spec("6.12", 8),
    Spec("6.1", 4),
    Spec("6.1", 16),
    Spec("7.3", 8),
    Spec("6.1", 2),
    Spec("6.12", 4),
    Spec("7.3", 4),
    Spec("6.12", 2),
    Spec("6.12", 16),
    Spec("7.3", 16),
)
_CHANGED = (
    Spec("6.1", 8, children_max=8),
    Spec("6.1", 8, children_max=2),
    Spec("6.1", 8, blacklist="acpi_cpufreq"),
    Spec("6.1", 8, blacklist="kvm_amd"),
)
_LARGE = (Spec("6.1", 32), Spec("6.12", 32))  # more would not settle

PLAN: tuple[Spec, ...] = (
    *_MACHINES,
    *_CHANGED,
    *_LARGE,
    *(replace(spec, again=2) for spec in (*_MACHINES, *_CHANGED)),
)
"""All of them, in the order in which they are made."""
