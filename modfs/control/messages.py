"""What a server, its office and the deputies say to one another: JSON with descriptors, a message
at a time."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

_BYTES = 1 << 20  # a path, 65,536 groups: NGROUPS_MAX
_DESCRIPTORS = 3


class NotAllOfIt(Exception):
    """This process can have no more descriptors, so that some of a message's are lost."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that keeps messages apart. OSError: EMFILE, ENFILE."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send(to: socket.socket, what: Any, descriptors: tuple[int, ...] = ()) -> None:
    """OSError: nobody is there any more, or it is too long."""
    data = json.dumps(what).encode()
    if len(data) > _BYTES >> 4:
        to.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _BYTES)
    socket.send_fds(to, [data], list(descriptors))


def receive(end: socket.socket) -> tuple[Any, list[int]]:
    """A message and its descriptors, which are closed by exec. EOFError: there will be none;
    NotAllOfIt; OSError."""
    data, descriptors, flags, _ = socket.recv_fds(
        end, _BYTES, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    if flags & socket.MSG_CTRUNC:
        close(descriptors)
        raise NotAllOfIt
    if not data:
        raise EOFError
    return json.loads(data), descriptors


def close(descriptors: list[int]) -> None:
    """Close them all."""
    for descriptor in descriptors:
        os.close(descriptor)
