"""The load sequence on real threads: files are really read, waiters really wait.

The thread that makes a call drives its sequence. It waits on a condition that shares the kernel's
one lock; whoever changes what is waited for wakes the queue of that key. Nothing polls.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from loader.calls import ANYONE, Call, Caller, File, open_here
from loader.config import Config
from loader.engine import sequence
from loader.engine.init_routines import InitRoutines
from loader.engine.module import InitResult
from loader.engine.open_file import CallersFile, can_lease, pread_all
from loader.engine.state import Kernel
from loader.engine.stats import Snapshot
from loader.errors import Failure, LoadError
from loader.image.cache import ImageCache
from loader.image.module_image import ModuleImage, read_image
from loader.tree.tree import Tree

log = logging.getLogger("loader")

# What calls get from an engine that ends, as from a file system that is gone. Not EINTR: programs
# would only try again.
SHUT_DOWN = errno.ENOTCONN
_FILE_MAX = (1 << 31) - 1  # bytes: kernel_read_file is asked for INT_MAX at most


class _Interrupted(Exception):
    """The caller has a signal pending, but the kernel would not end this step for it."""


class _Queue:
    """Those who wait under one key."""

    __slots__ = ("condition", "waiters")

    def __init__(self, lock: threading.Lock) -> None:
        self.condition = threading.Condition(lock)
        self.waiters = 0


class LiveKernel:
    """A kernel that loads modules, callable from any number of threads."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        tree: Tree | None = None,
        init_routines: InitRoutines | None = None,
    ) -> None:
        self.config = config or Config()
        self.tree = tree
        self.init_routines = init_routines or InitRoutines()
        self.kernel = Kernel(self.config)
        self.kernel.wakeup = self._wakeup
        if tree is not None:
            self.kernel.exporter = tree.exporter
        self._images = ImageCache()
        self._queues: dict[Hashable, _Queue] = {}
        self._stopping = False
        self._leases = can_lease()
        self._handlers: dict[type, Callable[[Any, Caller], Any]] = {
            sequence.Read: self._read,
            sequence.Wait: self._wait,
            sequence.RunInit: self._run_init,
            # The other steps take no time here: their work was done when the file was read.
        }

    # -- system calls -----------------------------------------------------------------------------

    def call(self, call: Call, caller: Caller = ANYONE) -> None:
        """Answer one call; returns when it succeeded. LoadError: its errno."""
        caller.may_init_module()
        if self._stopping:
            raise LoadError(SHUT_DOWN)
        file = CallersFile(caller, self.config, self._leases)
        try:
            steps = sequence.system_call(self.kernel, call, file)
            self._go_on(steps, next(steps), caller)
        except StopIteration:
            return
        except LoadError:
            raise
        except Exception as error:
            raise _load_error(error) from None
        finally:
            file.close()

    # -- what can be read -------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All counters and lists at one moment."""
        return self.kernel.snapshot()

    def statistics(self) -> Snapshot:
        """The same without the modules: all that the statistics files need."""
        return self.kernel.statistics()

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
                queue.condition.notify_all()

    def shutdown(self) -> None:
        """End all waits and init routines with SHUT_DOWN; new calls get it at once."""
        self._stopping = True
        self.wake()

    # -- driving a sequence -----------------------------------------------------------------------

    def _go_on(self, steps: sequence.Steps, step: sequence.Step, caller: Caller) -> None:
        """From a step to the end, which is a StopIteration or a LoadError."""
        handlers = self._handlers
        while True:
            handler = handlers.get(type(step))
            if handler is None:
                step = steps.send(None)
                continue
            try:
                reply = handler(step, caller)
            except LoadError as error:
                step = steps.throw(error)
            except _Interrupted:
                self._leave(steps, step)
                raise LoadError(errno.EINTR) from None
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)

    def _leave(self, steps: sequence.Steps, step: sequence.Step) -> None:
        """The caller goes. A load that is running its init goes on in a thread of the engine."""
        if isinstance(step, sequence.RunInit):
            threading.Thread(target=self._finish, args=(steps, step), daemon=True).start()
        else:
            steps.close()

    def _finish(self, steps: sequence.Steps, step: sequence.Step) -> None:
        with suppress(StopIteration, LoadError):
            self._go_on(steps, step, ANYONE)

    def _wakeup(self, key: Hashable) -> None:
        queue = self._queues.get(key)
        if queue is not None:
            queue.condition.notify_all()

    # -- steps that take time ---------------------------------------------------------------------

    def _read(self, step: sequence.Read, caller: Caller) -> ModuleImage | Failure:
        """kernel_read_file: EINVAL no regular file, or empty; ETXTBSY; EFBIG; ENOMEM; EIO."""
        file: CallersFile = step.file
        status = file.status
        if not stat.S_ISREG(status.st_mode):
            return Failure(errno.EINVAL)
        if file.written:
            return Failure(errno.ETXTBSY)
        size = status.st_size
        if not 0 < size <= _FILE_MAX:
            return Failure(errno.EINVAL if size <= 0 else errno.EFBIG)
        key = (file.cookie, size, status.st_mtime_ns, status.st_ctime_ns, step.flags)
        image = self._images.get(key)
        if image is None:
            try:
                data = pread_all(file.fd, size)
            except OSError as error:
                return Failure(error.errno or errno.EIO)
            except MemoryError:
                return Failure(errno.ENOMEM)
            if len(data) != size:
                return Failure(errno.EIO)
            image = read_image(data, step.flags, self.config)
            self._images.put(key, image)
        return image

    def _wait(self, step: sequence.Wait, caller: Caller) -> None:
        deadline = None if step.timeout is None else time.monotonic() + step.timeout
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
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    queue.condition.wait(left)
            finally:
                queue.waiters -= 1
                if not queue.waiters:
                    del self._queues[step.key]

    def _run_init(self, step: sequence.RunInit, caller: Caller) -> InitResult:
        module = step.module
        routine = self.init_routines.of(module.name)
        if routine.seconds > 0:
            module.init_started = module.init_started or time.monotonic()
            end = module.init_started + routine.seconds
            over = sequence.Wait(
                ("init", module), lambda: time.monotonic() >= end, False, end - time.monotonic()
            )
            self._wait(over, caller)
        with self.kernel.lock:
            return routine.result(module.values, self.kernel.is_live)


def _load_error(error: Exception) -> LoadError:
    """How a call ends that met ``error``; what nobody expected is in the log, and is EIO."""
    if isinstance(error, MemoryError):
        return LoadError(errno.ENOMEM)
    if not isinstance(error, OSError):
        log.error("a call ended unexpectedly", exc_info=error)
    return LoadError(getattr(error, "errno", None) or errno.EIO)
