"""The load sequence on real threads: files are really read, waiters really wait.

The thread that makes a call drives its sequence. It waits on a condition that shares the kernel's
one lock; whoever changes what is waited for wakes the queue of that key. Nothing polls.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from fcntl import F_GETFL, F_RDLCK, F_SETLEASE, F_UNLCK, fcntl
from os import O_ACCMODE, O_PATH, O_RDONLY, O_RDWR
from typing import Any

from loader.calls import ANYONE, Call, Caller, File, FinitModule, InitModule, open_here
from loader.config import Config
from loader.engine import sequence
from loader.engine.init_routines import InitRoutines
from loader.engine.module import InitResult
from loader.engine.state import Kernel
from loader.engine.stats import Snapshot
from loader.errors import Failure, LoadError
from loader.image.cache import ImageCache
from loader.image.elf_format import EHDR
from loader.image.module_image import ModuleImage, read_image
from loader.tree.tree import Tree

log = logging.getLogger("loader")

# What calls get from an engine that ends, as from a file system that is gone. Not EINTR: programs
# would only try again.
SHUT_DOWN = errno.ENOTCONN
_FILE_MAX = (1 << 31) - 1  # bytes: kernel_read_file is asked for INT_MAX at most


class OpenFile:
    """An open descriptor as the sequence sees it (sequence.OpenedFile)."""

    __slots__ = ("access", "cookie", "fd", "readable", "status")

    def __init__(self, fd: int) -> None:
        """OSError: EBADF."""
        self.fd = fd
        self.status = status = os.fstat(fd)
        self.access = access = fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)
        self.cookie: Hashable = (status.st_dev, status.st_ino)
        self.readable = access in (O_RDONLY, O_RDWR)


class _CallersFiles:
    """What the caller of one call names (sequence.Files)."""

    __slots__ = ("_caller", "_config", "_fd")

    def __init__(self, caller: Caller, config: Config) -> None:
        self._caller = caller
        self._config = config
        self._fd = -1  # to be closed at the end

    def _open(self, file: File, access: int = O_RDONLY) -> int:
        """LoadError: the errno of open(2)."""
        try:
            fd, ours = self._caller.open(file, access)
        except LoadError:
            raise
        except OSError as error:
            raise LoadError(error.errno or errno.EIO) from None
        if ours:
            self._fd = fd
        return fd

    def opened(self, call: FinitModule) -> OpenFile | None:
        fd = self._open(call.file, call.access)
        try:
            return OpenFile(fd)
        except (OSError, OverflowError, ValueError):
            return None

    def memory(self, call: InitModule) -> tuple[ModuleImage | None, int]:
        data = call.image
        if data is not None and not isinstance(data, bytes):
            data = _contents(self._open(data))
        length = len(data or b"") if call.length is None else call.length
        if data is None or not EHDR.size <= length <= len(data):
            return None, length
        return read_image(data[:length], 0, self._config), length

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


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
        self._leases = _ignore_lease_breaks()
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
        files = _CallersFiles(caller, self.config)
        try:
            self._drive(sequence.system_call(self.kernel, call, files), caller)
        finally:
            files.close()

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
            return read_image(_pread_all(fd, os.fstat(fd).st_size), flags, self.config)
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

    def _drive(self, steps: sequence.Steps, caller: Caller) -> None:
        """Go through a call. What nobody expected ends it as well: LoadError ENOMEM or EIO."""
        try:
            self._go_on(steps, next(steps), caller)
        except StopIteration:
            return
        except MemoryError:
            raise LoadError(errno.ENOMEM) from None
        except (LoadError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            log.exception("a call ended unexpectedly")
            raise LoadError(errno.EIO) from None

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


def _contents(fd: int) -> bytes:
    """What a program reads of a file for init_module. LoadError: EINVAL no regular file."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise LoadError(errno.EINVAL)
        return _pread_all(fd, status.st_size)
    except OSError as error:
        raise LoadError(error.errno or errno.EIO) from None


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
