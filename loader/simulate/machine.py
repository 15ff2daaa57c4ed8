"""A machine whose boot can be simulated: facts only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from loader.config import PAGE_SIZE
from loader.errors import UserError
from loader.image.contents import Contents
from loader.image.layout import Layout
from loader.image.module_image import ModuleImage
from loader.simulate.costs import RATIOS, Costs
from loader.words import did_you_mean

# udev: at most this many workers (WORKER_NUM_MAX in systemd's udevd), and memory for each.
_WORKERS_MAX = 2048
_WORKERS_LEAST_BY_MEMORY = 10
_WORKER_MEMORY = 128 << 20


@dataclass(frozen=True, slots=True)
class Storage:
    """Where files come from: ``latency`` in seconds a file, ``bandwidth`` in bytes a second."""

    latency: float = 50e-6
    bandwidth: float = 2e9


@dataclass(frozen=True, slots=True)
class Userspace:
    """How udev loads modules. The fields are those of the TOML file."""

    workers: int = 0
    looks_for: str = "live"
    call: str = "finit_module"


@dataclass(frozen=True, slots=True)
class DescribedModule:
    """What one module takes: bytes of its file, not compressed; its memory; time in its init.

    ``compressed``: bytes of the compressed file, None for the usual ratio. ``fails``: the errno
    that its init fails with. The other fields are those of the TOML file.
    """

    name: str
    size: int
    layout: Layout = Layout(data=8 * PAGE_SIZE)  # noqa: RUF009 - a frozen value
    compressed: int | None = None
    depends: tuple[str, ...] = ()
    self_tests: int = 0
    every_processor: bool = False
    seconds: float = 0.0
    aliases: tuple[str, ...] = ()
    fails: int = 0

    def image(self, compression: str) -> ModuleImage:
        """What the kernel finds in its file, which it has to unpack itself unless "none"."""
        clen = 0
        if compression != "none":
            clen = self.compressed or max(1, round(self.size * RATIOS[compression]))
        tags = {"depends": [",".join(self.depends)], "intree": ["Y"], "license": ["GPL"]}
        return ModuleImage(
            self.name,
            read_bytes=clen or self.size,
            length=self.size,
            clen=clen,
            vmalloc_bytes=self.size,
            layout=self.layout,
            contents=Contents(tags),
        )


@dataclass(frozen=True, slots=True)
class Devices:
    """``count`` devices of one kind (0: one for each processor) and what each asks for.

    ``alias``: the modalias that they share, where it is known.
    """

    modules: tuple[str, ...]
    count: int = 1
    name: str = ""
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Coldplug:
    """One time that udev is told of all devices."""

    name: str = ""
    from_memory: bool = False
    devices: tuple[Devices, ...] = ()


@dataclass(frozen=True, slots=True)
class Requests:
    """``count`` requests of the kernel's own for ``string`` (0: one for each processor), the first
    ``at`` seconds after the boot began, each ``every`` seconds after the one before."""

    string: str
    at: float = 0.0
    count: int = 1
    every: float = 0.0
    wait: bool = True
    name: str = ""


PROCESSORS_MOST = 8192  # CONFIG_NR_CPUS of x86-64 with MAXSMP; arm64's is less


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything about a machine that decides what its boot wastes. See the TOML file."""

    processors: int
    memory: int
    coldplug: tuple[Coldplug, ...]
    modules: Mapping[str, DescribedModule] = field(default_factory=dict)
    storage: Storage = Storage()
    userspace: Userspace = Userspace()
    costs: Costs = Costs()  # noqa: RUF009 - a frozen value
    speed: float = 1.0
    host_processors: int | None = None
    kernel: str = "6.12"
    without: tuple[str, ...] = ()
    compression: str = "none"
    module_space: int | None = None
    requests: tuple[Requests, ...] = ()
    autoload_dups: bool = False
    builtin: tuple[str, ...] = ()  # strings that mean a part of the kernel

    @property
    def computing(self) -> int:
        """How many of its processors can compute at once: a guest has those of its host."""
        return min(self.processors, self.host_processors or self.processors)

    @property
    def workers(self) -> int:
        """udev workers at once: as told, or systemd's default for these processors and memory."""
        if self.userspace.workers:
            return self.userspace.workers
        by_processors = 2 * self.processors + 16
        by_memory = max(self.memory // _WORKER_MEMORY, _WORKERS_LEAST_BY_MEMORY)
        return min(by_processors, by_memory, _WORKERS_MAX)

    @property
    def devices(self) -> int:
        """How many devices udev is told of, in all coldplugs together."""
        passes = (devices for coldplug in self.coldplug for devices in coldplug.devices)
        return sum(devices.count or self.processors for devices in passes)

    def asked(self) -> dict[str, int]:
        """How many devices ask for each module when it is not there yet: in the first coldplug
        in which any does."""
        asked: dict[str, int] = {}
        for coldplug in self.coldplug:
            here: dict[str, int] = {}
            for devices in coldplug.devices:
                needed = {one for top in devices.modules for one in self.load_order(top)}
                for name in needed - asked.keys():
                    here[name] = here.get(name, 0) + (devices.count or self.processors)
            asked |= here
        return asked

    def with_processors(self, processors: int) -> Machine:
        """The same machine with more or fewer processors, and memory in proportion."""
        memory = self.memory * processors // self.processors
        return replace(self, processors=processors, memory=memory)

    def load_order(self, name: str) -> tuple[str, ...]:
        """``name`` after everything it depends on, as modprobe would insert them."""
        order: dict[str, None] = {}
        self._visit(name, order, ())
        return tuple(order)

    def _visit(self, name: str, order: dict[str, None], above: tuple[str, ...]) -> None:
        if name in above:
            raise UserError(f"modules.{name}: depends on itself")
        if name in order:
            return
        for needed in self.modules[name].depends:
            self._visit(needed, order, (*above, name))
        order[name] = None


def check_names(made: Machine) -> None:
    """UserError: a module that a device or another module asks for is not described."""
    asked = {name: f"modules.{m.name}" for m in made.modules.values() for name in m.depends}
    for coldplug in made.coldplug:
        for devices in coldplug.devices:
            asked.update(dict.fromkeys(devices.modules, f"coldplug {coldplug.name!r}"))
    for name, where in asked.items():
        if name not in made.modules:
            hint = did_you_mean(name, made.modules)
            raise UserError(f"{where}: no module {name!r} is described{hint}")
        made.load_order(name)
