"""The server of ``modfs run``: it holds the engine and serves the file systems.

It stays where the host's files are; the sandbox is made by its keeper.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loader.engine.threads import LiveKernel
from loader.errors import UserError, in_words
from modfs.devices import uevents
from modfs.devices.description import Device
from modfs.devices.uevents import Synthetic
from modfs.devices.view import DeviceView
from modfs.fuse.server import make_server
from modfs.run import caught, device_places, module_events, own_views, sandbox, seccomp
from modfs.run.addresses import Addresses
from modfs.run.autoload import Autoload
from modfs.run.caught import Rules
from modfs.run.engines import Engine, JoinedEngine, OwnEngine
from modfs.run.helpers import serve_helpers, start_kthreadd
from modfs.run.intercept import Supervisor
from modfs.run.interrupts import wake_at_interrupts
from modfs.run.keeper import Keeper
from modfs.run.kthreadd import Kthreadd
from modfs.run.module_view import SysModuleView
from modfs.run.own_views import OwnViews
from modfs.run.scout import Scout
from modfs.run.uname import Uname
from modfs.run.views import ProcView, View, Views

READY, EXITED, BUSY, DONE = b"ready", b"exited", b"busy", b"done"
MESSAGE_MAX = 4096  # bytes
_LINGER = 0.1  # seconds in which the last programs may end after the command


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run and how. ``mount``: join the engine mounted there, instead of one of our own.

    ``stats``: a descriptor for the final report. ``autoload``: have programs' own calls bring about
    the kernel's requests; ``autoload_exec``: that of programs in a format that nobody knows, too.
    """

    command: tuple[str, ...]
    make: Callable[[], LiveKernel]
    tree: Path | None = None
    mount: Path | None = None
    stats: int | None = None
    autoload: bool = False
    autoload_exec: bool = False
    release: str | None = None
    """What uname(2) is to say; None: what it is."""
    devices: tuple[Device, ...] = ()
    """What /sys is to have; none: the host's own."""

    def caught(self, of_helpers: bool = False) -> Rules | None:
        """The calls that are caught, beside those about modules. ``of_helpers``: those of the
        kernel's own programs."""
        calls = caught.AUTOLOAD if self.autoload else frozenset[str]()
        calls -= frozenset() if self.autoload_exec and not of_helpers else caught.EXEC
        calls |= caught.UNAME if self.release else frozenset()
        calls |= caught.SYSLOG if self.mount is None else frozenset()
        return caught.rules(calls=calls) if calls else None


def serve_and_exit(plan: Plan, channel: socket.socket) -> None:
    """Never returns; what goes wrong before the command starts is told over ``channel``."""
    status = 1
    try:
        os.setsid()
        seccomp.calls()  # can this machine's be caught at all?
        _serve(plan, channel)
        status = 0
    except OSError as error:
        channel.send(f"{error.filename or 'server'}: {in_words(error)}".encode()[:MESSAGE_MAX])
    except BaseException as error:
        channel.send((str(error) or repr(error)).encode()[:MESSAGE_MAX])
    finally:
        os._exit(status)


def _serve(plan: Plan, channel: socket.socket) -> None:
    """From the sandbox to the last program in it."""
    keeper = Keeper(bool(plan.devices))
    if "user" in keeper.namespaces:  # so that its programs are ours to look into
        sandbox.join([keeper.namespaces["user"]])
    engine = _engine(plan)
    # Its own execve starts helpers: whose formats are the engine's to ask for.
    helpers = plan.caught(of_helpers=True)
    kthreadd = start_kthreadd(keeper, helpers) if isinstance(engine, OwnEngine) else None
    autoload = Autoload(engine.kernel, Scout(), engine.note) if plan.autoload else None
    others = engine.answerers()
    if plan.release:
        others["uname"] = Uname(plan.release)
    own = _arrange(engine, keeper, plan)
    if kthreadd is not None and isinstance(engine, OwnEngine):
        serve_helpers(kthreadd, engine.kernel, own, autoload, others)
    _leave_terminal()
    places = (*keeper.namespaces.values(), keeper.root)
    socket.send_fds(channel, [READY], places)
    for place in places:
        os.close(place)
    end = DONE
    _, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_MAX, 1)
    if descriptors:  # else the command's process failed, and has said why
        channel.send(READY)
        supervisor = Supervisor(descriptors[0], engine.kernel, own, autoload, others=others)
        _answer_calls(descriptors[0], supervisor, channel)
        if kthreadd is not None:
            _await_helpers(kthreadd, channel)
        engine.shutdown()
        if plan.stats is not None:
            end = _report(plan.stats, engine.stats().encode("utf-8", "surrogateescape"))
    keeper.end()
    with suppress(ConnectionError):
        channel.send(end)


def _report(stats: int, text: bytes) -> bytes:
    """DONE, or why the report could not be written."""
    try:
        while text:
            text = text[os.write(stats, text) :]
    except OSError as error:
        return f"the stats could not be written: {in_words(error)}".encode()
    return DONE


def _await_helpers(kthreadd: Kthreadd, channel: socket.socket) -> None:
    """Until the last program has ended that the kernel itself has started."""
    kthreadd.close()
    if not kthreadd.ended(_LINGER):
        with suppress(ConnectionError):
            channel.send(BUSY)
        kthreadd.ended()


def _engine(plan: Plan) -> Engine:
    if plan.mount:
        return JoinedEngine(plan.mount, plan.tree)
    return OwnEngine(plan.make(), plan.tree)


def _arrange(engine: Engine, keeper: Keeper, plan: Plan) -> OwnViews:
    """The engine's files at the kernel's places. UserError."""
    own = OwnViews(keeper.device)
    _serve_views(engine, keeper, own, plan.devices)
    keeper.place(engine.folder, engine.tree, plan.release or os.uname().release)
    if seen := own.seen_by():
        raise UserError(f"its own files can be seen by thread {seen[0]} of the server")
    return own


def _answer_calls(listener: int, supervisor: Supervisor, channel: socket.socket) -> None:
    """Until no program is left that could call."""
    watcher = threading.Thread(target=_tell_if_busy, args=(channel, listener), daemon=True)
    watcher.start()
    supervisor.run()


def _serve_views(
    engine: Engine, keeper: Keeper, own: OwnViews, devices: tuple[Device, ...]
) -> None:
    """Have a thread serve the views; returns when they answer. UserError."""
    real = None if keeper.proc_has_modules else sandbox.REAL_PROC
    # Nothing may be remembered: processes and modules come and go.
    never = ("entry_timeout=0", "attr_timeout=0", "negative_timeout=0")
    server = make_server((*never, "direct_io", "intr"), own_views.WITHOUT)
    addresses = Addresses(server)
    proc = {"modules": addresses.proc_modules(engine.proc_modules), **engine.proc_files()}
    modules = addresses.module_files(engine.module_files)
    send = _sender(keeper)
    views: dict[str, View] = {
        "module": SysModuleView(
            engine.module_names,
            modules,
            engine.compression,
            engine.parameters(),
            lambda name, event: send(module_events.module(name), event),
        ),
        **engine.views(server, own),
    }
    if devices:
        views[device_places.VIEW] = DeviceView(devices, send)
        if isinstance(engine, OwnEngine):
            module_events.send_events(engine.kernel.kernel, send)
    views["proc"] = ProcView(
        proc, server.client, real, settings=engine.sysctls(), private=engine.private_files()
    )
    files = Views(views)
    server.sought = files.sought
    settled = threading.Event()
    failed: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve(keeper.fuse, files, settled.set)
        except BaseException as error:
            failed.append(error)
        settled.set()

    wake_at_interrupts(engine.kernel.wake)
    threading.Thread(target=serve, daemon=True).start()
    settled.wait()
    if failed:
        raise failed[0]


def _sender(keeper: Keeper) -> Callable[[Device, Synthetic], None]:
    """Sends events into the sandbox, where those of devices are heard."""
    channel = keeper.uevents
    if channel is None:
        return lambda device, event: None
    return lambda device, event: uevents.send(channel, uevents.message(device, event))


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
            channel.send(BUSY)
