"""Replays a scenario in virtual time: the files are real, the time is not."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from loader.calls import FinitModule, Origin, RequestModule, Task
from loader.engine import sequence
from loader.engine.clock import Events, VirtualKernel
from loader.engine.state import Listener
from loader.engine.stats import Snapshot
from loader.engine.umh import Usermodehelper
from loader.errors import Failure, LoadError
from loader.image.module_image import ModuleImage, read_image
from loader.simulate.described import DescribedModules
from loader.simulate.scenario import STEPS, Scenario, TimedCall
from loader.synthesize.builder import build_module

_NUMBER = re.compile(r"-\d+$")


@dataclass(frozen=True, slots=True)
class _File:
    """A file as the sequence sees it (sequence.OpenedFile)."""

    cookie: str
    image: ModuleImage | Failure
    readable: bool = True


class _Replay(VirtualKernel):
    """A scenario on SimPy's clock; the files are real, the time is not."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.config)
        self.scenario = scenario
        self.answers: list[tuple[TimedCall, int]] = []
        self._init_routines = scenario.init_routines
        aliases = {name: spec.aliases for name, spec in scenario.modules.items()}
        self.modules = DescribedModules(aliases, scenario.load_order)
        self._images: dict[tuple[str, int], ModuleImage | Failure] = {}
        self.handlers = {
            **{kind: self._step(scenario.steps.get(name, 0.0)) for name, kind in STEPS.items()},
            sequence.Read: self._read,
            sequence.RunInit: self._run_init,
            sequence.RunExit: self._step(0.0),
        }

    def run(self) -> Snapshot:
        for actor, calls in self.scenario.by_actor().items():
            name = _NUMBER.sub("", actor)  # of one line's actors
            self.env.process(self._actor(Task(name, self.new_task()), calls))
        self.env.run()
        return self.kernel.snapshot()

    def _actor(self, task: Task, calls: Iterable[TimedCall]) -> Events:
        origin = Origin(task)
        for timed in calls:
            if timed.at > self.env.now:
                yield self.env.timeout(timed.at - self.env.now)
            if isinstance(timed.call, RequestModule):
                number = yield from self.autoload.request_module(*timed.call, task=task)
            else:
                number = yield from self.call(timed.call, origin)
            self.answers.append((timed, number))

    def execve(self, helper: Usermodehelper) -> Events:
        program = super().execve(helper)

        def running() -> Events:
            yield self.env.timeout(self.scenario.steps.get("helper", 0.0))
            return (yield from program)

        return running()

    def opened(self, call: FinitModule) -> _File:
        name = str(call.file)
        image = self._images.get((name, call.flags))
        if image is None:
            image = self._images[name, call.flags] = self._image(name, call.flags)
        return _File(name, image)

    def _image(self, name: str, flags: int) -> ModuleImage | Failure:
        spec = self.scenario.modules.get(name)
        path = self.scenario.folder / name
        if not spec and path.is_dir():
            return Failure(errno.EINVAL)  # kernel_read_file: not a regular file
        try:
            data = build_module(spec) if spec else path.read_bytes()
        except OSError as error:  # open(2) fails: no module call is made
            raise LoadError(error.errno or errno.EIO) from None
        return read_image(data, flags, self.kernel.config)

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
        routine = self._init_routines.of(step.module.name)
        if routine.seconds:
            yield self.env.timeout(routine.seconds)
        return routine.result(step.module.values, self.kernel.is_live)


def replay_virtual(
    scenario: Scenario, listener: Listener | None = None
) -> tuple[Snapshot, list[tuple[TimedCall, int]]]:
    """Replay in virtual time: what the kernel then shows, and each call with its errno or 0,
    each request of the kernel's with what it came to (loader.engine.kmod). ``listener``: see
    Kernel.listener."""
    virtual = _Replay(scenario)
    virtual.kernel.listener = listener
    return virtual.run(), virtual.answers
