"""Requests in virtual time: who requests is an event's process, and so is the helper."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Hashable
from typing import Any, TypeVar

import simpy

from loader.calls import NOBODY, Task
from loader.engine import exec
from loader.engine.kmod import Kmod, Sleep, get_fs_type, request_module
from loader.engine.state import Kernel
from loader.engine.umh import Usermodehelper
from loader.errors import LoadError

Events = Generator[simpy.Event, Any, Any]
T = TypeVar("T")
Execute = Callable[[Usermodehelper], Events]
"""Starts a program: OSError, as of execve(2), where it cannot be started; otherwise the events for
as long as it runs, which return its wait status."""


class _Job:
    __slots__ = ("done", "result")

    def __init__(self) -> None:
        self.done = False
        self.result = 0


class KmodClock:
    """The requests of one kernel in the world ``env``. ``execve`` has its programs."""

    def __init__(self, env: simpy.Environment, kernel: Kernel, execve: Execute) -> None:
        self.env = env
        self.kmod = Kmod(kernel, lambda: env.now, self._wakeup)
        self.execve = execve
        self._sleeping: dict[Hashable, list[simpy.Event]] = {}

    def request_module(
        self,
        string: str,
        wait: bool = True,
        function: str = "request_module",
        killed: simpy.Event | None = None,
        task: Task = NOBODY.task,
    ) -> Generator[simpy.Event, Any, int]:
        """See loader.engine.kmod. ``killed``: comes when a fatal signal reaches the caller."""
        steps = request_module(self.kmod, string, wait, function, task)
        return (yield from self._drive(steps, killed))

    def get_fs_type(self, name: str) -> Generator[simpy.Event, Any, bool]:
        """See loader.engine.kmod."""
        return (yield from self._drive(get_fs_type(self.kmod, name), None))

    def _drive(
        self, steps: Generator[Any, Any, T], killed: simpy.Event | None
    ) -> Generator[simpy.Event, Any, T]:
        try:
            step = next(steps)
            while True:
                try:
                    answer = yield from self._answer(step, killed)
                except OSError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _answer(
        self, step: Sleep | Usermodehelper | exec.Execve, killed: simpy.Event | None
    ) -> Events:
        if isinstance(step, Sleep):
            yield from self._sleep(step, killed if step.killable else None)
            return None
        if isinstance(step, exec.Execve):
            return self.execve(step.helper)
        job = _Job()
        self.env.process(self._run(step, job))
        yield from self._sleep(Sleep(job, lambda: job.done, True), killed)
        return job.result

    def _run(self, helper: Usermodehelper, job: _Job) -> Events:
        try:
            program = yield from self._drive(exec.execve(self.kmod, helper), None)
        except OSError as error:
            self._complete(job, -(error.errno or errno.EIO))
            return
        if not helper.wait:
            self._complete(job, 0)
        self._complete(job, (yield from program))

    def _complete(self, job: _Job, result: int) -> None:
        if not job.done:
            job.done, job.result = True, result
            self._wakeup(job)

    def _sleep(self, step: Sleep, killed: simpy.Event | None) -> Events:
        """LoadError: EINTR, it was killed."""
        ends = [] if step.timeout is None else [self.env.timeout(step.timeout)]
        while not step.done():
            if killed is not None and killed.triggered:
                raise LoadError(errno.EINTR)
            event = self.env.event()
            self._sleeping.setdefault(step.key, []).append(event)
            others = ends if killed is None else [*ends, killed]
            yield simpy.AnyOf(self.env, [event, *others]) if others else event
            if ends and ends[0].processed:
                break

    def _wakeup(self, key: Hashable) -> None:
        for event in self._sleeping.pop(key, ()):
            event.succeed()
