"""Requests of an engine on threads: who requests sleeps, and a thread stands for the helper."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from loader.calls import ANYONE, Caller
from loader.engine import exec, sequence
from loader.engine.kmod import Kmod, Sleep, get_fs_type, request_module
from loader.engine.umh import Programs, Usermodehelper

log = logging.getLogger("loader")

_HELPERS_MAX = 4096  # at once: more are EAGAIN, as from fork(2)
T = TypeVar("T")


class _Job:
    """struct subprocess_info: a helper, and what it came to once ``done``."""

    __slots__ = ("done", "result")

    def __init__(self) -> None:
        self.done = False
        self.result = 0


class KmodThreads:
    """``wait`` carries out a sequence.Wait for a caller; LoadError: EINTR, or the engine ends.

    ``programs`` may be replaced.
    """

    def __init__(
        self, kmod: Kmod, programs: Programs, wait: Callable[[sequence.Wait, Caller], None]
    ) -> None:
        self.kmod = kmod
        self.programs = programs
        self._wait = wait
        self.running = 0  # helpers

    def request_module(
        self, string: str, caller: Caller, wait: bool = True, function: str = "request_module"
    ) -> int:
        """See loader.engine.kmod. LoadError: the engine ends."""
        task = caller.origin().task
        return self._drive(request_module(self.kmod, string, wait, function, task), caller)

    def get_fs_type(self, name: str, caller: Caller) -> bool:
        """See loader.engine.kmod. LoadError: the engine ends."""
        return self._drive(get_fs_type(self.kmod, name, caller.origin().task), caller)

    def _drive(self, steps: Generator[Any, Any, T], caller: Caller) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._answer(step, caller)
                except OSError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _answer(self, step: Sleep | Usermodehelper | exec.Execve, caller: Caller) -> Any:
        if isinstance(step, Usermodehelper):
            status = self.programs.at_once(step)
            if status is None:
                return self._exec(step, caller)
            return status if step.wait else 0
        if isinstance(step, exec.Execve):
            return self.programs.execve(step.helper)
        waiter = _killable(caller) if step.killable else ANYONE
        return self._wait(sequence.Wait(step.key, step.done, True, step.timeout), waiter)

    # -- helpers ----------------------------------------------------------------------------------

    def _exec(self, helper: Usermodehelper, caller: Caller) -> int:
        """call_usermodehelper_exec: its result, or a LoadError while it goes on."""
        job = _Job()
        kworker = threading.Thread(target=self._run, args=(helper, job), daemon=True)
        with self.kmod.kernel.lock:
            if self.running >= _HELPERS_MAX:
                return -errno.EAGAIN
            self.running += 1
        try:
            kworker.start()
        except RuntimeError:  # no thread can be had
            with self.kmod.kernel.lock:
                self.running -= 1
            return -errno.EAGAIN
        self._wait(sequence.Wait(job, lambda: job.done), _killable(caller))
        return job.result

    def _run(self, helper: Usermodehelper, job: _Job) -> None:
        """The kernel thread that becomes the helper, and the one that waits for it."""
        result = -errno.EIO
        try:
            program = self._drive(exec.execve(self.kmod, helper), ANYONE)
            if not helper.wait:
                self._complete(job, 0)
            result = program.wait()
        except OSError as error:
            result = -(error.errno or errno.EIO)
        except Exception:
            log.exception("a helper ended unexpectedly")
        finally:
            with self.kmod.kernel.lock:
                self.running -= 1
            self._complete(job, result)

    def _complete(self, job: _Job, result: int) -> None:
        """umh_complete; the first result is the one."""
        with self.kmod.kernel.lock:
            if not job.done:
                job.done, job.result = True, result
                self.kmod.wakeup(job)


def _killable(caller: Caller) -> Caller:
    """The caller, whose wait only a fatal signal ends."""
    fatal = caller.fatal_signal_pending
    return caller if fatal is None else caller._replace(signal_pending=fatal)
