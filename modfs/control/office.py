"""The office: a process that has deputies, and finds one for each request.

    server ── order, reply ──► office ── request, reply ──► deputy
       ◄──────────────── descriptor or errno, through reply ──┘

It is a program of its own, small and with one thread, so that making a deputy (fork(2)) is cheap
and takes nothing of the server along. It never opens what a client names, so it never hangs.
Deputies of clients whose root is ours are kept for a while. One whose server no longer listens is
killed; it counts as long as it is there, which it is until the file system that holds it lets it
go. Each account has so many deputies at most: its clients can hold up only one another.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from modfs.control import deputy, messages
from modfs.control.identity import Identity
from modfs.linux import PR_SET_DUMPABLE, libc

_EACH = 8  # deputies of one account
_ALL = 64
_IDLE_SECONDS = 10.0
_DESCRIPTORS = 1 << 30  # more than there can be


@dataclass(eq=False, slots=True)
class Job:
    """One order. ``folder``, ``root``: descriptors, -1 for none."""

    account: str
    identity: Identity
    request: dict[str, Any]
    reply: int
    root: int
    folder: int

    def close(self) -> None:
        """Nobody needs its descriptors any more."""
        messages.close([fd for fd in (self.reply, self.root, self.folder) if fd >= 0])


@dataclass(eq=False, slots=True)
class Deputy:
    """A process. ``job``: what it is doing; ``idle_since``: time.monotonic(), while that is
    nothing; ``gone``: it has been told to end."""

    pid: int
    pidfd: int
    orders: socket.socket
    account: str
    identity: Identity | None  # None: it serves one request
    job: Job | None = None
    idle_since: float = 0.0
    gone: bool = False


@dataclass(slots=True)
class Office:
    """See the module; ``server`` is the other end's."""

    server: socket.socket
    poll: select.poll = field(default_factory=select.poll)
    deputies: list[Deputy] = field(default_factory=list)
    waiting: dict[str, deque[Job]] = field(default_factory=dict)
    longest_queue: int = 64

    def run(self) -> NoReturn:
        """Until the server is gone."""
        self.poll.register(self.server, select.POLLIN)
        while True:
            idle = [each.idle_since for each in self.deputies if not (each.job or each.gone)]
            left = (min(idle) + _IDLE_SECONDS - time.monotonic()) * 1000 if idle else None
            ready = {fd for fd, _ in self.poll.poll(None if left is None else max(0.0, left))}
            self._hear(ready)
            self._end_idle()
            if self.server.fileno() in ready:
                self._next_order()
            self._hand_out()

    # -- what is heard ----------------------------------------------------------------------------

    def _next_order(self) -> None:
        try:
            self._take(*messages.receive(self.server))
        except messages.NotAllOfIt:
            pass  # no descriptors are left: the server sees the end of that connection
        except (EOFError, OSError):
            os._exit(0)  # all deputies end with this process

    def _take(self, order: dict[str, Any], descriptors: list[int]) -> None:
        uids, gids, groups, capabilities = order["identity"]
        identity = Identity(tuple(uids), tuple(gids), tuple(groups), capabilities)
        rest = descriptors[1:]
        root = rest.pop(0) if order["root"] else -1
        folder = rest.pop(0) if order["folder"] else -1
        request = {name: order[name] for name in ("path", "flags", "numbers")}
        job = Job(order["account"], identity, request, descriptors[0], root, folder)
        jobs = self.waiting.setdefault(job.account, deque())
        if len(jobs) >= self.longest_queue:
            job.close()
            return
        jobs.append(job)
        self.poll.register(job.reply, 0)

    def _hear(self, ready: set[int]) -> None:
        for each in [it for it in self.deputies if it.pidfd in ready]:
            self._has_ended(each)
        for each in self.deputies:
            if each.orders.fileno() in ready:
                self._is_done(each)
        for each in self.deputies:
            if each.job and each.job.reply in ready:  # whoever asked does not wait any more
                if not self._is_done(each):
                    self._end(each, kill=True)
                if each.job:
                    self._finish(each)
        for account, jobs in list(self.waiting.items()):
            for job in [it for it in jobs if it.reply in ready]:
                jobs.remove(job)
                self._close(job)
            if not jobs:
                del self.waiting[account]

    def _is_done(self, each: Deputy) -> bool:
        try:
            done = each.orders.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            done = b""
        if each.identity is None:
            self._end(
                each
            )  # its job is over when it has ended: so long its client's root is in use
            return True
        if each.job:
            self._finish(each)
        if not done:
            self._end(each)
        return True

    def _finish(self, each: Deputy) -> None:
        assert each.job
        self._close(each.job)
        each.job, each.idle_since = None, time.monotonic()

    def _close(self, job: Job) -> None:
        self.poll.unregister(job.reply)
        job.close()

    # -- deputies' ends ---------------------------------------------------------------------------

    def _end(self, each: Deputy, kill: bool = False) -> None:
        if not each.gone:
            each.gone = True
            self.poll.unregister(each.orders)
            each.orders.close()
        if kill:
            os.kill(each.pid, signal.SIGKILL)  # nobody else has the number until it is waited for

    def _end_idle(self) -> None:
        since = time.monotonic() - _IDLE_SECONDS
        for each in self.deputies:
            if not (each.job or each.gone) and each.idle_since <= since:
                self._end(each)

    def _has_ended(self, each: Deputy) -> None:
        self._end(each)
        if each.job:
            self._finish(each)
        self.poll.unregister(each.pidfd)
        os.close(each.pidfd)
        os.waitpid(each.pid, 0)
        self.deputies.remove(each)

    # -- work -------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        for account, jobs in list(self.waiting.items()):
            while jobs and self._hand_over(jobs[0]):
                jobs.popleft()
            if not jobs:
                del self.waiting[account]

    def _hand_over(self, job: Job) -> bool:
        try:
            each = self._idle(job) or self._new(job)
        except OSError:  # no process can be had
            self._close(job)
            return True
        if each is None:
            return False
        each.job = job
        descriptors = (job.reply, job.folder) if job.folder >= 0 else (job.reply,)
        with suppress(OSError):  # it has been killed: its end will be heard of
            messages.send(each.orders, job.request, descriptors)
        return True

    def _idle(self, job: Job) -> Deputy | None:
        if job.root >= 0:
            return None
        mine = (it for it in self.deputies if not (it.job or it.gone) and it.account == job.account)
        return next((it for it in mine if it.identity == job.identity), None)

    def _new(self, job: Job) -> Deputy | None:
        """None: there are as many as there may be, until one ends."""
        same = [it for it in self.deputies if it.account == job.account]
        for group, most in ((same, _EACH), (self.deputies, _ALL)):
            if len(group) >= most:
                idle = [it for it in group if not (it.job or it.gone)]
                if idle and not any(it.gone for it in group):
                    self._end(min(idle, key=lambda it: it.idle_since))
                return None
        return self._fork(job)

    def _fork(self, job: Job) -> Deputy:
        ours, theirs = messages.pair()
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            _become_deputy(theirs, job, parent)
        theirs.close()
        identity = job.identity if job.root < 0 else None
        each = Deputy(pid, os.pidfd_open(pid), ours, job.account, identity)
        self.deputies.append(each)
        self.poll.register(each.orders, select.POLLIN)
        self.poll.register(each.pidfd, select.POLLIN)
        return each


def _become_deputy(orders: socket.socket, job: Job, parent: int) -> NoReturn:
    """Only ``orders`` and the client's root stay open. Nothing that was made before may be freed:
    it would close descriptors by numbers that mean something else by then."""
    try:
        last = 2
        for number in range(1, last + 1):
            os.dup2(0, number)
        for keep in sorted(fd for fd in (orders.fileno(), job.root) if fd >= 0):
            os.closerange(last + 1, keep)
            last = keep
        os.closerange(last + 1, _DESCRIPTORS)
        deputy.run(orders, job.identity, job.root, parent)
    finally:
        os._exit(1)


def main() -> None:
    """The program; descriptor 0 is the connection to the server."""
    gc.disable()
    with suppress(OSError):
        Path("/proc/self/comm").write_text("modfs-office")
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    server = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.chdir("/")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Office(server, longest_queue=max(16, min(hard // 16, 1 << 14))).run()
