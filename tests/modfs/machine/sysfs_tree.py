"""Folders that look like a sysfs, made of a list of devices."""

from __future__ import annotations

import os
from pathlib import Path

PCI = "devices/pci0000:00/0000:00"
# path, what links to it, alias
DEVICES = (
    ("devices/LNXSYSTM:00", "bus/acpi", "acpi:LNXSYSTM:"),
    ("devices/LNXSYSTM:00/LNXCPU:00", "bus/acpi", "acpi:LNXCPU:"),
    ("devices/LNXSYSTM:00/LNXCPU:01", "bus/acpi", "acpi:LNXCPU:"),
    (f"{PCI}:01.0", "bus/pci", "pci:v00008086d0000100Esv0sd0bc02sc00i00"),
    (f"{PCI}:01.0/net/eth0", "class/net", ""),
    (f"{PCI}:02.0", "bus/pci", "pci:v00001AF4d00001042sv0sd0bc01sc00i00"),
    (f"{PCI}:02.0/virtio0", "bus/virtio", "virtio:d00000002v00001AF4"),
    (f"{PCI}:02.0/virtio0/block/vda", "class/block", ""),
    (f"{PCI}:02.0/virtio0/block/vda/vda1", "class/block", ""),
    ("devices/system/cpu/cpu0", "bus/cpu", "cpu:type:x86,ven0000fam0006:feature:,0001"),
    ("devices/system/cpu/cpu1", "bus/cpu", "cpu:type:x86,ven0000fam0006:feature:,0001"),
    ("devices/virtual/block/dm-0", "class/block", ""),
    ("devices/virtual/input/a b", "class/input", ""),
    ("devices/virtual/input/mice", "class/input", ""),
)


def make_sysfs(sys: Path) -> Path:
    """``sys``, which is new: two processors."""
    for path, place, alias in DEVICES:
        device = sys / path
        device.mkdir(parents=True)
        (device / "uevent").write_text(f"MODALIAS={alias}\n" if alias else "")
        folder = sys / place / ("devices" if place.startswith("bus/") else "")
        folder.mkdir(parents=True, exist_ok=True)
        up = os.path.relpath(device, folder)
        (folder / device.name).symlink_to(up)
        (device / "subsystem").symlink_to(os.path.relpath(sys / place, device))
    (sys / "bus/pci/drivers/e1000").mkdir(parents=True)
    (sys / "bus/pci/drivers/e1000/uevent").touch()
    (sys / "module/e1000").mkdir(parents=True)
    (sys / "module/e1000/uevent").touch()
    (sys / "module/nouevent").mkdir()
    (sys / "devices/system/cpu/online").write_text("0-1\n")
    return sys
