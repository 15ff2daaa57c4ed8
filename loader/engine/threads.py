"""The load sequence on real threads: files are really read, waiters really wait.

The thread that makes a call drives its sequence. It waits on a condition that shares the kernel's
one lock; whoever changes what is waited for wakes the queue of that key. Nothing polls.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from loader.calls import ANYONE, NOBODY, Call, Caller, File, open_here
from loader.config import Config
from loader.engine import sequence
from loader.engine.budget import Budget, default_budget
from loader.engine.course import Course, UntimedCourse
from loader.engine.init_routines import InitRoutines
from loader.engine.kmod import Kmod
from loader.engine.kmod_threads import KmodThreads
from loader.engine.module import InitResult
from loader.engine.open_file import CallersFile, can_lease, pread_all
from loader.engine.reader import Reader
from loader.engine.state import Kernel
from loader.engine.stats import Snapshot
from loader.engine.tree_modprobe import TreeModprobe
from loader.errors import LoadError
from loader.image.module_image import ModuleImage, read_image
from loader.tree.tree import Tree

log = logging.getLogger("loader")

# What calls get from an engine that ends, as from a file system that is gone. Not EINTR: programs
# would only try again.
SHUT_DOWN = errno.ENOTCONN


class _Interrupted(Exception):
    """The caller has a signal pending, but the kernel would not end this step for it."""


class _Queue:
    """Those who wait under one key. Used with the kernel's lock held.

    They are woken one by the other: ten thousand threads that all want Python's lock at once, and
    ask for it again every few milliseconds, get nothing done.
    """

    __slots__ = ("_condition", "_to_wake", "waiters")

    def __init__(self, lock: threading.Lock) -> None:
        self._condition = threading.Condition(lock)
        self._to_wake = 0
        self.waiters = 0

    def wait(self, seconds: float | None) -> None:
        """Until woken, or for so long."""
        try:
            self._condition.wait(seconds)
        finally:
            self._wake_next()

    def wake(self) -> None:
        """Each of those who wait now, in turn."""
        under_way, self._to_wake = self._to_wake, self.waiters
        if not under_way:
            self._wake_next()

    def _wake_next(self) -> None:
        if self._to_wake:
            self._to_wake -= 1
            self._condition.notify()


class LiveKernel:
    """A kernel that loads modules, callable from any number of threads."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        tree: Tree | None = None,
        init_routines: InitRoutines | None = None,
        file_memory: int | None = None,
        pace: float = 1.0,
    ) -> None:
        """``file_memory``: bytes of files that may be held at one time, by all calls together; more
        have to wait, and a file longer than that is ENOMEM. None: see default_budget. ``pace``: how
        many of its seconds pass in one."""
        self.config = config or Config()
        self.init_routines = init_routines or InitRoutines()
        self.kernel = Kernel(self.config)
        self.kernel.wakeup = self._wakeup
        limit = default_budget() if file_memory is None else file_memory
        self._files = Reader(self.kernel, Budget(limit, self._wakeup), self._wait)
        self._queues: dict[Hashable, _Queue] = {}
        self._pace = pace
        self._course_now = time.monotonic if pace == 1.0 else self.now
        self._stopping = False
        self._leases = can_lease()
        self._handlers: dict[type, Callable[[Any, Caller], Any]] = {
            sequence.Read: self._files.read,
            sequence.Wait: self._wait,
            sequence.RunInit: self._run_init,
            # Unpacking takes no time here: it was done when the file was read.
        }
        self.kmod = Kmod(self.kernel, self.now, self._wakeup)
        self.autoload = KmodThreads(self.kmod, self._modprobe(), self._wait)
        self.tree: Tree | None = None
        if tree is not None:
            self.use_tree(tree)

    def use_tree(self, tree: Tree) -> None:
        """Have modules, and what requests mean, looked up in ``tree``."""
        self.tree = tree
        self.kernel.exporter = tree.exporter
        self.kmod.filesystem = lambda name: tree.resolve(f"fs-{name}")
        self.autoload.programs = self._modprobe(tree)

    def _modprobe(self, tree: Tree | None = None) -> TreeModprobe:
        return TreeModprobe(self.kernel, tree, self.call)

    def now(self) -> float:
        """Seconds, from some moment on."""
        return time.monotonic() * self._pace

    # -- system calls -----------------------------------------------------------------------------

    def call(self, call: Call, caller: Caller = ANYONE) -> None:
        """Answer one call; returns when it succeeded. LoadError: its errno."""
        # It takes its time to say who calls: only where somebody listens.
        nobody = caller is ANYONE or self.kernel.listener is None
        origin = NOBODY if nobody else caller.origin()
        course = UntimedCourse(self.kernel, call, origin, self._course_now)
        file = CallersFile(caller, self._files.read_new, self._leases)
        try:
            caller.may_init_module()
            if self._stopping or self.kernel.modules_disabled:
                raise LoadError(SHUT_DOWN if self._stopping else errno.EPERM)
            steps = sequence.system_call(self.kernel, call, file, course)
            self._go_on(steps, next(steps), caller, file, course)
        except StopIteration:
            return
        except LoadError as error:
            if not course.goes_on:
                course.failed(error)
            raise
        except Exception as unexpected:
            raise _ended_with(course, unexpected) from None
        finally:
            file.close()
            if file.share is not None:
                self._files.release(file)
            listener = self.kernel.listener
            if listener is not None and not course.goes_on:
                course.close()
                listener(course)

    # -- requests of the kernel itself ------------------------------------------------------------

    def request_module(
        self,
        string: str,
        caller: Caller = ANYONE,
        wait: bool = True,
        function: str = "request_module",
    ) -> int:
        """What it came to: see loader.engine.kmod. LoadError: the engine ends."""
        return self.autoload.request_module(string, caller, wait, function)

    def get_fs_type(self, name: str, caller: Caller = ANYONE) -> bool:
        """Is there such a file system, now or after a request? LoadError: the engine ends."""
        return self.autoload.get_fs_type(name, caller)

    def provides(self, string: str) -> bool:
        """Is a module live that ``string`` means?"""
        modules = self.tree.resolve(string) if self.tree else ()
        with self.kernel.lock:
            return any(self.kernel.is_live(name) for name in modules)

    # -- what can be read -------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All counters and lists at one moment."""
        return self.kernel.snapshot()

    def statistics(self, unloaded: bool = False) -> Snapshot:
        """What the statistics files need (Kernel.statistics)."""
        return self.kernel.statistics(unloaded)

    def kmsg(self) -> str:
        """The kernel's log lines."""
        with self.kernel.lock:
            return self.kernel.log.text()

    def image(self, file: File, flags: int = 0) -> ModuleImage:
        """What the kernel would find in ``file``; not kept. OSError: it cannot be read."""
        fd, ours = open_here(file)
        try:
            return read_image(pread_all(fd, os.fstat(fd).st_size), flags, self.config)
        finally:
            if ours:
                os.close(fd)

    # -- ending waits -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Every waiting caller looks at its signal_pending again."""
        with self.kernel.lock:
            for queue in self._queues.values():
                queue.wake()

    def shutdown(self) -> None:
        """End all waits and init routines with SHUT_DOWN; new calls get it at once."""
        self._stopping = True
        self.wake()

    def wait(self, step: sequence.Wait, caller: Caller = ANYONE) -> None:
        """Wait as a call does. LoadError: EINTR, SHUT_DOWN."""
        self._wait(step, caller)

    # -- driving a sequence -----------------------------------------------------------------------

    def _go_on(
        self,
        steps: sequence.Steps,
        step: sequence.Step,
        caller: Caller,
        file: CallersFile,
        course: Course,
    ) -> None:
        """From a step to the end, which is a StopIteration or a LoadError."""
        handlers = self._handlers
        while True:
            handler = handlers.get(type(step))
            if handler is None:
                step = steps.send(None)
                continue
            if file.share is not None:  # nothing of the file is held through a wait
                self._files.release(file)
            try:
                reply = handler(step, caller)
            except LoadError as error:
                step = steps.throw(error)
            except _Interrupted:
                self._leave(steps, step, file, course)
                raise LoadError(errno.EINTR) from None
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)

    def _leave(
        self, steps: sequence.Steps, step: sequence.Step, file: CallersFile, course: Course
    ) -> None:
        """The caller goes. A load that is running its init goes on in a thread of the engine."""
        if isinstance(step, sequence.RunInit):
            rest = (steps, step, file, course)
            finish = threading.Thread(target=self._finish, args=rest, daemon=True)
            course.goes_on = True
            try:
                finish.start()
            except RuntimeError:  # no thread can be had: its init ends here
                course.goes_on = False
                steps.close()
        else:
            steps.close()

    def _finish(
        self, steps: sequence.Steps, step: sequence.Step, file: CallersFile, course: Course
    ) -> None:
        try:
            self._go_on(steps, step, ANYONE, file, course)
        except StopIteration:
            pass
        except LoadError as error:
            course.failed(error)
        except Exception as error:  # the load is undone, and there is nobody to tell
            _ended_with(course, error)
        if self.kernel.listener is not None:
            course.close()
            self.kernel.listener(course)

    def _wakeup(self, key: Hashable) -> None:
        queue = self._queues.get(key)
        if queue is not None:
            queue.wake()

    # -- steps that take time ---------------------------------------------------------------------

    def _wait(self, step: sequence.Wait, caller: Caller) -> None:
        deadline = None if step.timeout is None else self.now() + step.timeout
        with self.kernel.lock:
            if step.done():
                return
            queue = self._queues.get(step.key)
            if queue is None:
                queue = self._queues[step.key] = _Queue(self.kernel.lock)
            queue.waiters += 1
            try:
                while self._stopping or not step.done():
                    if self._stopping:
                        raise LoadError(SHUT_DOWN)
                    if caller.signal_pending():
                        raise LoadError(errno.EINTR) if step.interruptible else _Interrupted
                    left = None if deadline is None else (deadline - self.now()) / self._pace
                    if left is not None and left <= 0:
                        return
                    queue.wait(left)
            finally:
                queue.waiters -= 1
                if not queue.waiters:
                    del self._queues[step.key]

    def _run_init(self, step: sequence.RunInit, caller: Caller) -> InitResult:
        module = step.module
        routine = self.init_routines.of(module.name)
        if routine.seconds > 0:
            module.init_started = module.init_started or self.now()
            end = module.init_started + routine.seconds
            over = sequence.Wait(
                ("init", module), lambda: self.now() >= end, False, end - self.now()
            )
            self._wait(over, caller)
        with self.kernel.lock:
            return routine.result(module.values, self.kernel.is_live)


def _ended_with(course: Course, error: Exception) -> LoadError:
    """How a call ends that met ``error``; what nobody expected is in the log, and is EIO."""
    if isinstance(error, MemoryError):
        number = errno.ENOMEM
    else:
        number = getattr(error, "errno", None) or errno.EIO
        if not isinstance(error, OSError):
            log.error("a call ended unexpectedly", exc_info=error)
    found = LoadError(number)
    course.failed(found)
    return found
