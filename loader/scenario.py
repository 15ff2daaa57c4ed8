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

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loader import sequence
from loader.config import PAGE_SIZE, Config
from loader.environment import Environment, InitRoutine
from loader.errors import Failure
from loader.image import ModuleImage, read_image
from loader.release import release
from loader.stats import Snapshot
from loader.synthesize import ModuleSpec
from loader.virtual import Events, VirtualKernel

# Kinds of steps by the name that a scenario's first line has for them.
_STEPS: Mapping[str, type] = {
    "read": sequence.Read,
    "decompress": sequence.Decompress,
    "check": sequence.Check,
    "copy": sequence.Copy,
    "relocate": sequence.Relocate,
}


class ScenarioError(ValueError):
    """A scenario is not one; the text says in which line and why."""


@dataclass(frozen=True, slots=True)
class Request:
    """One system call: ``actor`` makes it at ``at`` seconds, or when its last one has ended.

    Exactly one of ``load`` (a described module or a path) and ``unload`` is not empty.
    """

    at: float
    actor: str
    load: str = ""
    unload: str = ""
    params: str = ""
    flags: int = 0


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
    requests: tuple[Request, ...] = ()

    @classmethod
    def read(cls, path: Path | str) -> Scenario:
        """The scenario in a file. OSError: cannot be read. ScenarioError: it is none."""
        path = Path(path)
        return parse(path.read_text(encoding="utf-8").splitlines(), path.parent)

    @property
    def config(self) -> Config:
        """The kernel it is about. ValueError: no such release."""
        return Config(release=release(self.kernel, self.without), compression=self.compression)

    @property
    def environment(self) -> Environment:
        """The init routines of its modules."""
        return Environment({name: InitRoutine(seconds=s) for name, s in self.inits.items()})

    def by_actor(self) -> dict[str, list[Request]]:
        """The requests of each actor, in their order."""
        actors: dict[str, list[Request]] = {}
        for request in self.requests:
            actors.setdefault(request.actor, []).append(request)
        return actors

    def write_modules(self, folder: Path) -> dict[str, Path]:
        """Write the described modules to files in ``folder``: their paths by name. OSError."""
        paths = {}
        for name, spec in self.modules.items():
            paths[name] = folder / f"{name}.ko"
            paths[name].write_bytes(spec.build())
        return paths

    def file(self, what: str, made: Mapping[str, Path]) -> Path:
        """The file that a request to load ``what`` means, if ``made`` are the described modules."""
        return made.get(what) or self.folder / what


# -- reading a scenario ---------------------------------------------------------------------------


def parse(lines: Iterable[str], folder: Path) -> Scenario:
    """The scenario in ``lines``; paths in it start at ``folder``. ScenarioError."""
    scenario = Scenario(folder)
    modules: dict[str, ModuleSpec] = {}
    inits: dict[str, float] = {}
    requests: list[Request] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            document = json.loads(line)
            if not isinstance(document, dict):
                raise ScenarioError("a JSON object is needed")
            if "at" in document:
                requests += _requests(document)
            elif "module" in document:
                spec, seconds = _module(document)
                modules[spec.module_name], inits[spec.module_name] = spec, seconds
            else:
                scenario = _first_line(scenario, document)
        except (ValueError, TypeError, KeyError) as error:
            raise ScenarioError(f"line {number}: {_reason(error)}") from None
    requests.sort(key=lambda request: request.at)
    return replace(scenario, modules=modules, inits=inits, requests=tuple(requests))


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _only(document: Mapping[str, Any], *known: str) -> None:
    for key in document:
        if key not in known:
            raise ScenarioError(f"{key!r} is not known; known are {', '.join(known)}")


def _first_line(scenario: Scenario, document: Mapping[str, Any]) -> Scenario:
    _only(document, "kernel", "without", "compression", "steps")
    steps = {name: float(seconds) for name, seconds in document.get("steps", {}).items()}
    _only(steps, *_STEPS)
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
    spec = ModuleSpec.sized(
        document["module"],
        total_size=document.get("memory", 8 * PAGE_SIZE),
        text_size=document.get("text", 2 * PAGE_SIZE),
        file_bytes=document.get("size"),
        depends=tuple(document.get("depends", ())),
    )
    return spec, float(document.get("init", 0.0))


def _requests(document: Mapping[str, Any]) -> Iterator[Request]:
    fields = dict(document)
    times, every = fields.pop("times", None), float(fields.pop("every", 0.0))
    _only(fields, "at", "actor", "load", "unload", "params", "flags")
    request = Request(**{"actor": "", **fields})
    if bool(request.load) == bool(request.unload):
        raise ScenarioError("a request either loads or unloads")
    if times is None:
        yield request
        return
    for index in range(times):
        actor = f"{request.actor}-{index + 1}"
        yield replace(request, at=request.at + index * every, actor=actor)


# -- virtual time ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _File:
    """A file as the sequence sees it (sequence.File)."""

    cookie: str
    image: ModuleImage | Failure
    readable: bool = True


class _Replay(VirtualKernel):
    """A scenario on SimPy's clock; the files are real, the time is not."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.config)
        self.scenario = scenario
        self.answers: list[tuple[Request, int]] = []
        self._environment = scenario.environment
        self._images: dict[tuple[str, int], ModuleImage | Failure] = {}
        self.handlers = {
            **{kind: self._step(scenario.steps.get(name, 0.0)) for name, kind in _STEPS.items()},
            sequence.Read: self._read,
            sequence.RunInit: self._run_init,
            sequence.RunExit: self._step(0.0),
        }

    def run(self) -> Snapshot:
        for requests in self.scenario.by_actor().values():
            self.env.process(self._actor(requests))
        self.env.run()
        return self.kernel.snapshot()

    def _actor(self, requests: Iterable[Request]) -> Events:
        for request in requests:
            if request.at > self.env.now:
                yield self.env.timeout(request.at - self.env.now)
            try:
                number = yield from self.call(self._steps_of(request))
            except OSError as error:  # open(2) fails: no system call is made
                number = error.errno or errno.EIO
            self.answers.append((request, number))

    def _steps_of(self, request: Request) -> sequence.Steps:
        if request.unload:
            return sequence.delete_module(self.kernel, request.unload, os.O_NONBLOCK)
        file = _File(request.load, self._image(request.load, request.flags))
        return sequence.finit_module(self.kernel, file, request.params, request.flags)

    def _image(self, what: str, flags: int) -> ModuleImage | Failure:
        image = self._images.get((what, flags))
        if image is None:
            spec = self.scenario.modules.get(what)
            path = self.scenario.folder / what
            if not spec and path.is_dir():
                return Failure(errno.EINVAL)  # kernel_read_file: not a regular file
            data = spec.build() if spec else path.read_bytes()
            image = self._images[what, flags] = read_image(data, flags, self.kernel.config)
        return image

    def _step(self, seconds: float) -> Any:
        def handler(step: sequence.Step) -> Events:
            if seconds:
                yield self.env.timeout(seconds)

        return handler

    def _read(self, step: sequence.Read) -> Events:
        seconds = self.scenario.steps.get("read", 0.0)
        if seconds:
            yield self.env.timeout(seconds)
        file: _File = step.file
        return file.image

    def _run_init(self, step: sequence.RunInit) -> Events:
        routine = self._environment.init(step.module.name)
        if routine.seconds:
            yield self.env.timeout(routine.seconds)
        return routine.result(step.module.values, self.kernel.is_live)


def replay(scenario: Scenario) -> tuple[Snapshot, list[tuple[Request, int]]]:
    """Replay in virtual time: what the kernel then shows, and each request with its errno or 0."""
    virtual = _Replay(scenario)
    return virtual.run(), virtual.answers
