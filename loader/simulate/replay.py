"""Replays a scenario in virtual time: the files are real, the time is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from loader.engine import sequence
from loader.engine.clock import Events, VirtualKernel
from loader.engine.stats import Snapshot
from loader.errors import Failure
from loader.image.module_image import ModuleImage, read_image
from loader.simulate.scenario import _STEPS, Scenario, TimedCall
from loader.synthesize.builder import build_module

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
        self.answers: list[tuple[TimedCall, int]] = []
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

    def _actor(self, requests: Iterable[TimedCall]) -> Events:
        for request in requests:
            if request.at > self.env.now:
                yield self.env.timeout(request.at - self.env.now)
            try:
                number = yield from self.call(self._steps_of(request))
            except OSError as error:  # open(2) fails: no system call is made
                number = error.errno or errno.EIO
            self.answers.append((request, number))

    def _steps_of(self, request: TimedCall) -> sequence.Steps:
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
            data = build_module(spec) if spec else path.read_bytes()
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


def replay_virtual(scenario: Scenario) -> tuple[Snapshot, list[tuple[TimedCall, int]]]:
    """Replay in virtual time: what the kernel then shows, and each request with its errno or 0."""
    virtual = _Replay(scenario)
    return virtual.run(), virtual.answers
