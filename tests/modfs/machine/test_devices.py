"""The devices of a sysfs, in the order in which udev is told of them at a coldplug."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs.machine import devices as limits
from modfs.machine import sysfs
from modfs.machine.devices import PRIORITIZED, Device, devices_order, trigger_order
from modfs.machine.folder import Folder
from tests.modfs.machine.sysfs_tree import DEVICES, PCI, make_sysfs


@pytest.mark.skipif(shutil.which("udevadm") is None, reason="there is no udevadm")
@pytest.mark.parametrize(
    "options",
    [("--type=devices",), ("--type=all", f"--prioritized-subsystem={','.join(PRIORITIZED)}")],
)
def test_the_order_is_that_of_udevadm(options: Sequence[str]) -> None:
    """On this machine; of what it lists, only what has a file uevent has events. Devices come and
    go meanwhile, with mounts and the like."""
    for _ in range(20):
        real, order = listed(options), ordered(options)
        both = set(real) & set(order)
        assert [path for path in order if path in both] == [path for path in real if path in both]
        if real == order:
            break
    if not real:
        pytest.skip("there is no device here")
    assert order == real


def listed(options: Sequence[str]) -> list[str]:
    command = ["udevadm", "trigger", "--dry-run", "--verbose", *options]
    real = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in real if Path(path, "uevent").exists()]


def ordered(options: Sequence[str]) -> list[str]:
    with Folder(Path("/sys")) as sys:
        devices = sysfs.devices(sys)
        order = devices_order(devices)
        if len(options) > 1:
            order = trigger_order([*devices, *sysfs.subsystems(sys)])
    return [f"/sys{device.path}" for device in order]


def test_a_sysfs_in_a_folder(tmp_path: Path) -> None:
    with Folder(make_sysfs(tmp_path / "sys")) as sys:
        found = sysfs.devices(sys)
        others = sysfs.subsystems(sys)
    assert {(d.path, d.alias or "") for d in found} == {(f"/{p}", a) for p, _, a in DEVICES}
    assert {d.path for d in others} >= {"/module/e1000", "/bus/pci/drivers/e1000"}
    assert "/module/nouevent" not in {d.path for d in others}
    assert [d.path for d in devices_order(found)][:3] == [
        "/devices/LNXSYSTM:00",
        "/devices/LNXSYSTM:00/LNXCPU:00",
        "/devices/LNXSYSTM:00/LNXCPU:01",
    ]
    assert devices_order(found)[-1].path == "/devices/virtual/block/dm-0"
    order = [d.path for d in trigger_order(found + others)]
    assert order[:7] == [
        "/module/e1000",
        f"/{PCI}:02.0",
        f"/{PCI}:02.0/virtio0",
        f"/{PCI}:02.0/virtio0/block/vda",
        f"/{PCI}:02.0/virtio0/block/vda/vda1",
        "/devices/virtual/block/dm-0",
        f"/{PCI}:01.0",
    ]
    assert len(order) == len(set(order)) == len(found) + len(others)


def test_names_are_compared_one_by_one() -> None:
    """path_compare: "a/b" comes before "a-b", though '-' is before '/'."""
    paths = ["/devices/a-b", "/devices/a", "/devices/a/b"]
    order = devices_order(Device(path) for path in paths)
    assert [device.path for device in order] == ["/devices/a", "/devices/a/b", "/devices/a-b"]


def test_a_copy_without_links(tmp_path: Path) -> None:
    device = tmp_path / "devices/pci0000:00/0000:00:01.0"
    device.mkdir(parents=True)
    (device / "modalias").write_text("pci:v1\n")
    with Folder(tmp_path) as sys:
        assert sysfs.devices(sys) == [Device("/devices/pci0000:00/0000:00:01.0", "", "pci:v1")]


def test_links_that_lead_elsewhere_are_no_devices(tmp_path: Path) -> None:
    sys = make_sysfs(tmp_path / "sys")
    (sys / "bus/pci/devices/evil").symlink_to("../../../../../../etc")
    (sys / "bus/pci/devices/evil2").symlink_to("/devices/../../etc")
    (sys / f"{PCI}:03.0").mkdir()
    (sys / f"{PCI}:03.0/subsystem").symlink_to("../../../bus/pci")
    (sys / f"{PCI}:03.0/uevent").symlink_to("/etc/passwd")
    (sys / "bus/pci/devices/0000:00:03.0").symlink_to(f"../../../{PCI}:03.0")
    with Folder(sys) as folder:
        assert len(sysfs.devices(folder)) == len(DEVICES)


def test_more_devices_than_a_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "DEVICES_MOST", 5)
    assert limits.DEVICES_MOST > 100_000
    with Folder(make_sysfs(tmp_path / "sys")) as sys, pytest.raises(UserError, match="more than 5"):
        sysfs.devices(sys)
