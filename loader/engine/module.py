"""struct module: one entry of the kernel's list, and what its init routine did."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from loader.engine.stats import LoadedModule
from loader.image.module_image import ModuleImage

# enum module_state
LIVE, COMING, GOING, UNFORMED = "live", "coming", "going", "unformed"

# Taints that a module can carry, in the order of their bits (kernel/panic.c, taint_flags).
TAINTS = "PFCOEKN"


class InitResult(NamedTuple):
    """What an init routine did: its return value (0, -errno or positive), and what it holds.

    ``references``: references taken on the module itself; ``holds``: other modules it holds.
    """

    returns: int = 0
    references: int = 0
    holds: tuple[str, ...] = ()


class Module:
    """struct module. Changed only under the kernel's lock."""

    __slots__ = (
        "holds",
        "image",
        "import_ns",
        "in_sysfs",
        "init_freed",
        "init_started",
        "name",
        "percpu",
        "references",
        "sources",
        "state",
        "taints",
        "targets",
        "task",
        "using_gplonly_symbols",
        "values",
    )

    def __init__(self, image: ModuleImage) -> None:
        self.image = image
        self.name = image.name
        self.state = UNFORMED
        self.taints: set[str] = set()
        self.sources: list[Module] = []  # who uses this one, oldest first
        self.targets: list[Module] = []  # whom this one uses
        self.references = 0  # beyond those of the sources
        self.holds: list[Module] = []
        self.values: dict[str, str] = {}
        self.percpu = 0  # bytes
        self.import_ns: str | None = None  # the namespaces that sysfs shows
        self.in_sysfs = False
        self.init_freed = False
        self.init_started = 0.0  # seconds, on the driver's clock
        self.using_gplonly_symbols = False
        self.task = 0  # the number of whoever loads it

    @property
    def refcount(self) -> int:
        """module_refcount: users, other references, and one while init runs."""
        return len(self.sources) + self.references + (self.state == COMING)

    @property
    def permanent(self) -> bool:
        """It has an init but no exit routine, so it cannot be removed."""
        contents = self.image.contents
        return contents.has_init and not contents.has_exit

    def as_loaded(self) -> LoadedModule:
        """As /proc/modules and /sys/module show it."""
        layout, contents = self.image.layout, self.image.contents
        return LoadedModule(
            self.name,
            self.state,
            layout.core,
            0 if self.init_freed else layout.init,
            self.refcount,
            tuple(source.name for source in reversed(self.sources)),
            self.permanent,
            taint_letters(self.taints),
            self.in_sysfs,
            tuple(
                (name, self.values.get(parameter.name, parameter.default), parameter.mode)
                for name, parameter in contents.parameters.items()
                if parameter.mode
            ),
            contents.tag("version"),
            contents.tag("srcversion"),
            self.import_ns,
            contents.notes,
        )


def taint_letters(taints: Set[str]) -> str:
    """Taints in the kernel's order, such as "OE"."""
    return "".join(letter for letter in TAINTS if letter in taints)
