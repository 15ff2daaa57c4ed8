"""modfs run: three processes.

The one that the user started waits for the command and passes its exit status on. A server, in a
session of its own, holds the engine, the file systems and the namespace, and answers the command's
module calls. The command itself enters that namespace, has its calls caught, and starts. The server
ends with the last program in the namespace, and the namespace with it.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loader.calls import SystemCalls
from loader.engine.threads import LiveKernel
from loader.errors import UserError
from modfs import texts
from modfs.control.remote import RemoteKernel
from modfs.fuse.server import Server
from modfs.mount.directory import ModulesDirectory
from modfs.mount.stderr import CapturedStderr, reason
from modfs.run import sandbox, seccomp
from modfs.run.intercept import Supervisor
from modfs.run.views import DebugView, ProcView, SysModuleView, View, Views

log = logging.getLogger("modfs.run")
_READY_IN_USER_NAMESPACE = b"ready in a user namespace"
_READY, _EXITED, _BUSY, _DONE = b"ready", b"exited", b"busy", b"done"
_MESSAGE_MAX = 4096  # bytes
_LINGER = 0.1  # seconds in which the last programs may end after the command

# Where programs look for what the kernel runs to load modules, and whether it may.
_SYSCTLS = {
    "sys/kernel/modprobe": lambda: "/sbin/modprobe\n",
    "sys/kernel/modules_disabled": lambda: "0\n",
}


class Source(Protocol):
    """The texts of an engine."""

    compression: str

    def proc_modules(self) -> str: ...

    def module_names(self) -> Iterable[str]: ...

    def module_files(self, name: str) -> dict[str, str]: ...

    def stats(self) -> str: ...


class Own:
    """The texts of an engine of our own."""

    def __init__(self, live: LiveKernel) -> None:
        self._live = live
        self.compression = live.config.compression

    def proc_modules(self) -> str:
        """/proc/modules."""
        return texts.proc_modules(self._live.snapshot())

    def module_names(self) -> Iterable[str]:
        """Names in /sys/module, and of modules that are about to be there."""
        return self._live.kernel.names()

    def module_files(self, name: str) -> dict[str, str]:
        """/sys/module/NAME: texts by file; empty if it is not there."""
        module = self._live.kernel.loaded(name)
        return texts.module_files(module) if module and module.in_sysfs else {}

    def stats(self) -> str:
        """The report."""
        return texts.stats(self._live.snapshot())


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run and how. ``mount``: join the engine mounted there, instead of one of our own.

    ``stats``: a descriptor for the final report.
    """

    command: tuple[str, ...]
    make: Callable[[], LiveKernel]
    tree: Path | None = None
    mount: Path | None = None
    stats: int | None = None


def run(plan: Plan) -> int:
    """Run the command; its exit status, or minus the signal that ended it. UserError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    server = os.fork()
    if server == 0:
        ours.close()
        _serve_and_exit(plan, theirs)
    theirs.close()
    said = ours.recv(_MESSAGE_MAX)
    if said not in (_READY, _READY_IN_USER_NAMESPACE):
        raise UserError(said.decode(errors="replace") or "the server ended early")
    command = os.fork()
    if command == 0:
        _become(plan.command, server, said == _READY_IN_USER_NAMESPACE, ours)
    status = _wait(command)
    with suppress(ConnectionError):  # the server may be gone already
        ours.send(_EXITED)
        ours.recv(_MESSAGE_MAX)  # until all is gone, or the server knows that programs go on
    return status


def _wait(command: int) -> int:
    """Wait for the command. Signals that somebody sends are passed on; those of the terminal the
    command gets by itself."""
    passed_on = {
        getattr(signal, f"SIG{name}")
        for name in ("INT", "QUIT", "TERM", "HUP", "USR1", "USR2", "ALRM")
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, {*passed_on, signal.SIGCHLD})
    while True:
        done, status = os.waitpid(command, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        found = signal.sigwaitinfo({*passed_on, signal.SIGCHLD})
        if found.si_signo in passed_on and found.si_code <= 0:  # not the kernel's
            os.kill(command, found.si_signo)


# -- the command's process ------------------------------------------------------------------------


def _become(command: tuple[str, ...], server: int, user: bool, channel: socket.socket) -> None:
    """Enter the namespace, have calls caught, and become the command. Never returns."""
    status = 126
    try:
        sandbox.join(server, user=user)
        listener = _catch_calls()
        socket.send_fds(channel, [b"listener"], [listener])
        os.close(listener)
        channel.recv(_MESSAGE_MAX)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except FileNotFoundError as error:
        status = 127
        print(f"modfs run: {command[0]}: {error.strerror}", file=sys.stderr)
    except OSError as error:
        print(f"modfs run: {command[0]}: {error.strerror}", file=sys.stderr)
    except UserError as error:
        print(f"modfs run: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _catch_calls() -> int:
    try:
        return seccomp.install()
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise UserError("its calls are caught already: no modfs run in a modfs run") from None
        raise UserError(f"its calls cannot be caught: {error.strerror}") from None


# -- the server's process -------------------------------------------------------------------------


def _serve_and_exit(plan: Plan, channel: socket.socket) -> None:
    """Never returns; what goes wrong before the command starts is told over ``channel``."""
    status = 1
    try:
        os.setsid()
        seccomp.calls()  # can this machine's be caught at all?
        _serve(plan, channel)
        status = 0
    except OSError as error:
        channel.send(f"{error.filename or 'server'}: {error.strerror}".encode()[:_MESSAGE_MAX])
    except BaseException as error:
        channel.send((str(error) or repr(error)).encode()[:_MESSAGE_MAX])
    finally:
        os._exit(status)


def _serve(plan: Plan, channel: socket.socket) -> None:
    joined = RemoteKernel(plan.mount) if plan.mount else None
    tree = plan.tree or (joined.tree() if joined else None)
    user_namespace = sandbox.enter()
    sandbox.prepare()
    live = None if joined else plan.make()
    source: Source = joined or Own(_not_none(live))
    engine: SystemCalls = joined or _not_none(live)
    server = _mount_views(source, live)
    sandbox.place_views(plan.mount or sandbox.VIEWS / "debug")
    if tree is not None:
        sandbox.place_tree(tree, os.uname().release)
    _leave_terminal()
    channel.send(_READY_IN_USER_NAMESPACE if user_namespace else _READY)
    _, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_MAX, 1)
    if not descriptors:
        return  # the command's process failed, and has said why
    channel.send(_READY)
    listener = descriptors[0]
    supervisor = Supervisor(listener, engine)
    watcher = threading.Thread(target=_tell_if_busy, args=(channel, listener), daemon=True)
    watcher.start()
    supervisor.run()
    if live is not None:
        live.shutdown()
    if plan.stats is not None:
        os.write(plan.stats, source.stats().encode("utf-8", "surrogateescape"))
    del server
    with suppress(ConnectionError):
        channel.send(_DONE)


def _not_none(live: LiveKernel | None) -> LiveKernel:
    assert live is not None
    return live


def _mount_views(source: Source, live: LiveKernel | None) -> Server:
    """The views' file system, served by a thread. UserError."""
    real = None if sandbox.proc_has_modules() else str(sandbox.REAL_PROC)
    sysctls = {} if real is None else _SYSCTLS
    views: dict[str, View] = {
        "module": SysModuleView(source.module_names, source.module_files, source.compression),
        "proc": ProcView({"modules": source.proc_modules, **sysctls}, real),
    }
    # Nothing may be remembered: processes and modules come and go.
    options = ("fsname=modfs", "subtype=modfs", "default_permissions", "allow_other", "direct_io")
    never = ("entry_timeout=0", "attr_timeout=0", "negative_timeout=0", "intr")
    server = Server(str(sandbox.VIEWS), (*options, *never))
    if live:
        views["debug"] = DebugView(ModulesDirectory(live, server))
    settled = threading.Event()
    status: list[int] = []

    def serve() -> None:
        status.append(server.run(Views(views), settled.set))
        settled.set()

    with CapturedStderr() as said:
        threading.Thread(target=serve, daemon=True).start()
        settled.wait()
    if status:
        raise UserError(f"FUSE cannot be mounted: {reason(said.text)}")
    return server


def _leave_terminal() -> None:
    """Hold nothing open that somebody may wait for the end of."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _tell_if_busy(channel: socket.socket, listener: int) -> None:
    """The command has ended; do programs that it started go on?"""
    if channel.recv(_MESSAGE_MAX) != _EXITED:
        return
    poll = select.poll()
    poll.register(listener, select.POLLHUP)
    if not poll.poll(_LINGER * 1000):
        with suppress(ConnectionError):
            channel.send(_BUSY)
