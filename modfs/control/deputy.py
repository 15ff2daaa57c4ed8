"""A deputy: a process like the client in whose name it opens files, and like nothing else.

    users, groups   all four of each, all groups       permissions and ACLs are the client's
    capabilities    those in our user namespace        root without them is root no longer
    root            chroot to a descriptor of it       "/" is the client's, not ours
    descriptors     only what the client could open    /proc/DEPUTY/fd/N/../.. is nothing new

It cannot be looked into, and what it has open is closed after each request. What it opens goes to
the server; if that takes for ever, only this process waits.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Any, NoReturn

from modfs.control import messages
from modfs.control.identity import Identity, become
from modfs.control.walk import Numbers, Own, open_path
from modfs.linux import AT_FDCWD

DONE = "done"


def run(orders: socket.socket, identity: Identity, root: int, parent: int) -> NoReturn:
    """Serve requests from ``orders`` until there are no more; just one, where the client's root is
    another: nobody can unmount it meanwhile."""
    refused = 0
    try:
        become(identity, root, parent)
    except OSError:
        refused = errno.EACCES  # the server has not the rights to take others on
    with suppress(EOFError, OSError):
        while True:
            request, descriptors = messages.receive(orders)
            _serve(orders, request, descriptors, refused)
            if root >= 0:
                break
    os._exit(0)


def _serve(
    orders: socket.socket, request: dict[str, Any], descriptors: list[int], refused: int
) -> None:
    """The office hears that it is done before the server does, which may then let go."""
    reply, *rest = descriptors
    answer: Any = refused
    opened: list[int] = []
    try:
        found = refused or _open(request, rest[0] if rest else AT_FDCWD)
        if isinstance(found, Own):
            answer = found
        elif not refused:
            opened = [found]
    except OSError as error:
        answer = error.errno or errno.EIO
    except Exception:
        answer = errno.EIO
    messages.close(rest)
    messages.send(orders, DONE)
    with socket.socket(fileno=reply) as end, suppress(OSError):
        messages.send(end, answer, tuple(opened))
    messages.close(opened)


def _open(request: dict[str, Any], folder: int) -> int | Own:
    path, flags = request["path"], request["flags"]
    if path is None:  # the client's descriptor itself, opened anew
        return os.open(f"/proc/self/fd/{folder}", flags | os.O_CLOEXEC)
    return open_path(path, flags, folder, Numbers(*map(tuple, request["numbers"])))
