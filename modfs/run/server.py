"""The server of ``modfs run``: it holds the engine, the file systems and the namespace."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loader.calls import SystemCalls
from loader.engine.threads import LiveKernel
from loader.errors import UserError
from modfs.fuse.server import Server
from modfs.mount.stderr import CapturedStderr, reason
from modfs.run import sandbox, seccomp
from modfs.run.addresses import Addresses
from modfs.run.engines import Engine, JoinedEngine, OwnEngine
from modfs.run.helpers import serve_helpers, start_kthreadd
from modfs.run.intercept import Supervisor
from modfs.run.views import ProcView, SysModuleView, View, Views

READY_IN_USER_NAMESPACE = b"ready in a user namespace"
READY, EXITED, _BUSY, _DONE = b"ready", b"exited", b"busy", b"done"
MESSAGE_MAX = 4096  # bytes
_LINGER = 0.1  # seconds in which the last programs may end after the command


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


def serve_and_exit(plan: Plan, channel: socket.socket) -> None:
    """Never returns; what goes wrong before the command starts is told over ``channel``."""
    status = 1
    try:
        os.setsid()
        seccomp.calls()  # can this machine's be caught at all?
        _serve(plan, channel)
        status = 0
    except OSError as error:
        channel.send(f"{error.filename or 'server'}: {error.strerror}".encode()[:MESSAGE_MAX])
    except BaseException as error:
        channel.send((str(error) or repr(error)).encode()[:MESSAGE_MAX])
    finally:
        os._exit(status)


def _serve(plan: Plan, channel: socket.socket) -> None:
    """From the namespace to the last program in it."""
    engine = _engine(plan)
    user_namespace = sandbox.enter()
    kthreadd = start_kthreadd() if isinstance(engine, OwnEngine) else None
    server = _arrange(engine)
    if kthreadd is not None and isinstance(engine, OwnEngine):
        serve_helpers(kthreadd, engine.kernel, engine.kernel)
    _leave_terminal()
    channel.send(READY_IN_USER_NAMESPACE if user_namespace else READY)
    _, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_MAX, 1)
    if not descriptors:
        return  # the command's process failed, and has said why
    channel.send(READY)
    _answer_calls(descriptors[0], engine.kernel, channel)
    if kthreadd is not None:
        kthreadd.close()
        if not kthreadd.ended(_LINGER):
            with suppress(ConnectionError):
                channel.send(_BUSY)
            kthreadd.ended()
    engine.shutdown()
    if plan.stats is not None:
        os.write(plan.stats, engine.stats().encode("utf-8", "surrogateescape"))
    del server
    with suppress(ConnectionError):
        channel.send(_DONE)


def _engine(plan: Plan) -> Engine:
    if plan.mount:
        return JoinedEngine(plan.mount, plan.tree)
    return OwnEngine(plan.make(), plan.tree)


def _arrange(engine: Engine) -> Server:
    """The engine's files at the kernel's places; their server. UserError."""
    sandbox.prepare()
    server = _mount_views(engine)
    sandbox.place_views(engine.folder)
    if engine.tree is not None:
        sandbox.place_tree(engine.tree, os.uname().release)
    return server


def _answer_calls(listener: int, kernel: SystemCalls, channel: socket.socket) -> None:
    """Until no program is left that could call."""
    watcher = threading.Thread(target=_tell_if_busy, args=(channel, listener), daemon=True)
    watcher.start()
    Supervisor(listener, kernel).run()


def _mount_views(engine: Engine) -> Server:
    """The views' file system, served by a thread. UserError."""
    real = None if sandbox.proc_has_modules() else str(sandbox.REAL_PROC)
    # Nothing may be remembered: processes and modules come and go.
    options = ("fsname=modfs", "subtype=modfs", "default_permissions", "allow_other", "direct_io")
    never = ("entry_timeout=0", "attr_timeout=0", "negative_timeout=0", "intr")
    server = Server(str(sandbox.VIEWS), (*options, *never))
    addresses = Addresses(server)
    views: dict[str, View] = {
        "module": SysModuleView(
            engine.module_names,
            addresses.module_files(engine.module_files),
            engine.compression,
        ),
        "proc": ProcView(
            {"modules": addresses.proc_modules(engine.proc_modules)}, real, engine.sysctls()
        ),
        **engine.views(server),
    }
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
    if channel.recv(MESSAGE_MAX) != EXITED:
        return
    poll = select.poll()
    poll.register(listener, select.POLLHUP)
    if not poll.poll(_LINGER * 1000):
        with suppress(ConnectionError):
            channel.send(_BUSY)
