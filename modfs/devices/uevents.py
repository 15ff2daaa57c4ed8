"""Events of devices, sent as the kernel sends them.

In a network namespace whose owner is root of it, the kernel takes an event from a program and
broadcasts it as its own, with the next SEQNUM (uevent_net_rcv_skb, lib/kobject_uevent.c; 4.18 on).
So udev hears what it always hears.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import NamedTuple

from modfs import linux
from modfs.devices.description import Device

ACTIONS = ("add", "remove", "change", "move", "online", "offline", "bind", "unbind")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ARGUMENT = re.compile(r"([A-Za-z0-9]+)=([A-Za-z0-9]+)")


class Synthetic(NamedTuple):
    """What is written to a uevent file."""

    action: str
    properties: tuple[tuple[str, str], ...]


def synthetic(data: bytes) -> Synthetic:
    """As kobject_synth_uevent takes it: ACTION [UUID [KEY=VALUE...]]. OSError: EINVAL."""
    text = data.decode("ascii", "replace")
    if text.endswith(("\n", "\0")):
        text = text[:-1]
    action, space, rest = text.partition(" ")
    if action not in ACTIONS:
        raise _invalid()
    if not space:
        return Synthetic(action, (("SYNTH_UUID", "0"),))
    uuid, *arguments = rest.split(" ")
    found = [_ARGUMENT.fullmatch(argument) for argument in arguments]
    if not _UUID.fullmatch(uuid) or None in found:
        raise _invalid()
    pairs = [(f"SYNTH_ARG_{each[1]}", each[2]) for each in found if each]
    return Synthetic(action, (("SYNTH_UUID", uuid), *pairs))


def _invalid() -> OSError:
    return OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def message(device: Device, event: Synthetic) -> bytes:
    """In the kernel's order (kobject_uevent_env), but for SEQNUM."""
    properties = (
        ("ACTION", event.action),
        ("DEVPATH", device.path),
        ("SUBSYSTEM", device.subsystem),
        *event.properties,
        *device.properties,
    )
    words = [f"{event.action}@{device.path}", *(f"{key}={value}" for key, value in properties)]
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def channel() -> socket.socket:
    """To the listeners of this network namespace, from a process that is root of it. OSError."""
    return socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, linux.NETLINK_KOBJECT_UEVENT
    )


def send(channel: socket.socket, text: bytes) -> None:
    """Broadcast it. OSError: it is too long, or may not be sent."""
    length = linux.NLMSGHDR.size + len(text)
    header = linux.NLMSGHDR.pack(length, linux.NLMSG_MIN_TYPE, linux.NLM_F_REQUEST, 0, 0)
    channel.sendto(header + text, (0, 0))
