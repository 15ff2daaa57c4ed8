"""/sys/devices, and the folders of links into it, as a file system."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import takewhile
from typing import TypeVar

from modfs.devices.description import Device
from modfs.devices.uevents import Synthetic, synthetic
from modfs.fuse.files import DIRECTORY, Attributes
from modfs.mount.control_file import TextFile

_Node = TypeVar("_Node")
FOLDERS = ("devices", "bus", "class", "block", "dev")
"""What it stands for in /sys."""
_NUMBER = re.compile(rb"([0-9]+:[0-9]+)\n?")
_SIZE = 4096  # bytes: one page, whatever is in a file (sysfs_add_file_mode_ns)
_FILE = Attributes(stat.S_IFREG | 0o444, size=_SIZE)
_UEVENT = Attributes(stat.S_IFREG | 0o644, size=_SIZE)
_LINK = Attributes(stat.S_IFLNK | 0o777)
# Subsystems that are buses (bus_register); all others are classes.
_BUSES = """
    ac97 acpi amba ap auxiliary bcma ccw clockevents clocksource container coreboot cpu cxl dax dfl
    edac eisa event_source faux firewire fsl-mc gameport greybus gpio hdaudio hid host1x i2c i3c iio
    isa machinecheck mdio_bus media mei memory memory_tiering mhi mipi-dsi mmc moxtet nd node ntb
    nvmem parport pci pci-epf pci_express pcmcia peci platform pnp rapidio rpmsg scmi_protocol scsi
    sdio serial serial-base serio siox slimbus snd_seq soc soundwire spi spmi ssb thunderbolt ulpi
    umc usb usb-serial vdpa virtio visorbus vmbus vme w1 wmi workqueue xen xen-backend zorro
"""
_IS_BUS = frozenset(_BUSES.split())


class UeventFile(TextFile):
    """An open uevent file."""

    __slots__ = ("_send",)

    def __init__(self, device: Device, send: Callable[[Device, Synthetic], None]) -> None:
        super().__init__(lambda: "".join(f"{key}={value}\n" for key, value in device.properties))
        self._send = partial(send, device)

    def write(self, data: bytes) -> int:
        """OSError: EINVAL; what sending says."""
        self._send(synthetic(data))
        return len(data)


class DeviceView:
    """One subtree (modfs.run.views.View)."""

    def __init__(
        self, devices: Iterable[Device], send: Callable[[Device, Synthetic], None]
    ) -> None:
        """``send``: an event, whenever a uevent file is written to."""
        self._send = send
        self._uevents: dict[str, Device] = {}
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._folders: dict[str, dict[str, None]] = {"": {}}
        for name in FOLDERS:
            self._folder(f"/{name}")
        devices = tuple(devices)
        for device in devices:
            self._folder(device.path)
        for device in devices:
            self._add(device)

    def _add(self, device: Device) -> None:
        self._place(self._uevents, f"{device.path}/uevent", device)
        for name, text in device.attributes.items():
            self._place(self._files, f"{device.path}/{name}", text)
        for name, target in device.links.items():
            self._place(self._links, f"{device.path}/{name}", target)
        for link, target in _links_of(device):
            self._place(self._links, link, target)

    def _place(self, table: dict[str, _Node], path: str, node: _Node) -> None:
        """Nothing is placed over or below what is no folder."""
        if path in self._folders or any(self._is_leaf(above) for above in _with_above(path)):
            return
        table[path] = node
        folder, _, name = path.rpartition("/")
        self._folder(folder)[name] = None

    def _is_leaf(self, path: str) -> bool:
        return path in self._files or path in self._links or path in self._uevents

    def _folder(self, path: str) -> dict[str, None]:
        """Its names; it is made, with those above."""
        missing = [*takewhile(lambda each: each not in self._folders, _with_above(path))]
        for each in reversed(missing):
            above, _, name = each.rpartition("/")
            self._folders[above][name] = None
            self._folders[each] = {}
        return self._folders[path]

    # -- modfs.run.views.View -------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attributes:
        """OSError: ENOENT."""
        name = _name(path)
        if name in self._files:
            return _FILE
        if name in self._links:
            return _LINK
        if name in self._folders:
            return DIRECTORY
        if name in self._uevents:
            return _UEVENT
        raise _error(errno.ENOENT)

    def text(self, path: bytes) -> None:
        """All files of sysfs are said to have one page."""

    def readlink(self, path: bytes) -> bytes:
        """OSError: EINVAL."""
        target = self._links.get(_name(path))
        if target is None:
            raise _error(errno.EINVAL)
        return os.fsencode(target)

    def names(self, path: bytes) -> Iterable[bytes]:
        return [os.fsencode(name) for name in self._folders.get(_name(path), ())]

    def open_file(self, path: bytes, flags: int = os.O_RDONLY) -> TextFile:
        """OSError: ENOENT; EACCES, even root, of what cannot be written (kernfs_fop_open)."""
        name = _name(path)
        device = self._uevents.get(name)
        if device is not None:
            return UeventFile(device, self._send)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise _error(errno.EACCES)
        text = self._files.get(name)
        if text is None:
            raise _error(errno.ENOENT)
        return TextFile(partial(text.decode, "utf-8", "surrogateescape"))


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _with_above(path: str) -> Iterator[str]:
    """A path and those of the folders above."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _name(path: bytes) -> str:
    return os.fsdecode(path).rstrip("/")


def _links_of(device: Device) -> Iterator[tuple[str, str]]:
    """Links to a device and to its subsystem: where, and to what."""
    up = "../" * device.path.count("/")
    name = device.path.rpartition("/")[2]
    if device.subsystem in _IS_BUS:
        folder = f"bus/{device.subsystem}/devices"
        yield f"{device.path}/subsystem", f"{up}bus/{device.subsystem}"
        yield f"/{folder}/{name}", f"../../..{device.path}"
    else:
        yield f"{device.path}/subsystem", f"{up}class/{device.subsystem}"
        yield f"/class/{device.subsystem}/{name}", f"../..{device.path}"
    if device.subsystem == "block":
        yield f"/block/{name}", f"..{device.path}"
    if number := _NUMBER.fullmatch(device.attributes.get("dev", b"")):
        kind = "block" if device.subsystem == "block" else "char"
        yield f"/dev/{kind}/{number[1].decode()}", f"../..{device.path}"
