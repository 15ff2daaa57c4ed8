"""Answer the module calls of running programs from an engine.

A few threads wait for calls; each that takes one up answers it itself, after having made sure that
another thread still waits. So a caller that waits for a slow module holds up nobody.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
from collections.abc import Callable, Mapping
from functools import partial

from loader.calls import Call, Caller, DeleteModule, File, FinitModule, InitModule, SystemCalls
from loader.config import MODULE_NAME_LEN
from modfs import linux
from modfs.linux import as_int, descriptor_of_thread, memory_of_thread, pidfd_of_thread
from modfs.run import seccomp
from modfs.run.autoload import Autoload
from modfs.run.caught import AUTOLOAD
from modfs.run.origins import origin_of
from modfs.run.own_views import OwnViews
from modfs.run.seccomp import Notification, Reply

log = logging.getLogger("modfs.intercept")
Answerer = Callable[[Notification, Callable[[], bool], Caller], Reply | None]
"""Answers a call: what it is, whether its caller is still there, and how that one waits. None: the
host's kernel is to. OSError: its errno."""
_IDLE_THREADS = 4  # more than so many that wait for calls end
_PARAMS_MAX = 1 << 20  # bytes; the kernel takes longer ones, no program has any
_IMAGE_MAX = 1 << 30  # bytes


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
            pidfd = pidfd_of_thread(tid)
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

    def __init__(
        self,
        listener: int,
        engine: SystemCalls,
        own: OwnViews,
        autoload: Autoload | None = None,
        asked_by: Callable[[int], str | None] | None = None,
        others: Mapping[str, Answerer] | None = None,
    ) -> None:
        """``own``: what the server serves itself, and so never reads. ``others`` answer calls that
        are not about modules, by name; ``autoload`` looks at all that nobody answers. ``asked_by``:
        see Kthreadd.asked_by."""
        self._autoload = autoload
        self._asked_by = asked_by
        self._others = others or {}
        self._listener = listener
        self._engine = engine
        self._own = own
        self._namespace = seccomp.user_namespace()
        self._deaths = _Deaths(engine.wake)
        self._lock = threading.Lock()
        self._idle = 0
        self._read: dict[str, Callable[[Notification], Call]] = {
            "finit_module": self._finit_module,
            "init_module": self._init_module,
            "delete_module": self._delete_module,
        }

    def run(self) -> None:
        """Returns when the last program has ended. Calls that still wait go on in their threads.

        RuntimeError: not even one thread can be had.
        """
        if not self._start_thread():
            raise RuntimeError("no thread can be had to take calls up")
        poll = select.poll()
        poll.register(self._listener, select.POLLHUP)
        while not any(event & select.POLLHUP for _, event in poll.poll()):
            pass

    def _start_thread(self) -> bool:
        """Have one more take calls up. False: none can be had; others come back when they have
        answered."""
        self._idle += 1
        try:
            threading.Thread(target=self._serve, daemon=True).start()
        except RuntimeError:
            self._idle -= 1
            return False
        return True

    def _serve(self) -> None:
        """One thread: takes calls up and answers them, as long as it is needed."""
        while (notification := self._next()) is not None:
            with self._lock:
                self._idle -= 1
                if not self._idle:
                    self._start_thread()
            if notification.call in self._read:
                reply = Reply(self._answer(notification))
                seccomp.answer(self._listener, notification, reply)
            elif (other := self._answer_other(notification)) is not None:
                seccomp.answer(self._listener, notification, other)
            else:
                self._look(notification)
                seccomp.go_on(self._listener, notification)
            with self._lock:
                if self._idle >= _IDLE_THREADS:
                    return
                self._idle += 1

    def _next(self) -> Notification | None:
        """The next call; None once no program is left."""
        while True:
            try:
                return seccomp.receive(self._listener)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN):
                    continue
                if error.errno == errno.ENOENT and not self._all_gone():
                    continue  # that one caller was killed before it was taken up
                return None

    def _all_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._listener, select.POLLHUP)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    # -- one call ---------------------------------------------------------------------------------

    def _answer(self, notification: Notification) -> int:
        """0, or the errno."""
        waiting = _Waiting(self._deaths, notification.tid)
        capable = seccomp.capable(notification.tid, linux.CAP_SYS_MODULE, self._namespace)
        origin = partial(origin_of, notification.tid, self._asked_by)
        caller = Caller(waiting.pending, capable, self._open_callers(notification), origin=origin)
        try:
            call = self._read[notification.call](notification)
            if seccomp.is_valid(self._listener, notification):
                self._engine.call(call, caller)
        except OSError as error:
            return error.errno or errno.EIO
        except Exception:
            log.exception("a call could not be answered")
            return errno.EIO
        finally:
            waiting.over()
        return 0

    def _answer_other(self, notification: Notification) -> Reply | None:
        """Of a call that is not about modules; None: the host's kernel is to answer it."""
        answerer = self._others.get(notification.call)
        if answerer is None:
            return None
        waiting = _Waiting(self._deaths, notification.tid)
        still_there = partial(seccomp.is_valid, self._listener, notification)
        try:
            return answerer(notification, still_there, Caller(waiting.pending))
        except OSError as error:
            return Reply(error.errno or errno.EIO)
        except Exception:
            log.exception("a call could not be answered")
            return Reply(errno.EIO)
        finally:
            waiting.over()

    def _look(self, notification: Notification) -> None:
        """At a call that the host's kernel will carry out."""
        if self._autoload is None or notification.call not in AUTOLOAD:
            return
        waiting = _Waiting(self._deaths, notification.tid)
        try:
            origin = partial(origin_of, notification.tid, self._asked_by)
            self._autoload.look(notification, Caller(waiting.pending, origin=origin))
        except OSError:  # the engine ends, or the caller
            return
        except Exception:
            log.exception("a call could not be looked at")
        finally:
            waiting.over()

    def _open_callers(self, notification: Notification) -> Callable[[File, int], tuple[int, bool]]:
        """The caller's descriptors as ours (loader.calls.Caller)."""

        def still_there() -> bool:
            return seccomp.is_valid(self._listener, notification)

        def open_callers(file: File, access: int) -> tuple[int, bool]:
            assert isinstance(file, int)  # a caught call names no paths
            try:
                fd = descriptor_of_thread(notification.tid, file, still_there)
                return self._own.instead(fd), True
            except OSError:
                return -1, False  # which the kernel has to answer

        return open_callers

    def _finit_module(self, notification: Notification) -> FinitModule:
        fd, address, flags, *_ = notification.arguments
        return FinitModule(as_int(fd), self._params(notification.tid, address), as_int(flags))

    def _init_module(self, notification: Notification) -> InitModule:
        address, length, params_address, *_ = notification.arguments
        params = self._params(notification.tid, params_address)
        image = b"" if not length else None  # None: not mapped, as nothing so long ever is
        if 0 < length <= _IMAGE_MAX:
            image = memory_of_thread(notification.tid, address, length)
        return InitModule(image, params, length)

    def _delete_module(self, notification: Notification) -> DeleteModule:
        address, flags, *_ = notification.arguments
        name = seccomp.read_string(notification.tid, address, MODULE_NAME_LEN)
        text = None if name is None else name.decode("utf-8", "surrogateescape")
        return DeleteModule(text, flags & 0xFFFFFFFF)

    def _params(self, tid: int, address: int) -> str | None:
        """The parameter string; None stands for an address that is not mapped."""
        text = seccomp.read_string(tid, address, _PARAMS_MAX) if address else None
        return None if text is None else text.decode("utf-8", "surrogateescape")
