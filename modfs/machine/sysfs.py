"""The devices in a sysfs, as sd_device_enumerator finds them.

Those that a bus or a class links to, with those above them that have a subsystem; and what is no
device but has events: buses, their drivers, modules.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from loader.errors import UserError
from modfs.machine.devices import DEVICES_MOST, Device, is_alias
from modfs.machine.folder import Folder

_UEVENT = 64 << 10  # bytes; a file of sysfs has a page
_DEEPEST = 64  # folders in one another; real ones have 20


def subsystems(sys: Folder) -> list[Device]:
    """What `udevadm trigger --type=subsystems` tells of."""
    found = [Device(f"/module/{name}", "module") for name in _with_uevent(sys, "module")]
    found += [Device(f"/bus/{name}", "subsystem") for name in _with_uevent(sys, "bus")]
    for bus in sys.names("bus"):
        drivers = f"bus/{bus}/drivers"
        found += [Device(f"/{drivers}/{name}", "drivers") for name in _with_uevent(sys, drivers)]
    return found


def _with_uevent(sys: Folder, folder: str) -> Iterator[str]:
    return (name for name in sys.names(folder) if sys.is_file(f"{folder}/{name}/uevent"))


def devices(sys: Folder) -> list[Device]:
    """All devices, in no order. UserError: more than any machine has."""
    found: dict[str, Device] = {}
    for path in _linked(sys):
        if path not in found and (device := _device(sys, path)):
            found[path] = device
            _add_above(sys, path, found)
        if len(found) > DEVICES_MOST:
            raise UserError(f"{sys.root}: more than {DEVICES_MOST} devices")
    if not found:  # a copy that has lost its links
        found = {device.path: device for device in _with_alias(sys)}
    return list(found.values())


def _linked(sys: Folder) -> Iterator[str]:
    """Where the links in all buses and classes lead: "/devices/…"."""
    folders = [f"bus/{bus}/devices" for bus in sys.names("bus")]
    folders += [f"class/{name}" for name in sys.names("class")]
    for folder in folders:
        for name in sys.names(folder):
            target = sys.link(f"{folder}/{name}")
            path = posixpath.normpath(posixpath.join("/", folder, target)) if target else ""
            if path.startswith("/devices/"):
                yield path


def _device(sys: Folder, path: str) -> Device | None:
    """The device at ``path``; None: there is none, or it has no subsystem."""
    subsystem = sys.link(f"{path}/subsystem")
    uevent = sys.read(f"{path}/uevent", _UEVENT)
    if subsystem is None or uevent is None:
        return None
    name = posixpath.basename(subsystem)
    return Device(path, name if name.isprintable() else "", modalias(uevent))


def _add_above(sys: Folder, path: str, found: dict[str, Device]) -> None:
    while (path := posixpath.dirname(path)) not in ("/", "/devices") and path not in found:
        if device := _device(sys, path):
            found[path] = device


def modalias(properties: str) -> str | None:
    """That among lines KEY=VALUE; None: there is none, or it is no text."""
    for line in properties.splitlines():
        key, _, value = line.partition("=")
        if key == "MODALIAS" and is_alias(value):
            return value
    return None


def _with_alias(sys: Folder) -> Iterator[Device]:
    """Every folder below devices/ whose uevent or modalias has an alias."""
    left = [("devices", 0)]
    seen = 0
    while left:
        folder, depth = left.pop()
        alias = modalias(sys.read(f"{folder}/uevent", _UEVENT) or "")
        alias = alias or (sys.read(f"{folder}/modalias", _UEVENT) or "").strip() or None
        if alias and is_alias(alias):
            yield Device(f"/{folder}", alias=alias)
        for name in sys.names(folder) if depth < _DEEPEST else ():
            below = f"{folder}/{name}"
            if sys.link(below) is None and sys.is_folder(below):
                seen += 1
                left.append((below, depth + 1))
        if seen > DEVICES_MOST:
            raise UserError(f"{sys.root}: more than {DEVICES_MOST} folders")
