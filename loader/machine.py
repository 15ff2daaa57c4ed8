"""A machine whose boot can be simulated, and the TOML file that describes it.

    processors = 255
    guest = true                    # runs under a hypervisor: which costs it has by default
    memory = "31.3 GiB"             # as the kernel sees it: it limits udev's workers
    kernel = "6.4"                  # what it runs unless told otherwise
    without = ["early-check"]
    compression = "none"            # of the module files: none, zstd, gzip, xz
    module_space = "1.5 GiB"        # optional: loads that pass it fail with ENOMEM

    [storage]                       # where module files are read from the first time
    latency = "100 us"
    bandwidth = "900 MB/s"

    [userspace]
    workers = 0                     # at once; 0: systemd's default, see Machine.workers
    looks_for = "live"              # what /sys/module/NAME/initstate must say to spare a load:
                                    # "live" (kmod), "coming" (or live), "nothing" (always load)
    call = "finit_module"           # or "init_module": userspace itself reads and unpacks

    [costs]                         # optional: any of loader.machine.Costs
    fork = "0.5 ms"                 # instead of the default, see GUEST and SERVER there

    [modules.kvm]
    size = "20 MB"                  # bytes of the file as the kernel checks it: not compressed
    compressed = "5 MB"             # optional; without it the usual ratio of the format
    memory = 1187840                # bytes it takes when loaded, init included
    text = 462848                   # bytes of these that are code
    init_memory = 65536             # bytes of these that are freed after init
    depends = ["irqbypass"]
    self_tests = 0                  # algorithms that the kernel tests when init registers them
    every_processor = false         # init visits each processor in turn
    seconds = 0.0                   # what init takes besides

    [[coldplug]]                    # once in the initrd, once in the real root
    name = "initrd"
    from_memory = true              # files come from memory, not from storage
    idle_workers = 40               # that earlier devices have left running
    [[coldplug.devices]]
    name = "cpu"                    # optional, for people
    count = "processors"            # or a number
    modules = ["kvm_intel"]         # what its modalias resolves to, in order; dependencies come
                                    # before each. With a tree: module names or modaliases.

Devices are handled in the order of the file. Sizes are bytes or text with a unit (kB, KiB, MB),
times seconds or text (us, ms, s), rates bytes a second or text ("900 MB/s").
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from loader.config import COMPRESSIONS, PAGE_SIZE, Config
from loader.image import Contents, ModuleImage, read_image
from loader.layout import Layout, page_align
from loader.tree import Tree, module_name, read_module

T = TypeVar("T")

_UNITS = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ/]*)\s*")

# udev: at most this many workers (WORKER_NUM_MAX in systemd's udevd), and memory for each.
_WORKERS_MAX = 2048
_WORKERS_LEAST_BY_MEMORY = 10
_WORKER_MEMORY = 128 << 20


class MachineError(ValueError):
    """The description of a machine is not one; the text says where and why."""


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
class Module:
    """What one module takes: bytes of its file, not compressed; its memory; time in its init.

    ``compressed``: bytes of the compressed file, None for the usual ratio. The other fields are
    those of the TOML file.
    """

    name: str
    size: int
    layout: Layout = Layout(data=8 * PAGE_SIZE)  # noqa: RUF009 - a frozen value
    compressed: int | None = None
    depends: tuple[str, ...] = ()
    self_tests: int = 0
    every_processor: bool = False
    seconds: float = 0.0

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
    """``count`` devices of one kind (0: one for each processor) and what each asks for."""

    modules: tuple[str, ...]
    count: int = 1
    name: str = ""


@dataclass(frozen=True, slots=True)
class Coldplug:
    """One time that udev is told of all devices."""

    name: str = ""
    from_memory: bool = False
    idle_workers: int = 0
    devices: tuple[Devices, ...] = ()


@dataclass(frozen=True, slots=True)
class Costs:
    """How long single operations take on the machine. Seconds, or bytes a second.

    The defaults are those of a guest with 255 processors. Those marked * were fitted, all at once,
    on its published report and on nothing else (examples/255-vcpu.toml, tools/fit_costs.py,
    docs/simulate.md). Of the others, "here" means measured on a guest with 2 processors (Xeon,
    Linux 6.18) and rounded; the rest are estimates. They matter little: see docs/simulate.md.
    """

    dispatch: float = 30e-6
    """* udevd hands a device to a worker that is idle."""
    fork: float = 1.2e-3
    """* udevd starts a worker. All that udevd does is one after the other."""
    rules: float = 100e-6
    """A worker applies its rules up to the one that loads modules."""
    look: float = 20e-6
    """kmod reads one initstate; the three system calls alone take 2 µs here."""
    open: float = 60e-6
    """From there to finit_module: dependencies looked up, the file opened."""
    read: float = 2e9
    """Copy a file from the page cache to fresh memory: 2.6 to 3.2 GB/s here."""
    shared_read: float = 6.5e9
    """* The same for all readers of one file together: they all count on the same pages."""
    check: float = 1e9
    """Check signature and tables: 0.8 GB/s here for SHA-512, 1.9 for SHA-256 (openssl speed)."""
    form: float = 100e-6
    """From its place in the list to its init: symbols, relocations, permissions, sysfs."""
    self_test: float = 7.2e-3
    """* The kernel tests one algorithm that a crypto module's init registers."""
    visit: float = 30e-6
    """Init does something on one processor (cpuhp_setup_state): there and back between two
    processes takes 40 µs here."""
    settle: float = 18e-3
    """* From Live, as sysfs shows it, to the loader's return and to the wake-up of those who wait.

    do_init_module first waits for all probes that are under way (async_synchronize_full)."""
    shootdown: float = 95e-6
    """* For each processor, at most, until one that was woken is back in userspace.

    It gives memory back, and every processor has to be interrupted to forget where that was
    (flush_tlb_kernel_range). Half of it on average."""
    free: float = 100e9
    """Give memory back, besides. One after the other."""
    decompress_zstd: float = 1000e6
    """Unpacked bytes a second of one processor, here, for modules of Debian; so the next two."""
    decompress_gzip: float = 400e6
    decompress_xz: float = 80e6
    jitter: float = 0.05
    """Times that nobody shares are longer or shorter by up to this fraction."""

    def decompress(self, compression: str) -> float:
        """Unpacked bytes a second for one of loader.config.COMPRESSIONS."""
        rates = {
            "zstd": self.decompress_zstd,
            "gzip": self.decompress_gzip,
            "xz": self.decompress_xz,
        }
        return rates[compression]


# A guest such as the one whose report was published.
GUEST = Costs()

# Real hardware. Nothing is fitted here; these are estimates of their order: forks and copies of a
# large server, an interrupt that no hypervisor has to pass on, cpuhp that goes from socket to
# socket, tests of algorithms that nothing interrupts, no probe under way that a load waits for.
SERVER = replace(
    GUEST,
    fork=150e-6,
    read=4e9,
    shared_read=20e9,
    self_test=1e-3,
    visit=100e-6,
    settle=100e-6,
    shootdown=2e-6,
)

# Compressed bytes of a byte of module: 150 modules of Debian's kernel 6.1, at the levels that
# kernels are built with (scripts/Makefile.modinst).
RATIOS: Mapping[str, float] = {"zstd": 0.233, "gzip": 0.274, "xz": 0.209}


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything about a machine that decides what its boot wastes. See the TOML file."""

    processors: int
    memory: int
    coldplug: tuple[Coldplug, ...]
    modules: Mapping[str, Module] = field(default_factory=dict)
    storage: Storage = Storage()
    userspace: Userspace = Userspace()
    costs: Costs = Costs()
    kernel: str = "6.12"
    without: tuple[str, ...] = ()
    compression: str = "none"
    module_space: int | None = None

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
            raise MachineError(f"modules.{name}: depends on itself")
        if name in order:
            return
        for needed in self.modules[name].depends:
            self._visit(needed, order, (*above, name))
        order[name] = None

    @classmethod
    def read(cls, path: Path | str) -> Machine:
        """The machine that a TOML file describes.

        OSError: cannot be read. MachineError: it describes none.
        """
        try:
            document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            return machine(document)
        except ValueError as error:
            raise MachineError(f"{path}: {error}") from None


# -- reading the TOML file ------------------------------------------------------------------------


def machine(document: Mapping[str, Any]) -> Machine:
    """The machine that a TOML document describes. MachineError."""
    values = _read(document, "", _MACHINE)
    for needed in ("processors", "coldplug"):
        if needed not in values:
            raise MachineError(f"{needed} is missing")
    values.setdefault("memory", values["processors"] << 30)
    costs = GUEST if values.pop("guest", True) else SERVER
    values["costs"] = replace(costs, **values.get("costs", {}))
    made = Machine(**values)
    if made.processors < 1:
        raise MachineError("processors must be 1 or more")
    return made


def check_names(made: Machine) -> None:
    """MachineError: a module that a device or another module asks for is not described."""
    asked = {name: f"modules.{m.name}" for m in made.modules.values() for name in m.depends}
    for coldplug in made.coldplug:
        for devices in coldplug.devices:
            asked.update(dict.fromkeys(devices.modules, f"coldplug {coldplug.name!r}"))
    for name, where in asked.items():
        if name not in made.modules:
            hint = _did_you_mean(name, made.modules)
            raise MachineError(f"{where}: no module {name!r} is described{hint}")
        made.load_order(name)


def from_tree(made: Machine, root: Path) -> Machine:
    """``made`` with the modules that it asks for and does not describe taken from a tree.

    ``root``: a /lib/modules/RELEASE folder. What devices ask for may be modaliases then, which the
    tree resolves. OSError: no tree, or a file cannot be read. MachineError: the tree has no such
    module, or the kernel would not take its file.
    """
    tree = Tree.open(root)
    config = Config()
    modules = dict(made.modules)

    def add(name: str) -> None:
        if name in modules or tree.is_builtin(name):
            return
        path = tree.path(name)
        if path is None:
            raise MachineError(f"{root}: no module {name!r}")
        needed = tuple(module_name(path) for path in tree.dependencies(name))
        modules[name] = _module_of(name, path, needed, config)
        for needs in needed:
            add(needs)

    def resolved(asked: str) -> tuple[str, ...]:
        if asked in modules:
            return (asked,)
        names = tuple(name for name in tree.resolve(asked) if not tree.is_builtin(name))
        for name in names:
            add(name)
        if not names and ":" not in asked:
            raise MachineError(f"{root}: no module {asked!r}")
        return names

    def of_tree(devices: Devices) -> Devices:
        names = dict.fromkeys(name for asked in devices.modules for name in resolved(asked))
        return replace(devices, modules=tuple(names))

    coldplug = tuple(
        replace(coldplug, devices=tuple(map(of_tree, coldplug.devices)))
        for coldplug in made.coldplug
    )
    return replace(made, modules=modules, coldplug=coldplug)


def _module_of(name: str, path: Path, depends: tuple[str, ...], config: Config) -> Module:
    image = read_image(read_module(path), 0, config)
    if image.becoming_failure:
        raise MachineError(f"{path}: the kernel would not take it: {image.becoming_failure}")
    compressed = None if path.suffix == ".ko" else path.stat().st_size
    return Module(name, image.len, image.layout, compressed, depends)


Parser = Callable[[Any, str], Any]


def _read(table: object, where: str, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise MachineError(f"{where or 'the file'}: a table is needed")
    values = {}
    for key, value in table.items():
        place = f"{where}.{key}" if where else key
        if key not in parsers:
            raise MachineError(f"{place}: not known{_did_you_mean(key, parsers)}")
        values[key] = parsers[key](value, place)
    return values


def _did_you_mean(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _whole(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MachineError(f"{where}: a whole number is needed, not {value!r}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise MachineError(f"{where}: a text is needed, not {value!r}")
    return value


def _yes_or_no(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise MachineError(f"{where}: true or false is needed, not {value!r}")
    return value


def _one_of(*choices: str) -> Parser:
    def parse(value: object, where: str) -> str:
        if value not in choices:
            raise MachineError(f"{where}: {value!r} is none of {', '.join(choices)}")
        return str(value)

    return parse


def _quantity(units: Mapping[str, float], what: str) -> Callable[[object, str], float]:
    def parse(value: object, where: str) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return value
        match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
        if match is None or match[2] not in units:
            raise MachineError(f"{where}: {what} is needed, not {value!r}")
        return float(match[1]) * units[match[2]]

    return parse


_seconds = _quantity(_TIMES, 'a time such as 0.002 or "2 ms"')
_rate = _quantity({f"{unit}/s": scale for unit, scale in _UNITS.items()}, 'such as "900 MB/s"')
_amount = _quantity(_UNITS, 'a size such as 4096 or "20 MB"')


def parse_size(value: object, where: str) -> int:
    """Bytes, from a number or a text with a unit. MachineError."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return round(_amount(value, where))


def _pages(value: object, where: str) -> int:
    return page_align(parse_size(value, where))


def _some_rate(value: object, where: str) -> float:
    rate = _rate(value, where)
    if not rate > 0:
        raise MachineError(f"{where}: must be above 0")
    return rate


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise MachineError(f"{where}: a list of texts is needed")
    return tuple(value)


def _names(value: object, where: str) -> tuple[str, ...]:
    return tuple(_name(one) for one in _texts(value, where))


def _name(text: str) -> str:
    """A module's name as the kernel has it; a modalias stays as it is."""
    return text if ":" in text else text.replace("-", "_")


def _count(value: object, where: str) -> int:
    return 0 if value == "processors" else max(1, _whole(value, where))


def _table(cls: Callable[..., T], parsers: Mapping[str, Parser]) -> Parser:
    def parse(value: object, where: str) -> T:
        values = _read(value, where, parsers)
        try:
            return cls(**values)
        except TypeError:
            raise MachineError(
                f"{where}: something is missing; needed are {_needed(cls)}"
            ) from None

    return parse


def _needed(cls: Any) -> str:
    return ", ".join(f.name for f in fields(cls) if f.default is f.default_factory)


def _list_of(cls: Callable[..., T], parsers: Mapping[str, Parser]) -> Parser:
    parse_one = _table(cls, parsers)

    def parse(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise MachineError(f"{where}: a list of tables is needed ([[{where}]])")
        return tuple(parse_one(one, where) for one in value)

    return parse


def _modules(value: object, where: str) -> dict[str, Module]:
    if not isinstance(value, Mapping):
        raise MachineError(f"{where}: tables such as [{where}.kvm] are needed")
    modules = {}
    for key, table in value.items():
        place = f"{where}.{key}"
        values = _read(table, place, _MODULE)
        if not values.get("size"):
            raise MachineError(f"{place}: size is needed, and above 0")
        values["layout"] = _layout(values, place)
        modules[_name(key)] = Module(_name(key), **values)
    return modules


def _layout(values: dict[str, Any], where: str) -> Layout:
    """Takes memory, text and init_memory out of ``values``."""
    memory = values.pop("memory", 8 * PAGE_SIZE)
    text = values.pop("text", min(2 * PAGE_SIZE, memory))
    init = values.pop("init_memory", 0)
    if text + init > memory:
        raise MachineError(f"{where}: text and init_memory are more than memory")
    return Layout(text=text, data=memory - text - init, init_data=init)


_MODULE: Mapping[str, Parser] = {
    "size": parse_size,
    "compressed": parse_size,
    "memory": _pages,
    "text": _pages,
    "init_memory": _pages,
    "depends": _names,
    "self_tests": _whole,
    "every_processor": _yes_or_no,
    "seconds": _seconds,
}
_DEVICES: Mapping[str, Parser] = {"name": _text, "count": _count, "modules": _names}
_COLDPLUG: Mapping[str, Parser] = {
    "name": _text,
    "from_memory": _yes_or_no,
    "idle_workers": _whole,
    "devices": _list_of(Devices, _DEVICES),
}
_RATES = frozenset(
    ("read", "shared_read", "check", "free", "decompress_zstd", "decompress_gzip", "decompress_xz")
)
_COSTS: Mapping[str, Parser] = {
    f.name: _some_rate if f.name in _RATES else _seconds for f in fields(Costs)
}
_MACHINE: Mapping[str, Parser] = {
    "processors": _whole,
    "memory": parse_size,
    "kernel": _text,
    "without": _texts,
    "compression": _one_of(*COMPRESSIONS),
    "module_space": parse_size,
    "storage": _table(Storage, {"latency": _seconds, "bandwidth": _some_rate}),
    "userspace": _table(
        Userspace,
        {
            "workers": _whole,
            "looks_for": _one_of("live", "coming", "nothing"),
            "call": _one_of("finit_module", "init_module"),
        },
    ),
    "guest": _yes_or_no,
    "costs": lambda value, where: _read(value, where, _COSTS),
    "modules": _modules,
    "coldplug": _list_of(Coldplug, _COLDPLUG),
}
