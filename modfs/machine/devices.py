"""Devices as udev is told of them at a coldplug, in its order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

DEVICES_MOST = 1_000_000
"""More than any machine has; where there are more, somebody means harm."""

# systemd-udev-trigger.service since systemd 251.
PRIORITIZED = ("module", "block", "tpmrm", "net", "tty", "input")
# md and dm come after all others (devpath_is_late_block).
_LATE = ("/block/md", "/block/dm-")


_ALIAS_MOST = 2048  # bytes: UEVENT_BUFFER_SIZE, which all of an event has to go into


def is_alias(text: str) -> bool:
    """Can it be a MODALIAS?"""
    return 0 < len(text) <= _ALIAS_MOST and text.isprintable()


class Device(NamedTuple):
    """What one event is about. ``path``: below /sys, from "/devices" on; ``subsystem``: "" for what
    is none of a device's (a bus, a driver, a module); ``alias``: its MODALIAS."""

    path: str
    subsystem: str = ""
    alias: str | None = None

    @property
    def kind(self) -> str:
        """Its subsystem; where that is not known, what its alias begins with."""
        return self.subsystem or (self.alias or "").partition(":")[0]

    @property
    def is_processor(self) -> bool:
        """One of those that there are one of for each processor?"""
        return bool(_OF_PROCESSOR.fullmatch(self.path)) or (self.alias or "").startswith(_IN_ACPI)

    @property
    def folder(self) -> str:
        """What it is in."""
        return self.path.rpartition("/")[0]


# A processor's own device and others that each has; and those that ACPI has of it
# (drivers/acpi/acpi_processor.c), which may be more: for processors that could be plugged in.
_OF_PROCESSOR = re.compile(
    r"/devices/(?:system/cpu/cpu|system/clockevents/clockevent|system/machinecheck/machinecheck"
    r"|virtual/cpuid/cpu|virtual/msr/msr)\d+"
)
_IN_ACPI = ("acpi:LNXCPU:", "acpi:ACPI0007:")


def devices_order(devices: Iterable[Device]) -> list[Device]:
    """The order of `udevadm trigger --type=devices` (device_compare, systemd 252)."""
    return sorted(devices, key=_place)


def trigger_order(devices: Iterable[Device], first: Sequence[str] = PRIORITIZED) -> list[Device]:
    """The order of `udevadm trigger --type=all --prioritized-subsystem=FIRST`: of each such
    subsystem all devices with those above them, then all others (enumerator_sort_devices)."""
    left = {device.path: device for device in devices}
    order: list[Device] = []
    for subsystem in first:
        paths = {path for path, device in left.items() if device.subsystem == subsystem}
        paths |= {above for path in paths for above in _above(path) if above in left}
        order += devices_order([left.pop(path) for path in paths])
    return order + devices_order(left.values())


def _place(device: Device) -> tuple[bool, list[str]]:
    """By path_compare: name for name, as bytes."""
    return any(late in device.path for late in _LATE), device.path.split("/")


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
