"""The keeper of a sandbox: the process that makes its namespaces and its mounts, and stays there.

A server must not be able to look through its own mount: a thread that does waits for the server
itself, perhaps with a lock held, and cannot even be killed before it is answered. The C library
alone opens /proc/sys/vm/overcommit_memory in the middle of free(3). So the server never is where
its views can be seen. What has to be done there the keeper does, and hands out /dev/fuse and the
namespaces as descriptors. It also hears from the watchdog.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from loader.errors import UserError, in_words
from modfs.mount.descriptors import close_descriptors, open_descriptors
from modfs.mount.mountinfo import top_mount
from modfs.run import device_places, sandbox
from modfs.run.watchdog import END_SECONDS, Watchdog, wait_for

_MESSAGE_MAX = 1 << 16  # bytes
_DESCRIPTORS_MAX = 6  # the views, events, three namespaces, a root
_END = b'"end"'


class Keeper:
    """The server's end. UserError: what the keeper could not do."""

    def __init__(self, devices: bool = False) -> None:
        """Start it, from a process of one thread. ``devices``: with what described devices need."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = os.pidfd_open(os.getpid())
        self._process = os.fork()
        if not self._process:
            keep(theirs, server, devices)
        theirs.close()
        os.close(server)
        said, descriptors = self._hear()
        self.device: str = said["device"]
        """MAJOR:MINOR of the views' file system."""
        self.proc_has_modules: bool = said["proc_has_modules"]
        self.uevents = socket.socket(fileno=descriptors.pop()) if devices else None
        """Takes events of devices (modfs.devices.uevents)."""
        self.fuse, *namespaces, self.root = descriptors
        self.namespaces: dict[str, int] = dict(zip(said["namespaces"], namespaces, strict=True))
        """In the order in which they are to be entered."""

    def place(self, stats: Path, tree: Path | None, release: str) -> None:
        """Put the views, served by now, and the tree of a kernel ``release`` at their places."""
        folder = None if tree is None else str(tree)
        _send(self._channel, {"stats": str(stats), "tree": folder, "release": release})
        self._hear()

    def end(self) -> None:
        """Let it go, and wait until it is gone. The views are still to be served meanwhile."""
        with suppress(ConnectionError):  # somebody may have killed it
            self._channel.send(_END)
        wait_for(self._process, END_SECONDS)

    def _hear(self) -> tuple[dict[str, Any], list[int]]:
        said, descriptors, _, _ = socket.recv_fds(self._channel, _MESSAGE_MAX, _DESCRIPTORS_MAX)
        answer: dict[str, Any] = json.loads(said or '{"error": "the keeper ended early"}')
        if "error" in answer:
            raise UserError(answer["error"])
        return answer, descriptors


def _send(channel: socket.socket, message: dict[str, Any], descriptors: Iterable[int] = ()) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    channel.sendmsg([json.dumps(message).encode()], [rights] if descriptors else [])


# -- the keeper's process -------------------------------------------------------------------------


def keep(channel: socket.socket, server: int, devices: bool) -> NoReturn:
    """Make the sandbox, and hold it until the server ends. ``server``: its pidfd."""
    try:
        _hold_nothing_else(channel.fileno(), server)
        _make(channel, devices)
        _place(channel, devices)
        _watch(channel, server)
    except UserError as error:
        _send(channel, {"error": str(error)})
    except OSError as error:
        _send(channel, {"error": f"{error.filename or 'keeper'}: {in_words(error)}"})
    except BaseException as error:
        _send(channel, {"error": str(error) or repr(error)})
    finally:
        os._exit(0)


def _hold_nothing_else(*keep: int) -> None:
    """What others may wait for the end of, the server's own channel above all."""
    close_descriptors(open_descriptors(), keep)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in {0, 1, 2} - {null}:
        os.dup2(null, descriptor)


def _make(channel: socket.socket, devices: bool) -> None:
    """The namespaces, and the mount of the views."""
    user = sandbox.enter()
    uevents = device_places.enter_network(user) if devices else None
    sandbox.prepare()
    fuse = sandbox.mount_views()
    mount = top_mount(str(sandbox.VIEWS))
    assert mount is not None
    namespaces = sandbox.namespaces(user, devices)
    found = {
        "device": mount.device,
        "proc_has_modules": sandbox.proc_has_modules(),
        "namespaces": [*namespaces],
    }
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    descriptors = [fuse, *namespaces.values(), root]
    if uevents is not None:
        descriptors.append(uevents.detach())
    _send(channel, found, descriptors)
    for descriptor in descriptors:  # a connection ends when nobody has it open
        os.close(descriptor)


def _place(channel: socket.socket, devices: bool) -> None:
    told = json.loads(channel.recv(_MESSAGE_MAX) or "null")
    if told is None:
        raise UserError("the server ended early")
    os.close(os.open(sandbox.VIEWS / "proc/modules", os.O_RDONLY))  # see own_views.WITHOUT
    if devices:
        device_places.place_devices()
    sandbox.place_views(Path(told["stats"]), devices)
    if told["tree"] is not None:
        sandbox.place_tree(Path(told["tree"]), told["release"])


def _watch(channel: socket.socket, server: int) -> None:
    """Until the server ends, or has to be ended."""
    dog = Watchdog(sandbox.VIEWS)
    _send(channel, {})
    if dog.watch(channel.fileno()) and channel.recv(_MESSAGE_MAX) == _END:
        dog.end()
        return
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(server, signal.SIGKILL)
    dog.cut()
