"""The devices in what `udevadm info --export-db` prints, as an sosreport has it."""

from __future__ import annotations

from collections.abc import Iterator

from loader.errors import UserError
from modfs.machine.devices import DEVICES_MOST, Device, is_alias


def devices(text: str) -> list[Device]:
    """All devices, in no order; what is none (a driver, a module) has no modalias and is left out.
    UserError: more than any machine has."""
    found = {device.path: device for device in _records(text)}
    if len(found) > DEVICES_MOST:
        raise UserError(f"more than {DEVICES_MOST} devices")
    return list(found.values())


def is_cut(text: str) -> bool:
    """Does it end within a record? Each ends with an empty line."""
    return bool(text) and not text.endswith("\n\n")


def _records(text: str) -> Iterator[Device]:
    path, subsystem, alias = "", "", None
    for line in text.split("\n"):
        kind, _, value = line.partition(": ")
        if not line:
            if path.startswith("/devices/") and subsystem:
                yield Device(path, subsystem, alias)
            path, subsystem, alias = "", "", None
        elif kind == "P" and value.isprintable():
            path = value
        elif kind == "E":
            key, _, what = value.partition("=")
            if key == "SUBSYSTEM" and what.isprintable():
                subsystem = what
            elif key == "MODALIAS" and is_alias(what):
                alias = what
