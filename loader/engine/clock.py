"""The load sequence on SimPy's clock: what every driver in virtual time shares.

Steps that wait are handled here; how long the other steps take is a subclass's matter. Nothing
looks again and again: who waits for something is woken when it happened, and nobody else is.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from typing import Any

import simpy

from loader.calls import NOBODY, Call, FinitModule, InitModule, Origin
from loader.config import Config
from loader.engine import sequence
from loader.engine.course import Course
from loader.engine.kmod_clock import KmodClock
from loader.engine.state import Kernel
from loader.engine.tree_modprobe import helper_origin, modprobe_of
from loader.engine.umh import Usermodehelper, exited
from loader.errors import LoadError
from loader.image.module_image import ModuleImage
from loader.tree.modprobe import Modules

Events = Generator[simpy.Event, Any, Any]
FIRST_TASK = 100
"""The number of the first task in virtual time."""


class Later(simpy.Event):
    """An event that can be told to happen after a while."""

    def happen_in(self, seconds: float) -> None:
        """As simpy.Timeout does at its creation."""
        self._ok = True
        self._value = None
        self.env.schedule(self, delay=seconds)


class VirtualKernel:
    """A kernel whose time is that of ``env``, in seconds.

    A subclass says what a call's files are (``opened`` and ``memory``, as of sequence.Files), and
    has in ``handlers``, for each kind of step but Wait, a function that yields events for as long
    as the step takes and returns the answer to it.
    """

    handlers: Mapping[type, Callable[[Any], Events]]

    def __init__(self, config: Config) -> None:
        self.env = simpy.Environment()
        self.kernel = Kernel(config)
        self.kernel.wakeup = self._wakeup
        self.kernel.memory.freed = self._note_freed
        self.waited = 0.0  # seconds, of all callers together
        self.modules: Modules | None = None  # what modprobe finds
        self.autoload = KmodClock(self.env, self.kernel, self.execve)
        self._waiting: dict[Hashable, list[Later]] = {}
        self._freed = 0  # bytes given back since the last step
        self.new_task = itertools.count(FIRST_TASK).__next__

    def _now(self) -> float:
        return self.env.now

    def opened(self, call: FinitModule) -> sequence.OpenedFile | None:
        """The file that a call names. LoadError: it cannot be opened."""
        raise NotImplementedError

    def memory(self, call: InitModule) -> tuple[ModuleImage | None, int]:
        """What a call has in memory, and its length in bytes."""
        raise NotImplementedError

    def call(self, call: Call, origin: Origin = NOBODY) -> Generator[simpy.Event, Any, int]:
        """Answer one call; 0 or the errno it ends with."""
        course = Course(self.kernel, call, origin, self._now)
        number = yield from self._drive(call, course)
        listener = self.kernel.listener
        if listener is not None:
            course.close()
            listener(course)
        return number

    def _drive(self, call: Call, course: Course) -> Generator[simpy.Event, Any, int]:
        if self.kernel.modules_disabled:
            course.errno = errno.EPERM
            return errno.EPERM
        handlers = self.handlers
        steps = sequence.system_call(self.kernel, call, self, course)
        advance: Callable[[Any], sequence.Step] = steps.send
        answer: Any = None
        try:
            while True:
                step = advance(answer)
                advance = steps.send
                if self._freed:
                    yield from self._give_back(course)
                kind = type(step)
                if kind is sequence.Wait:
                    try:
                        answer = yield from self._wait(step)  # type: ignore[arg-type]
                    except LoadError as error:
                        advance, answer = steps.throw, error
                else:
                    answer = yield from handlers[kind](step)
        except StopIteration:
            self._freed = 0  # init memory is freed by a work item, not by the loader (do_free_init)
            return 0
        except LoadError as error:
            if self._freed:
                yield from self._give_back(course)
            course.failed(error)
            return error.errno or errno.EIO

    def execve(self, helper: Usermodehelper) -> Events:
        """Start a program that the kernel needs: modprobe, on the modules of the simulation, which
        takes no time beyond that of its calls. OSError: ENOENT, it is another."""
        run = modprobe_of(self.kernel, self.modules, helper)
        origin = helper_origin(helper, self.new_task())

        def running() -> Events:
            try:
                step = next(run)
                while True:
                    call = FinitModule(step.path, step.params)
                    step = run.send((yield from self.call(call, origin)))
            except StopIteration as end:
                return exited(end.value)

        return running()

    def _note_freed(self, size: int) -> None:
        self._freed += size

    def _give_back(self, course: Course) -> Events:
        size, self._freed = self._freed, 0
        yield from self.give_back(size, course)

    def give_back(self, size: int, course: Course) -> Events:
        """Take the time in which a call gives ``size`` bytes of memory back."""
        yield from ()

    def delays(self, waiters: int) -> Iterable[float]:
        """Seconds after which each of those who waited for one thing goes on."""
        return itertools.repeat(0.0, waiters)

    def _wait(self, step: sequence.Wait) -> Events:
        """LoadError: EINTR, a signal ended it."""
        env = self.env
        since = env.now
        end = None if step.timeout is None else env.timeout(step.timeout)
        while not step.done():
            event = Later(env)
            self._waiting.setdefault(step.key, []).append(event)
            if end is None:
                yield event
            else:
                yield event | end
                if end.processed:
                    break
        self.waited += env.now - since

    def _wakeup(self, key: Hashable) -> None:
        """wake_up_all, for those who wait under ``key`` only."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            for event, delay in zip(waiting, self.delays(len(waiting)), strict=True):
                event.happen_in(delay)
