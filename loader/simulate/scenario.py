"""Scenarios: requests with times and actors, as JSON lines, and their replay in virtual time.

The first line says which kernel it is, and how long it takes for a file to be read, checked and so
on (in seconds; only virtual time uses that, and what is not named takes none):

    {"kernel": "6.4", "without": ["early-check"], "steps": {"read": 1e-4, "check": 1e-4}}

Then modules may be described; they are synthesized, so that the kernel reads real files. Sizes are
bytes: of the file, of all its memory once loaded with that of init, and of the code in it; ``init``
are the seconds that its init takes:

    {"module": "kvm", "size": 19270448, "memory": 1437696, "text": 442368, "init": 0.1}

All other lines are requests. ``load`` names a module described before, or the path of a file, from
the scenario's folder; ``unload`` a module. What one actor asks for happens one after the other, not
before its time; ``times`` such requests come from as many actors, ``every`` seconds:

    {"at": 0.0, "actor": "udev", "load": "kvm"}
    {"at": 0.001, "actor": "udev", "load": "kvm", "times": 249, "every": 1e-5}
    {"at": 2.0, "actor": "admin", "unload": "kvm"}

``params`` (text) and ``flags`` (a number, as of finit_module) may come with a load.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loader.calls import DeleteModule, FinitModule
from loader.config import PAGE_SIZE, Config
from loader.engine import sequence
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.sized import sized
from loader.synthesize.spec import ModuleSpec

# Kinds of steps by the name that a scenario's first line has for them.
STEPS: Mapping[str, type] = {
    "read": sequence.Read,
    "decompress": sequence.Decompress,
    "check": sequence.Check,
    "copy": sequence.Copy,
    "relocate": sequence.Relocate,
}


class ScenarioError(ValueError):
    """A scenario is not one; the text says in which line and why."""


@dataclass(frozen=True, slots=True)
class TimedCall:
    """One call: ``actor`` makes it at ``at`` seconds, or when its last one has ended.

    The file of a FinitModule is the name of a described module, or a path from the scenario's
    folder.
    """

    at: float
    actor: str
    call: FinitModule | DeleteModule


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

    @classmethod
    def read(cls, path: Path | str) -> Scenario:
        """The scenario in a file. OSError: cannot be read. ScenarioError: it is none."""
        path = Path(path)
        return parse_scenario(path.read_text(encoding="utf-8").splitlines(), path.parent)

    @property
    def config(self) -> Config:
        """The kernel it is about. ValueError: no such release."""
        return Config(release=release(self.kernel, self.without), compression=self.compression)

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
        """Write the described modules to files in ``folder``: their paths by name. OSError."""
        paths = {}
        for name, spec in self.modules.items():
            paths[name] = folder / f"{name}.ko"
            paths[name].write_bytes(build_module(spec))
        return paths

    def real(
        self, call: FinitModule | DeleteModule, made: Mapping[str, Path]
    ) -> FinitModule | DeleteModule:
        """``call`` on real files, if ``made`` are the described modules."""
        if isinstance(call, DeleteModule):
            return call
        path = made.get(str(call.file)) or self.folder / str(call.file)
        return call._replace(file=str(path.absolute()))


# -- reading a scenario ---------------------------------------------------------------------------


def parse_scenario(lines: Iterable[str], folder: Path) -> Scenario:
    """The scenario in ``lines``; paths in it start at ``folder``. ScenarioError."""
    scenario = Scenario(folder)
    modules: dict[str, ModuleSpec] = {}
    inits: dict[str, float] = {}
    calls: list[TimedCall] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            document = json.loads(line)
            if not isinstance(document, dict):
                raise ScenarioError("a JSON object is needed")
            if "at" in document:
                calls += _timed_calls(document)
            elif "module" in document:
                spec, seconds = _module(document)
                modules[spec.module_name], inits[spec.module_name] = spec, seconds
            else:
                scenario = _first_line(scenario, document)
        except (ValueError, TypeError, KeyError) as error:
            raise ScenarioError(f"line {number}: {_reason(error)}") from None
    calls.sort(key=lambda timed: timed.at)
    return replace(scenario, modules=modules, inits=inits, calls=tuple(calls))


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _only(document: Mapping[str, Any], *known: str) -> None:
    for key in document:
        if key not in known:
            raise ScenarioError(f"{key!r} is not known; known are {', '.join(known)}")


def _first_line(scenario: Scenario, document: Mapping[str, Any]) -> Scenario:
    _only(document, "kernel", "without", "compression", "steps")
    steps = {name: float(seconds) for name, seconds in document.get("steps", {}).items()}
    _only(steps, *STEPS)
    made = replace(
        scenario,
        kernel=str(document.get("kernel", scenario.kernel)),
        without=tuple(document.get("without", ())),
        compression=str(document.get("compression", scenario.compression)),
        steps=steps,
    )
    _ = made.config  # ValueError if there is no such kernel
    return made


def _module(document: Mapping[str, Any]) -> tuple[ModuleSpec, float]:
    _only(document, "module", "size", "memory", "text", "init", "depends")
    spec = sized(
        document["module"],
        total_size=document.get("memory", 8 * PAGE_SIZE),
        text_size=document.get("text", 2 * PAGE_SIZE),
        file_bytes=document.get("size"),
        depends=tuple(document.get("depends", ())),
    )
    return spec, float(document.get("init", 0.0))


def _timed_calls(document: Mapping[str, Any]) -> Iterator[TimedCall]:
    fields = dict(document)
    times, every = fields.pop("times", None), float(fields.pop("every", 0.0))
    _only(fields, "at", "actor", "load", "unload", "params", "flags")
    load, unload = fields.get("load", ""), fields.get("unload", "")
    if bool(load) == bool(unload):
        raise ScenarioError("a request either loads or unloads")
    call: FinitModule | DeleteModule = DeleteModule(unload)
    if load:
        call = FinitModule(load, fields.get("params", ""), fields.get("flags", 0))
    timed = TimedCall(fields["at"], fields.get("actor", ""), call)
    if times is None:
        yield timed
        return
    for index in range(times):
        actor = f"{timed.actor}-{index + 1}"
        yield replace(timed, at=timed.at + index * every, actor=actor)
