"""Scenarios: requests with times and actors, as JSON lines.

The first line says which kernel it is, and how long it takes for a file to be read, checked and so
on (only virtual time uses that, and what is not named takes none). Then modules may be described;
they are synthesized, so that the kernel reads real files. All other lines are requests:

    {"kernel": "6.4", "without": ["early-check"], "steps": {"read": 1e-4, "check": 1e-4}}
    {"module": "kvm", "size": 19270448, "memory": 1437696, "text": 442368, "init": 0.1}
    {"at": 0.0, "actor": "udev", "load": "kvm"}
    {"at": 0.001, "actor": "udev", "load": "kvm", "times": 249, "every": 1e-5}
    {"at": 2.0, "actor": "admin", "unload": "kvm"}
    {"at": 3.0, "actor": "mount", "request": "fs-overlay", "times": 400}

What one actor asks for happens one after the other, not before its time. `modfs schema scenario`
tells of all fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import UNSET

from loader.calls import DeleteModule, FinitModule, RequestModule
from loader.config import PAGE_SIZE, Config
from loader.documents.document import (
    Document,
    Flags,
    Given,
    Mistake,
    Positive,
    Table,
    about,
    given,
    json_lines,
    read_json_lines,
    schema,
)
from loader.documents.kinds import (
    Compression,
    Feature,
    FileSize,
    KernelRelease,
    ModuleName,
    Seconds,
)
from loader.engine import sequence
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.errors import UserError
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.depmod import indexes
from loader.synthesize.sized import sized
from loader.synthesize.spec import ModuleSpec
from loader.words import canonical

# Kinds of steps by the name that a scenario's first line has for them.
STEPS: Mapping[str, type] = {
    "read": sequence.Read,
    "decompress": sequence.Decompress,
    "check": sequence.Check,
    "copy": sequence.Copy,
    "relocate": sequence.Relocate,
}


Asked = FinitModule | DeleteModule | RequestModule


@dataclass(frozen=True, slots=True)
class TimedCall:
    """One call or request: ``actor`` makes it at ``at`` seconds, or when its last one has ended.

    The file of a FinitModule is the name of a described module, or a path from the scenario's
    folder.
    """

    at: float
    actor: str
    call: Asked


@dataclass(frozen=True, slots=True)
class Scenario:
    """Which kernel, which modules, and who asks for what when."""

    folder: Path
    kernel: str = "6.12"
    without: tuple[str, ...] = ()
    compression: str = "zstd"
    steps: Mapping[str, float] = field(default_factory=dict)
    modules: Mapping[str, ModuleSpec] = field(default_factory=dict)
    inits: Mapping[str, float] = field(default_factory=dict)
    calls: tuple[TimedCall, ...] = ()
    autoload_dups: bool = False

    @classmethod
    def read(cls, path: Path | str) -> Scenario:
        """The scenario in a file. OSError: cannot be read. UserError: it is none."""
        return _scenario(read_json_lines(path), Path(path).parent, str(path))

    @property
    def config(self) -> Config:
        """The kernel it is about. UserError: no such release."""
        return Config(
            release=release(self.kernel, self.without),
            compression=self.compression,
            autoload_dups=self.autoload_dups,
        )

    @property
    def init_routines(self) -> InitRoutines:
        """The init routines of its modules."""
        return InitRoutines({name: InitRoutine(seconds=s) for name, s in self.inits.items()})

    def by_actor(self) -> dict[str, list[TimedCall]]:
        """The calls of each actor, in their order."""
        actors: dict[str, list[TimedCall]] = {}
        for timed in self.calls:
            actors.setdefault(timed.actor, []).append(timed)
        return actors

    def write_modules(self, folder: Path) -> dict[str, Path]:
        """Write the described modules to files in ``folder``, and what their aliases are: their
        paths by name. OSError."""
        paths = {}
        (folder / "modules.alias").write_text(indexes(list(self.modules.values()))["modules.alias"])
        for name, spec in self.modules.items():
            paths[name] = folder / f"{name}.ko"
            paths[name].write_bytes(build_module(spec))
        return paths

    def load_order(self, name: str) -> tuple[str, ...]:
        """The described module ``name`` after all that it depends on."""
        order: dict[str, None] = {}
        pending = [name]
        while pending:
            spec = self.modules[pending[-1]]
            missing = [
                needed
                for needed in map(canonical, spec.depends)
                if needed in self.modules and needed not in order and needed not in pending
            ]
            if missing:
                pending += missing
            else:
                order[pending.pop()] = None
        return tuple(order)

    def real(
        self, call: FinitModule | DeleteModule, made: Mapping[str, Path]
    ) -> FinitModule | DeleteModule:
        """``call`` on real files, if ``made`` are the described modules."""
        if isinstance(call, DeleteModule):
            return call
        path = made.get(str(call.file)) or self.folder / str(call.file)
        return call._replace(file=str(path.absolute()))


# -- the format -----------------------------------------------------------------------------------


class StepsTable(Table):
    """How long the steps of a load take."""

    read: Given[Annotated[Seconds, about("The file is read.")]] = UNSET
    decompress: Given[Annotated[Seconds, about("It is unpacked.")]] = UNSET
    check: Given[Annotated[Seconds, about("Signature and tables are checked.")]] = UNSET
    copy: Given[Annotated[Seconds, about("It is copied to its place.")]] = UNSET
    relocate: Given[Annotated[Seconds, about("Symbols are resolved, and the like.")]] = UNSET
    helper: Given[
        Annotated[Seconds, about("The kernel starts modprobe, up to its first call.")]
    ] = UNSET


class KernelTable(Table):
    """The first line: which kernel it is."""

    kernel: Given[Annotated[KernelRelease, about("The release.")]] = UNSET
    without: Given[Annotated[tuple[Feature, ...], about("Features that this kernel has not.")]] = (
        UNSET
    )
    compression: Given[Annotated[Compression, about("What the kernel unpacks itself.")]] = UNSET
    steps: Given[Annotated[StepsTable, about("In virtual time only.")]] = UNSET
    autoload_dups: Given[Annotated[bool, about("It answers requests for one string together.")]] = (
        UNSET
    )


class ModuleTable(Table):
    """A module that is made for the scenario."""

    module: Annotated[ModuleName, about("Its name.")]
    size: Given[Annotated[FileSize, about("Bytes of its file.")]] = UNSET
    memory: Given[
        Annotated[FileSize, about("Bytes once it is loaded, init included: whole pages.")]
    ] = UNSET
    text: Given[Annotated[FileSize, about("Bytes of these that are code: whole pages.")]] = UNSET
    init: Given[Annotated[Seconds, about("How long its init takes.")]] = UNSET
    depends: Given[Annotated[tuple[ModuleName, ...], about("Modules that it needs.")]] = UNSET
    aliases: Given[
        Annotated[tuple[str, ...], about('What requests find it by besides, such as "fs-xfs".')]
    ] = UNSET


class RequestTable(Table):
    """A request. It loads, unloads, or is the kernel's own (request_module)."""

    at: Annotated[Seconds, about("When: not before that, nor before the actor's last has ended.")]
    actor: Annotated[str, about("Who asks.")] = ""
    load: Given[
        Annotated[str, about("A module described before, or a file's path from this folder.")]
    ] = UNSET
    unload: Given[Annotated[ModuleName, about("A module.")]] = UNSET
    request: Given[
        Annotated[str, about("What the kernel asks modprobe for: a module or an alias.")]
    ] = UNSET
    wait: Given[Annotated[bool, about("Whether it waits for modprobe; with request.")]] = UNSET
    params: Annotated[str, about("The module's parameters, with load.")] = ""
    flags: Annotated[Flags, about("As of finit_module.")] = 0
    times: Given[Annotated[Positive, about("That many such requests, each by an actor.")]] = UNSET
    every: Given[Annotated[Seconds, about("From each of these requests to the next.")]] = UNSET


def scenario_schema() -> dict[str, Any]:
    """The JSON Schema of a line."""
    told = "A line of a scenario (JSON lines): the kernel, a module, or a request."
    return schema("scenario", told, KernelTable, ModuleTable, RequestTable)


def _kind(line: Document) -> type[Table]:
    keys = set(line.value) if isinstance(line.value, dict) else set()
    if keys & {"at", "actor", "load", "unload", "request"}:
        return RequestTable
    return ModuleTable if "module" in keys else KernelTable


# -- what it means --------------------------------------------------------------------------------


def parse_scenario(lines: Iterable[str], folder: Path) -> Scenario:
    """The scenario in ``lines``; paths in it start at ``folder``. UserError."""
    return _scenario(json_lines("\n".join(lines)), folder)


def _scenario(lines: Iterable[Document], folder: Path, source: str = "") -> Scenario:
    head: dict[str, Any] = {}
    modules: dict[str, ModuleSpec] = {}
    inits: dict[str, float] = {}
    calls: list[TimedCall] = []
    for line in lines:
        made = line.read(_kind(line), _MEANINGS[_kind(line)])
        if isinstance(made, dict):
            head |= made
        elif isinstance(made, list):
            calls += made
        else:
            modules[made[0].module_name], inits[made[0].module_name] = made
    if not calls:
        raise UserError(f"{source or 'the scenario'}: there is no request in it")
    calls = [_of_described(timed, modules) for timed in calls]
    calls.sort(key=lambda timed: timed.at)
    return Scenario(folder, **head, modules=modules, inits=inits, calls=tuple(calls))


def _head(table: KernelTable) -> dict[str, Any]:
    values = given(table)
    return values | ({"steps": given(table.steps)} if "steps" in values else {})


def _module(table: ModuleTable) -> tuple[ModuleSpec, float]:
    values = given(table)
    spec = sized(
        values["module"],
        total_size=values.get("memory", 8 * PAGE_SIZE),
        text_size=values.get("text", 2 * PAGE_SIZE),
        file_bytes=values.get("size"),
        depends=values.get("depends", ()),
        aliases=values.get("aliases", ()),
    )
    return spec, values.get("init", 0.0)


def _timed_calls(table: RequestTable) -> list[TimedCall]:
    values = given(table)
    times, every = values.get("times"), values.get("every", 0.0)
    timed = TimedCall(table.at, table.actor, _asked(table))
    if times is None:
        return [timed]
    return [
        replace(timed, at=timed.at + index * every, actor=f"{timed.actor}-{index + 1}")
        for index in range(times)
    ]


def _asked(table: RequestTable) -> Asked:
    values = given(table)
    load, unload = values.get("load", ""), values.get("unload", "")
    if bool(load) + bool(unload) + ("request" in values) != 1:
        raise Mistake("a request loads, unloads, or has a string to request: one of these")
    if "wait" in values and "request" not in values:
        raise Mistake("only a request for a string waits or not", "wait")
    if load:
        return FinitModule(load, table.params, table.flags)
    if unload:
        return DeleteModule(unload)
    return RequestModule(values["request"], values.get("wait", True))


def _of_described(timed: TimedCall, modules: Mapping[str, ModuleSpec]) -> TimedCall:
    """The call by the module's own name, if it loads one that is described."""
    if isinstance(timed.call, FinitModule):
        name = canonical(str(timed.call.file))
        if name in modules:
            return replace(timed, call=timed.call._replace(file=name))
    return timed


_MEANINGS: Mapping[type[Table], Callable[[Any], Any]] = {
    KernelTable: _head,
    ModuleTable: _module,
    RequestTable: _timed_calls,
}
