"""A machine as its file system shows it: the running one, or what an sosreport has kept of one."""

from __future__ import annotations

import re

from modfs.machine import export_db, sysfs
from modfs.machine.devices import Device, trigger_order
from modfs.machine.folder import Folder
from modfs.machine.seen import Pass, Seen
from modfs.machine.settings import (
    children_max_at_boot,
    children_max_of,
    core_sizes,
    count_of,
    memory_of,
    processors_of,
    uname_of,
)

_DB = "sos_commands/devices/udevadm_info_--export-db"
_DB_MOST = 256 << 20  # bytes; the database of a server with 448 processors has 20 MB
_UNAMES = ("sos_commands/kernel/uname_-a", "uname")
MODINFO = "sos_commands/kernel/modinfo_ALL_MODULES"
MODINFO_MOST = 64 << 20
# As udev reads them: the first that is there counts (udev.conf(5)).
_UDEV_CONF = ("etc/udev/udev.conf", "run/udev/udev.conf", "usr/local/lib/udev/udev.conf",
              "usr/lib/udev/udev.conf", "lib/udev/udev.conf")  # fmt: skip
_UDEV_CONF_D = ("usr/lib/udev/udev.conf.d", "run/udev/udev.conf.d", "etc/udev/udev.conf.d")
_RELEASE = re.compile(r"\d[\w.+~-]{2,63}")
_NOW = (
    "devices are those that are there now, in the order of systemd-udev-trigger.service: some came"
    " only with the drivers of others"
)
_INITRD = "initrd: which modules it has was not looked at, so it has no coldplug of its own here"


def look_at_root(folder: Folder, source: str) -> Seen:
    """What the files below a machine's / tell. UserError: they are no machine's."""
    seen = Seen(source)
    _kernel(folder, seen)
    seen.memory = memory_of(folder.read("proc/meminfo") or "")
    seen.workers = _children_max(folder)
    seen.core = core_sizes(folder.read("proc/modules", 4 << 20) or "")
    if (database := folder.read(_DB, _DB_MOST)) is not None:
        if export_db.is_cut(database):
            seen.notes.append(f"devices: {_DB} ends within a device: the others are missing")
        seen.notes.append("devices: events of buses, drivers and modules are not in the report")
        _take_devices(seen, export_db.devices(database), ())
    elif sys := folder.below("sys"):
        with sys:
            look_at_devices(sys, seen)
    seen.processors = count_of(folder.read("sys/devices/system/cpu/online") or "") or (
        processors_of(folder.read("proc/cpuinfo", 64 << 20) or "")
    )
    return seen


def look_at_sysfs(folder: Folder, source: str) -> Seen:
    """What a copy of /sys alone tells."""
    seen = Seen(source)
    look_at_devices(folder, seen)
    seen.processors = count_of(folder.read("devices/system/cpu/online") or "")
    return seen


def look_at_devices(sys: Folder, seen: Seen) -> None:
    """The devices of a sysfs, as one coldplug of the real root."""
    _take_devices(seen, sysfs.devices(sys), sysfs.subsystems(sys))


def _take_devices(seen: Seen, devices: list[Device], others: list[Device] | tuple[()]) -> None:
    order = trigger_order([*devices, *others])
    if order:
        seen.passes = (Pass("root", tuple(order)),)
    seen.notes += [_NOW, _INITRD]
    if not seen.processors:
        seen.processors = sum(device.subsystem == "cpu" for device in devices) or None


def _kernel(folder: Folder, seen: Seen) -> None:
    """Its release, which names a folder as well; and its machine."""
    text = (folder.read("proc/sys/kernel/osrelease") or "").strip()
    if _RELEASE.fullmatch(text):
        seen.release = text
        return
    for name in _UNAMES:
        release, machine = uname_of(folder.read(name) or "")
        if release:
            seen.release, seen.architecture = release, machine
            return
    trees = folder.names("lib/modules") or folder.names("usr/lib/modules")
    if len(trees) == 1 and _RELEASE.fullmatch(trees[0]):
        seen.release = trees[0]


def _children_max(folder: Folder) -> int | None:
    at_boot = children_max_at_boot(command_line(folder))
    if at_boot:
        return at_boot
    found = None
    for path in _UDEV_CONF:
        if (text := folder.read(path)) is not None:
            found = children_max_of(text)
            break
    for path in _UDEV_CONF_D:
        for name in folder.names(path):
            if name.endswith(".conf"):
                found = children_max_of(folder.read(f"{path}/{name}") or "") or found
    return found


def command_line(folder: Folder) -> str:
    """The kernel's; "" if it was not seen."""
    return folder.read("proc/cmdline") or ""
