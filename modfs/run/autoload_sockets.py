"""Calls of sockets and terminals that may have the kernel ask for a protocol, an interface …"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from loader.calls import Caller
from loader.engine import askers
from modfs import linux
from modfs.run import caught, known
from modfs.run.arguments import signed, text
from modfs.run.interface_ioctls import needs_interface
from modfs.run.seccomp import Notification

if TYPE_CHECKING:
    from modfs.run.autoload import Autoload

_IFNAMSIZ = 16
_AF_ALG, _SOCKADDR_ALG = 38, 24  # bytes before the name (struct sockaddr_alg)
_SOL_TCP, _TCP_NAME_MAX = 6, 16  # TCP_CA_NAME_MAX, TCP_ULP_NAME_MAX
_TYPE_AND_FLAGS = 0xF | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK


class SocketCalls:
    """Looks at these calls."""

    def __init__(self, autoload: Autoload) -> None:
        self._autoload = autoload
        self.looks: dict[str, Callable[[Notification, Caller], None]] = {
            "socket": self._socket,
            "socketpair": self._socket,
            "socketcall": self._socketcall,
            "bind": self._bind,
            "setsockopt": self._setsockopt,
            "ioctl": self._ioctl,
        }

    def _socket(self, call: Notification, caller: Caller) -> None:
        family, kind, protocol = map(signed, call.arguments[:3])
        if not kind & ~_TYPE_AND_FLAGS:
            self._sock_create(family, kind, protocol, caller)

    def _sock_create(self, family: int, kind: int, protocol: int, caller: Caller) -> None:
        error = partial(known.socket_error, family, kind, protocol)
        first = error()
        if known.lacks_family(first):
            asks, lacks = askers.sock_create(family, kind & 0xF), known.lacks_family
        elif known.lacks_protocol(first) and family in (known.AF_INET, known.AF_INET6):
            asks, lacks = askers.inet_create(family, kind & 0xF, protocol), known.lacks_protocol
        elif first == errno.EPROTONOSUPPORT and family == known.AF_NETLINK:
            asks, lacks = askers.netlink_create(protocol), known.lacks_protocol
        else:
            return
        self._autoload.ask(asks, caller, lambda: lacks(error()))

    def _socketcall(self, call: Notification, caller: Caller) -> None:
        """socketcall(2) of 32-bit programs: the arguments are in memory."""
        which, address, *_ = call.arguments
        data = linux.memory_of_thread(call.tid, address, 4 * _SOCKETCALL[which][0])
        if data is not None:
            words = struct.unpack(f"<{len(data) // 4}I", data)
            name = _SOCKETCALL[which][1]
            self.looks[name](call._replace(arguments=words), caller)

    def _bind(self, call: Notification, caller: Caller) -> None:
        fd, address, length, *_ = call.arguments
        if not _SOCKADDR_ALG < length & 0xFFFFFFFF <= 128:  # sockaddr_storage
            return
        data = linux.memory_of_thread(call.tid, address, _SOCKADDR_ALG)
        if data is None or int.from_bytes(data[:2], "little") != _AF_ALG:
            return
        kind = text(data[2:15].partition(b"\0")[0])
        if self._of_socket(call.tid, fd)[0] == _AF_ALG and not known.has_algorithms(kind):
            self._autoload.ask(askers.alg_bind(kind), caller)

    def _setsockopt(self, call: Notification, caller: Caller) -> None:
        fd, level, option, address, length, *_ = call.arguments
        if level & 0xFFFFFFFF != _SOL_TCP or not signed(length) > 0:
            return
        size = min(length & 0xFFFFFFFF, _TCP_NAME_MAX - 1)
        data = linux.memory_of_thread(call.tid, address, size)
        if data is None:
            return
        name = text(data.partition(b"\0")[0])
        may = self._autoload.capable(call.tid, linux.CAP_NET_ADMIN)
        kind, find = (
            ("congestion_control", askers.tcp_ca_find)
            if option & 0xFFFFFFFF == caught.TCP_CONGESTION
            else ("ulp", askers.tcp_ulp_find)
        )
        if self._of_socket(call.tid, fd)[1] == _SOL_TCP and not known.has_tcp(kind, name):
            self._autoload.ask(find(name, may), caller, lambda: not known.has_tcp(kind, name))

    def _of_socket(self, tid: int, fd: int) -> tuple[int, int]:
        """Family and protocol of a caller's descriptor; (-1, -1) if it is no socket."""
        try:
            with socket.socket(fileno=linux.descriptor_of_thread(tid, signed(fd))) as found:
                return found.family, found.proto
        except OSError:
            return -1, -1

    # -- ioctls -----------------------------------------------------------------------------------

    def _ioctl(self, call: Notification, caller: Caller) -> None:
        fd, command, address, *_ = call.arguments
        command &= 0xFFFFFFFF
        try:
            file = os.readlink(f"/proc/{call.tid}/fd/{signed(fd)}")
        except OSError:
            return
        if command == caught.TIOCSETD and file.startswith("/dev/"):
            self._line_discipline(call.tid, address, caller)
        elif file.startswith("socket:"):
            net_admin = partial(self._autoload.capable, call.tid, linux.CAP_NET_ADMIN)
            if needs_interface(command, net_admin):
                self._interface(call.tid, address, caller, net_admin())

    def _interface(self, tid: int, address: int, caller: Caller, net_admin: bool) -> None:
        data = linux.memory_of_thread(tid, address, _IFNAMSIZ)
        if data is None:
            return
        name = text(data[: _IFNAMSIZ - 1].partition(b"\0")[0].partition(b":")[0])
        if not known.has_interface(tid, name):
            sys_module = self._autoload.capable(tid, linux.CAP_SYS_MODULE)
            self._autoload.ask(askers.dev_load(name, net_admin, sys_module), caller)

    def _line_discipline(self, tid: int, address: int, caller: Caller) -> None:
        data = linux.memory_of_thread(tid, address, 4)
        number = int.from_bytes(data or b"", "little", signed=True)
        if data is None or known.has_line_discipline(number):
            return
        capable = self._autoload.capable(tid, linux.CAP_SYS_MODULE)
        may = capable or known.autoloads_line_disciplines()
        self._autoload.ask(askers.tty_ldisc_get(number, may), caller)


_SOCKETCALL = {
    caught.SYS_SOCKET: (3, "socket"),
    caught.SYS_SOCKETPAIR: (4, "socketpair"),
    caught.SYS_BIND: (3, "bind"),
    caught.SYS_SETSOCKOPT: (5, "setsockopt"),
}
"""socketcall(2): how many arguments, and the call that it is."""
