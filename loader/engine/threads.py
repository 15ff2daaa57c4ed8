"""The load sequence on real threads: files are really read, waiters really wait.

The thread that makes a call drives its sequence. It waits on a condition that shares the kernel's
one lock; whoever changes what is waited for wakes the queue of that key. Nothing polls.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Hashable
from fcntl import F_GETFL, F_RDLCK, F_SETLEASE, F_UNLCK, fcntl
from os import O_ACCMODE, O_PATH, O_RDONLY, O_RDWR
from typing import Any

from loader.calls import ANYONE, Caller
from loader.config import Config
from loader.engine import sequence
from loader.engine.init_routines import InitRoutines
from loader.engine.state import InitResult, Kernel
from loader.engine.stats import Snapshot
from loader.errors import Failure, LoadError
from loader.image.cache import ImageCache
from loader.image.module_image import ModuleImage, read_image
from loader.tree.tree import Tree

# What calls get from an engine that ends, as from a file system that is gone. Not EINTR: programs
# would only try again.
SHUT_DOWN = errno.ENOTCONN
_FILE_MAX = (1 << 31) - 1  # bytes: kernel_read_file is asked for INT_MAX at most
File = int | str | os.PathLike[str]


class OpenFile:
    """An open descriptor as the sequence sees it (sequence.File)."""

    __slots__ = ("access", "cookie", "fd", "readable", "status")

    def __init__(self, fd: int) -> None:
        """OSError: EBADF."""
        self.fd = fd
        self.status = status = os.fstat(fd)
        self.access = access = fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)
        self.cookie: Hashable = (status.st_dev, status.st_ino)
        self.readable = access in (O_RDONLY, O_RDWR)


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
        environment: InitRoutines | None = None,
    ) -> None:
        self.config = config or Config()
        self.tree = tree
        self.environment = environment or InitRoutines()
        self.kernel = Kernel(self.config)
        self.kernel.wakeup = self._wakeup
        if tree is not None:
            self.kernel.exporter = tree.exporter
        self._images = ImageCache()
        self._queues: dict[Hashable, _Queue] = {}
        self._stopping = False
        self._leases = _ignore_lease_breaks()
        self._handlers: dict[type, Callable[[Any, Caller], Any]] = {
            sequence.Read: self._read,
            sequence.Decompress: _at_once,
            sequence.Check: _at_once,
            sequence.Copy: _at_once,
            sequence.Relocate: _at_once,
            sequence.Wait: self._wait,
            sequence.RunInit: self._run_init,
            sequence.RunExit: _at_once,
        }

    # -- system calls -----------------------------------------------------------------------------

    def finit_module(
        self, file: File, params: str | None = "", flags: int = 0, *, caller: Caller = ANYONE
    ) -> None:
        """Load the module in ``file``: an open descriptor, which is left as it is, or a path.

        ``params``: the parameter string; None stands for an address that is not mapped. LoadError:
        the errno of finit_module(2), or of open(2) for a path.
        """
        if isinstance(file, int):
            self._finit_module(file, params, flags, caller)
            return
        self._may_init_module(caller)
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise LoadError(error.errno or errno.EIO) from None
        try:
            self._finit_module(fd, params, flags, caller)
        finally:
            os.close(fd)

    def _finit_module(self, fd: int, params: str | None, flags: int, caller: Caller) -> None:
        self._may_init_module(caller)
        try:
            opened = OpenFile(fd)
        except (OSError, OverflowError, ValueError):
            opened = None
        self._drive(sequence.finit_module(self.kernel, opened, params, flags), caller)

    def init_module(
        self,
        image: bytes | None,
        params: str | None = "",
        *,
        length: int | None = None,
        caller: Caller = ANYONE,
    ) -> None:
        """Load the module in memory; ``image`` None stands for an address that is not mapped.

        ``length`` in bytes if it is not that of ``image``. LoadError: the errno of init_module(2).
        """
        self._may_init_module(caller)
        if length is None:
            length = len(image or b"")
        found = None
        if image is not None and sequence.EHDR_SIZE <= length <= len(image):
            found = read_image(bytes(image[:length]), 0, self.config)
        self._drive(sequence.init_module(self.kernel, found, length, params), caller)

    def delete_module(
        self, name: str, flags: int = os.O_NONBLOCK, *, caller: Caller = ANYONE
    ) -> None:
        """Remove the module of that name. LoadError: the errno of delete_module(2)."""
        self._may_init_module(caller)
        self._drive(sequence.delete_module(self.kernel, name, flags), caller)

    def _may_init_module(self, caller: Caller) -> None:
        if not caller.capable:
            raise LoadError(errno.EPERM)
        if self._stopping:
            raise LoadError(SHUT_DOWN)

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
        fd = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_image(_pread_all(fd, os.fstat(fd).st_size), flags, self.config)
        finally:
            if not isinstance(file, int):
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

    def _drive(self, steps: sequence.Steps, caller: Caller) -> None:
        try:
            step = next(steps)
            while True:
                try:
                    reply = self._handlers[type(step)](step, caller)
                except LoadError as error:
                    step = steps.throw(error)
                except _Interrupted:
                    self._leave(steps, step)
                    raise LoadError(errno.EINTR) from None
                else:
                    step = steps.send(reply)
        except StopIteration:
            return

    def _leave(self, steps: sequence.Steps, step: sequence.Step) -> None:
        """The caller goes. A load that is running its init goes on in a thread of the engine."""
        if isinstance(step, sequence.RunInit):
            threading.Thread(target=self._go_on, args=(steps, step), daemon=True).start()
        else:
            steps.close()

    def _go_on(self, steps: sequence.Steps, step: sequence.Step) -> None:
        try:
            while True:
                try:
                    reply = self._handlers[type(step)](step, ANYONE)
                except LoadError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except (StopIteration, LoadError):
            return

    def _wakeup(self, key: Hashable) -> None:
        queue = self._queues.get(key)
        if queue is not None:
            queue.condition.notify_all()

    # -- steps that take time ---------------------------------------------------------------------

    def _read(self, step: sequence.Read, caller: Caller) -> ModuleImage | Failure:
        """kernel_read_file: EINVAL not a regular file, or empty; ETXTBSY; EFBIG; EIO."""
        opened: OpenFile = step.file
        status = opened.status
        if not stat.S_ISREG(status.st_mode):
            return Failure(errno.EINVAL)
        if _open_for_writing(opened) if self._leases else opened.access != O_RDONLY:
            return Failure(errno.ETXTBSY)
        size = status.st_size
        if not 0 < size <= _FILE_MAX:
            return Failure(errno.EINVAL if size <= 0 else errno.EFBIG)
        key = (opened.cookie, size, status.st_mtime_ns, status.st_ctime_ns, step.flags)
        image = self._images.get(key)
        if image is None:
            try:
                data = _pread_all(opened.fd, size)
            except OSError as error:
                return Failure(error.errno or errno.EIO)
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
        routine = self.environment.init(module.name)
        if routine.seconds > 0:
            module.init_started = module.init_started or time.monotonic()
            end = module.init_started + routine.seconds
            over = sequence.Wait(
                ("init", module), lambda: time.monotonic() >= end, False, end - time.monotonic()
            )
            self._wait(over, caller)
        with self.kernel.lock:
            return routine.result(module.values, self.kernel.is_live)


def _at_once(step: sequence.Step, caller: Caller) -> None:
    """Steps whose work was done when the file was read, or that have none here."""


def _pread_all(fd: int, size: int) -> bytes:
    """``size`` bytes from the start of the file; fewer if it has become shorter."""
    data = os.pread(fd, size, 0)
    while 0 < len(data) < size:
        more = os.pread(fd, size - len(data), len(data))
        if not more:
            break
        data += more
    return data


def _ignore_lease_breaks() -> bool:
    """Can leases be used? A writer who comes while one is held makes the kernel send SIGIO.

    Its default action ends the process, so it is ignored, unless the program handles it; only the
    main thread may say so.
    """
    if signal.getsignal(signal.SIGIO) is signal.SIG_DFL:
        if threading.current_thread() is not threading.main_thread():
            return False
        signal.signal(signal.SIGIO, signal.SIG_IGN)
    return True


def _open_for_writing(opened: OpenFile) -> bool:
    """Has anybody this file open for writing? A read lease is refused then (fcntl(2), EAGAIN).

    A descriptor that may write does not always count: that of a memfd does not. Where this process
    may not take a lease (another's file, without CAP_LEASE) or the file system has none, only the
    caller's own descriptor tells.
    """
    try:
        fcntl(opened.fd, F_SETLEASE, F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN or opened.access != O_RDONLY
    fcntl(opened.fd, F_SETLEASE, F_UNLCK)
    return False
