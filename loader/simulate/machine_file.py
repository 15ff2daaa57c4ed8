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

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from loader import packings
from loader.config import PAGE_SIZE
from loader.image.layout import Layout, page_align
from loader.simulate.costs import GUEST, SERVER, Costs
from loader.simulate.machine import (
    Coldplug,
    DescribedModule,
    Devices,
    Machine,
    MachineError,
    Storage,
    Userspace,
    did_you_mean,
)

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


# -- reading the TOML file ------------------------------------------------------------------------


def read_machine(path: Path | str) -> Machine:
    """The machine that a TOML file describes. OSError: cannot be read. MachineError: none."""
    try:
        return machine_from(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except ValueError as error:
        raise MachineError(f"{path}: {error}") from None


def machine_from(document: Mapping[str, Any]) -> Machine:
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


Parser = Callable[[Any, str], Any]


def _read(table: object, where: str, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise MachineError(f"{where or 'the file'}: a table is needed")
    values = {}
    for key, value in table.items():
        place = f"{where}.{key}" if where else key
        if key not in parsers:
            raise MachineError(f"{place}: not known{did_you_mean(key, parsers)}")
        values[key] = parsers[key](value, place)
    return values


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


def _modules(value: object, where: str) -> dict[str, DescribedModule]:
    if not isinstance(value, Mapping):
        raise MachineError(f"{where}: tables such as [{where}.kvm] are needed")
    modules = {}
    for key, table in value.items():
        place = f"{where}.{key}"
        values = _read(table, place, _MODULE)
        if not values.get("size"):
            raise MachineError(f"{place}: size is needed, and above 0")
        values["layout"] = _layout(values, place)
        modules[_name(key)] = DescribedModule(_name(key), **values)
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
    "compression": _one_of(*packings.NAMES),
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
