"""The TOML file that describes a machine whose boot can be simulated.

    processors = 255
    memory = "31.3 GiB"
    kernel = "6.4"
    without = ["early-check"]

    [storage]
    bandwidth = "900 MB/s"

    [modules.kvm]
    size = "20 MB"
    depends = ["irqbypass"]

    [[coldplug]]
    name = "initrd"
    [[coldplug.devices]]
    count = "processors"
    modules = ["kvm_intel"]

    [[requests]]
    at = 1.5
    string = "fs-overlay"
    count = 400

`modfs schema machine` tells of all fields. Devices are handled in the order of the file.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import UNSET

from loader.config import PAGE_SIZE
from loader.documents.document import (
    Count,
    Document,
    Given,
    Mistake,
    Positive,
    Table,
    about,
    by_name,
    given,
    read_toml,
    schema,
)
from loader.documents.kinds import (
    ERRNOS,
    Compression,
    Feature,
    FileSize,
    KernelRelease,
    ModuleName,
    ModuleOrAlias,
    Rate,
    Seconds,
    Size,
)
from loader.image.layout import Layout, page_align
from loader.simulate.costs import FRACTION, RATE, SECONDS, Costs
from loader.simulate.machine import (
    PROCESSORS_MOST,
    Coldplug,
    DescribedModule,
    Devices,
    Machine,
    Requests,
    Storage,
    Userspace,
)

# -- the format -----------------------------------------------------------------------------------


class StorageTable(Table):
    """Where module files are read from the first time."""

    latency: Given[Annotated[Seconds, about("Before each file.")]] = UNSET
    bandwidth: Given[Annotated[Rate, about("Bytes a second.")]] = UNSET


_LOOKS_FOR = (
    'What /sys/module/NAME/initstate must say to spare a load: "live" (as kmod has it), "coming" '
    '(or live); "nothing": always load.'
)


class UserspaceTable(Table):
    """How udev loads modules."""

    workers: Given[Annotated[Count, about("At once. 0: systemd's default.")]] = UNSET
    looks_for: Given[Annotated[Literal["live", "coming", "nothing"], about(_LOOKS_FOR)]] = UNSET
    call: Given[
        Annotated[
            Literal["finit_module", "init_module"],
            about('With "init_module" userspace itself reads and unpacks.'),
        ]
    ] = UNSET


class ModuleTable(Table):
    """One module. Memory is rounded up to the page."""

    size: Annotated[FileSize, about("Of the file as the kernel checks it: not compressed.")]
    compressed: Given[Annotated[FileSize, about("Without it the usual ratio of the format.")]] = (
        UNSET
    )
    memory: Given[Annotated[FileSize, about("Bytes when loaded, init included.")]] = UNSET
    text: Given[Annotated[FileSize, about("Bytes of these that are code.")]] = UNSET
    init_memory: Given[Annotated[FileSize, about("Bytes of these that are freed after init.")]] = (
        UNSET
    )
    depends: Given[Annotated[tuple[ModuleName, ...], about("Modules loaded before it.")]] = UNSET
    self_tests: Given[
        Annotated[Count, about("Algorithms that the kernel tests when init registers them.")]
    ] = UNSET
    every_processor: Given[
        Annotated[bool, about("Whether init visits each processor in turn.")]
    ] = UNSET
    seconds: Given[Annotated[Seconds, about("What init takes besides.")]] = UNSET
    aliases: Given[
        Annotated[tuple[str, ...], about('What requests find it by besides, such as "fs-xfs".')]
    ] = UNSET
    fails: Given[Annotated[str, about('Its init fails, with that errno, such as "ENODEV".')]] = (
        UNSET
    )


_ASKS_FOR = (
    "What its modalias resolves to, in order; dependencies come before each. "
    "With a tree: module names or modaliases."
)

_ALIAS = "The modalias that they share. With a tree: what they ask for, where modules is empty."


class DevicesTable(Table):
    """Devices of one kind."""

    modules: Annotated[tuple[ModuleOrAlias, ...], about(_ASKS_FOR)]
    count: Annotated[
        Positive | Literal["processors"], about("How many; or one for each processor.")
    ] = 1
    name: Annotated[str, about("For people.")] = ""
    alias: Given[Annotated[str, about(_ALIAS)]] = UNSET


class RequestsTable(Table):
    """Requests that code in the kernel makes (request_module)."""

    string: Annotated[str, about("What is asked for: a module or an alias, such as fs-overlay.")]
    at: Given[Annotated[Seconds, about("When the first is made, from the first device on.")]] = (
        UNSET
    )
    count: Annotated[
        Positive | Literal["processors"], about("How many; or one for each processor.")
    ] = 1
    every: Given[Annotated[Seconds, about("From each to the next.")]] = UNSET
    wait: Annotated[bool, about("Whether they wait for modprobe.")] = True
    name: Annotated[str, about("For people.")] = ""


class ColdplugTable(Table):
    """One time that udev is told of all devices: in the initrd, in the real root."""

    name: Annotated[str, about("For people.")] = ""
    from_memory: Annotated[bool, about("Files come from memory, not from storage.")] = False
    devices: Annotated[tuple[DevicesTable, ...], about("In the order they are handled in.")] = ()


def _costs_table() -> Any:
    """The fields of Costs, each to be read by its unit."""
    kinds = {SECONDS: Seconds, RATE: Rate, FRACTION: Annotated[float, msgspec.Meta(ge=0, le=1)]}
    optional: Any = Given  # to mypy a type in a variable is none
    annotated: Any = Annotated
    fields = []
    for name, hint in get_type_hints(Costs, include_extras=True).items():
        unit, text = hint.__metadata__
        kind = annotated[kinds[unit], about(f"{text} In {unit}.")]
        fields.append((name, optional[kind], UNSET))
    return msgspec.defstruct("CostsTable", fields, bases=(Table,))


if TYPE_CHECKING:
    CostsTable = Table
else:
    CostsTable = _costs_table()


class MachineTable(Table):
    """The whole file."""

    processors: Annotated[int, about("How many it has.", ge=1, le=PROCESSORS_MOST)]
    coldplug: Annotated[tuple[ColdplugTable, ...], about("One after the other.")]
    speed: Given[
        Annotated[
            float, about("How fast a processor is: 1 checks SHA-512 at 1 GB/s."), msgspec.Meta(gt=0)
        ]
    ] = UNSET
    host_processors: Given[
        Annotated[Positive, about("Of its host, if a guest has more than these. They are shared.")]
    ] = UNSET
    memory: Given[
        Annotated[Size, about("As the kernel sees it: it limits udev's workers. Default: 1 GiB for "
            "each processor.")]
    ] = UNSET  # fmt: skip
    kernel: Given[Annotated[KernelRelease, about("What it runs unless told otherwise.")]] = UNSET
    without: Given[Annotated[tuple[Feature, ...], about("Features that its kernel has not.")]] = (
        UNSET
    )
    compression: Given[Annotated[Compression, about("Of the module files.")]] = UNSET
    module_space: Given[Annotated[Size, about("Loads that pass it fail with ENOMEM.")]] = UNSET
    requests: Annotated[
        tuple[RequestsTable, ...], about("Of the kernel's own, besides what udev loads.")
    ] = ()
    autoload_dups: Given[
        Annotated[bool, about("Whether its kernel answers requests for one string together.")]
    ] = UNSET
    storage: Given[Annotated[StorageTable, about("Where module files come from.")]] = UNSET
    userspace: Given[Annotated[UserspaceTable, about("How udev loads modules.")]] = UNSET
    costs: Given[Annotated[CostsTable, about("Instead of the usual ones.")]] = UNSET
    modules: Annotated[dict[str, ModuleTable], about("By their names.")] = msgspec.field(
        default_factory=dict
    )


def machine_schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    return schema("machine", "A machine whose boot modfs simulate simulates (TOML).", MachineTable)


# -- what it means --------------------------------------------------------------------------------


def read_machine(path: Path | str) -> Machine:
    """The machine that a TOML file describes. OSError: cannot be read. UserError: none."""
    return read_toml(path).read(MachineTable, _machine)


def machine_from(document: Mapping[str, Any]) -> Machine:
    """The machine that a TOML document describes. UserError."""
    return Document(document).read(MachineTable, _machine)


def _machine(table: MachineTable) -> Machine:
    values = given(table)
    values.setdefault("memory", table.processors << 30)
    values["storage"] = Storage(**given(table.storage))
    values["userspace"] = Userspace(**given(table.userspace))
    values["costs"] = replace(Costs(), **given(table.costs))
    values["coldplug"] = tuple(map(_coldplug, table.coldplug))
    values["requests"] = tuple(map(_requests, table.requests))
    values["modules"] = by_name(table.modules, "modules", _module)
    return Machine(**values)


def _coldplug(table: ColdplugTable) -> Coldplug:
    return Coldplug(**given(table) | {"devices": tuple(map(_devices, table.devices))})


def _devices(table: DevicesTable) -> Devices:
    count = 0 if table.count == "processors" else table.count
    return Devices(table.modules, count, table.name, given(table).get("alias"))


def _requests(table: RequestsTable) -> Requests:
    count = 0 if table.count == "processors" else table.count
    return Requests(**given(table) | {"count": count})


def _module(name: str, table: ModuleTable) -> DescribedModule:
    values = given(table)
    if not table.size:
        raise Mistake("a size above 0 is needed", "size")
    memory = page_align(values.pop("memory", 8 * PAGE_SIZE))
    init = page_align(values.pop("init_memory", 0))
    text = page_align(values.pop("text", min(2 * PAGE_SIZE, memory)))
    if text + init > memory:
        raise Mistake("text and init_memory are more than memory")
    layout = Layout(text=text, data=memory - text - init, init_data=init)
    if "fails" in values and values["fails"] not in ERRNOS:
        raise Mistake(f"the name of an errno is needed, not {values['fails']!r}", "fails")
    values["fails"] = getattr(errno, values.get("fails", ""), 0)
    return DescribedModule(name, layout=layout, **values)
