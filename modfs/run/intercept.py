"""Answer the module calls of running programs from an engine.

A few threads wait for calls; each that takes one up answers it itself, after having made sure that
another thread still waits. So a caller that waits for a slow module holds up nobody.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import threading
from collections.abc import Callable
from typing import Protocol

from loader.calls import Caller
from loader.image.elf_format import MODULE_NAME_LEN
from modfs.run import seccomp
from modfs.run.seccomp import Notification

log = logging.getLogger("modfs.intercept")
_IDLE_THREADS = 4  # more than so many that wait for calls end
_PARAMS_MAX = 1 << 20  # bytes; the kernel takes longer ones, no program has any
_IMAGE_MAX = 1 << 30  # bytes
_PIDFD_THREAD = os.O_EXCL  # 6.9
_SYS_PIDFD_GETFD = 438


class Engine(Protocol):
    """What answers: an engine of our own (loader.live.Live), or a mounted one."""

    def finit_module(
        self, file: int, params: str | None, flags: int, *, caller: Caller
    ) -> None: ...

    def init_module(
        self, image: bytes | None, params: str | None, *, length: int, caller: Caller
    ) -> None: ...

    def delete_module(self, name: str, flags: int, *, caller: Caller) -> None: ...

    def wake(self) -> None: ...


def _getfd(tid: int, fd: int) -> int:
    """The caller's descriptor, as one of ours. OSError: EBADF, ESRCH."""
    pidfd = _pidfd_open(tid)
    try:
        found = seccomp.syscall(_SYS_PIDFD_GETFD, pidfd, fd, 0)
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return found
    finally:
        os.close(pidfd)


class _Deaths:
    """Word of callers that die while their call waits."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._epoll = select.epoll()
        self._watched: dict[int, threading.Event] = {}  # pidfd -> set when it is gone
        threading.Thread(target=self._watch, daemon=True).start()

    def watch(self, tid: int) -> tuple[int, threading.Event]:
        """An event that is set when the thread is gone; end with unwatch."""
        gone = threading.Event()
        try:
            pidfd = _pidfd_open(tid)
        except OSError:
            gone.set()
            return -1, gone
        self._watched[pidfd] = gone
        self._epoll.register(pidfd, select.EPOLLIN | select.EPOLLONESHOT)
        return pidfd, gone

    def unwatch(self, pidfd: int) -> None:
        """The call is over."""
        if pidfd >= 0:
            del self._watched[pidfd]
            os.close(pidfd)  # and so out of the epoll set

    def _watch(self) -> None:
        while True:
            for pidfd, _ in self._epoll.poll():
                gone = self._watched.get(pidfd)
                if gone is not None:
                    gone.set()
            self._wake()


def _pidfd_open(tid: int) -> int:
    """A descriptor for a thread; for its process on kernels before 6.9. OSError: ESRCH."""
    try:
        return os.pidfd_open(tid, _PIDFD_THREAD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    with open(f"/proc/{tid}/status") as status:
        process = next(int(line.split()[1]) for line in status if line.startswith("Tgid:"))
    return os.pidfd_open(process)


class _Waiting:
    """Has the caller been killed? Asked only by a call that is about to wait."""

    __slots__ = ("_deaths", "_gone", "_pidfd", "_tid")

    def __init__(self, deaths: _Deaths, tid: int) -> None:
        self._deaths = deaths
        self._tid = tid
        self._pidfd = -1
        self._gone: threading.Event | None = None

    def pending(self) -> bool:
        if self._gone is None:
            self._pidfd, self._gone = self._deaths.watch(self._tid)
        return self._gone.is_set()

    def over(self) -> None:
        if self._gone is not None:
            self._deaths.unwatch(self._pidfd)


class Supervisor:
    """Serves one listener until no program is left that could call."""

    def __init__(self, listener: int, engine: Engine) -> None:
        self._listener = listener
        self._engine = engine
        self._deaths = _Deaths(engine.wake)
        self._lock = threading.Lock()
        self._idle = 0
        self._answers: dict[str, Callable[[Notification, Caller], None]] = {
            "finit_module": self._finit_module,
            "init_module": self._init_module,
            "delete_module": self._delete_module,
        }

    def run(self) -> None:
        """Returns when the last program has ended. Calls that still wait go on in their threads."""
        self._start_thread()
        poll = select.poll()
        poll.register(self._listener, select.POLLHUP)
        while not any(event & select.POLLHUP for _, event in poll.poll()):
            pass

    def _start_thread(self) -> None:
        self._idle += 1
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                notification = seccomp.receive(self._listener)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN):
                    continue
                if error.errno == errno.ENOENT and not self._all_gone():
                    continue  # that one caller was killed before it was taken up
                return
            with self._lock:
                self._idle -= 1
                if not self._idle:
                    self._start_thread()
            try:
                number = self._answer(notification)
            except Exception:
                log.exception("a call could not be answered")
                number = errno.EIO
            seccomp.answer(self._listener, notification, number)
            with self._lock:
                if self._idle >= _IDLE_THREADS:
                    return
                self._idle += 1

    def _all_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._listener, select.POLLHUP)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    # -- one call ---------------------------------------------------------------------------------

    def _answer(self, notification: Notification) -> int:
        waiting = _Waiting(self._deaths, notification.tid)
        capable = seccomp.has_cap_sys_module(notification.tid)
        caller = Caller(signal_pending=waiting.pending, capable=capable)
        try:
            self._answers[notification.call](notification, caller)
        except OSError as error:
            return error.errno or errno.EIO
        finally:
            waiting.over()
        return 0

    def _finit_module(self, notification: Notification, caller: Caller) -> None:
        fd, address, flags, *_ = notification.arguments
        params = self._params(notification.tid, address)
        try:
            ours = _getfd(notification.tid, _signed(fd))
        except OSError:
            ours = -1
        try:
            if seccomp.is_valid(self._listener, notification):
                self._engine.finit_module(ours, params, _signed(flags), caller=caller)
        finally:
            if ours >= 0:
                os.close(ours)

    def _init_module(self, notification: Notification, caller: Caller) -> None:
        address, length, params_address, *_ = notification.arguments
        params = self._params(notification.tid, params_address)
        image = b"" if not length else None  # None: not mapped, as nothing so long ever is
        if 0 < length <= _IMAGE_MAX:
            image = seccomp.read_memory(notification.tid, address, length)
        if seccomp.is_valid(self._listener, notification):
            self._engine.init_module(image, params, length=length, caller=caller)

    def _delete_module(self, notification: Notification, caller: Caller) -> None:
        address, flags, *_ = notification.arguments
        name = seccomp.read_string(notification.tid, address, MODULE_NAME_LEN)
        if name is None and caller.capable:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        if seccomp.is_valid(self._listener, notification):
            text = (name or b"").decode("utf-8", "surrogateescape")
            self._engine.delete_module(text, flags & 0xFFFFFFFF, caller=caller)

    def _params(self, tid: int, address: int) -> str | None:
        """The parameter string; None stands for an address that is not mapped."""
        text = seccomp.read_string(tid, address, _PARAMS_MAX) if address else None
        return None if text is None else text.decode("utf-8", "surrogateescape")


def _signed(number: int) -> int:
    """An int argument as C sees it."""
    number &= 0xFFFFFFFF
    return number - ((number & 1 << 31) << 1)
