"""Devices as umockdev describes them, and events of them as the kernel sends them."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs.devices.description import Device, read_devices
from modfs.devices.uevents import Synthetic, message, synthetic
from modfs.devices.view import DeviceView

UUID = "7c1a2f2e-5a04-4f1e-8f1b-0d0f6d0a9a11"
DESCRIBED = Path(__file__).with_name("laptop.umockdev")


@pytest.fixture
def sent() -> list[tuple[str, Synthetic]]:
    return []


@pytest.fixture
def view(sent: list[tuple[str, Synthetic]]) -> DeviceView:
    return DeviceView(
        read_devices(DESCRIBED), lambda device, event: sent.append((device.path, event))
    )


def read(view: DeviceView, path: str) -> bytes:
    return view.open_file(path.encode()).read(4096, 0)


def test_a_recorded_description() -> None:
    disk, controller = read_devices(DESCRIBED)
    assert disk.subsystem == "block"
    assert disk.properties == (
        ("DEVNAME", "sda"), ("DEVTYPE", "disk"), ("MAJOR", "8"), ("MINOR", "0")
    )  # fmt: skip
    assert disk.attributes == {
        "dev": b"8:0\n", "queue/rotational": b"0\n", "stat": b"\t1 2\\3\n", "wwid": b"\xff\0"
    }  # fmt: skip
    assert controller.properties == (("MODALIAS", "pci:v00008086d0000A102"),)


WRONG = {
    "": "no device is described",
    "E: SUBSYSTEM=cpu\n": ":1: a device begins with a line such as P: /devices/system/cpu/cpu0",
    "P: /devices/../x\nE: SUBSYSTEM=cpu\n": ":1: a device begins",
    "\n\nP: /devices/x\nE: A=b\n": ":3: '/devices/x': E: SUBSYSTEM= is missing",
    "P: /devices/x\nE: SUBSYSTEM=a/b\n": ":1: '/devices/x': E: SUBSYSTEM= is missing",
    "P: /devices/x\nX: a=b\n": ":1: '/devices/x': 'X: a=b' is no line of a description",
    "P: /devices/x\nE: SUBSYSTEM=a\0b\n": ":1: '/devices/x': E: SUBSYSTEM= is missing",
    "P: /devices/x\nE: SUBSYSTEM\n": "'E: SUBSYSTEM' is no line",
    "P: /devices/" + "\u00e4" * 128 + "\nE: SUBSYSTEM=a\n": ":1: a device begins",
    "P: /devices/x\nE: SUBSYSTEM=a\nA: " + "y" * 256 + "=1\n": "is no line",
    "P: /devices/x\nA: ../../y=1\n": "is no line",
    "P: /devices/x\nH: y=1z\n": ":1: '/devices/x': H: 'y': no hexadecimal",
    "P: /devices/x\nE: SUBSYSTEM=a\n\nP: /devices/x\nE: SUBSYSTEM=a\n": ":4: '/devices/x' is descr",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_is_no_description(tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong").write_text(text)
    with pytest.raises(UserError, match=re.escape(WRONG[text])):
        read_devices(tmp_path / "wrong")


def test_folders_may_be_deep(tmp_path: Path) -> None:
    path = "/devices" + "/x" * 1500
    (tmp_path / "deep").write_text(f"P: {path}\nE: SUBSYSTEM=a\n")
    view = DeviceView(read_devices(tmp_path / "deep"), lambda device, event: None)
    assert {*view.names(path.encode())} == {b"uevent", b"subsystem"}


def test_files_and_links(view: DeviceView) -> None:
    disk = "/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"
    assert {*view.names(b"/")} == {b"devices", b"bus", b"class", b"block", b"dev"}
    assert {*view.names(disk.encode())} == {
        b"uevent", b"dev", b"queue", b"stat", b"wwid", b"device", b"subsystem"
    }  # fmt: skip
    assert read(view, f"{disk}/uevent") == b"DEVNAME=sda\nDEVTYPE=disk\nMAJOR=8\nMINOR=0\n"
    assert read(view, f"{disk}/wwid") == b"\xff\0"
    assert stat.S_ISDIR(view.getattr(f"{disk}/queue".encode()).mode)
    links = {
        f"{disk}/subsystem": "../" * 9 + "class/block",
        "/class/block/sda": f"../..{disk}",
        "/block/sda": f"..{disk}",
        "/dev/block/8:0": f"../..{disk}",
        "/bus/pci/devices/0000:00:17.0": "../../../devices/pci0000:00/0000:00:17.0",
        "/devices/pci0000:00/0000:00:17.0/subsystem": "../../../bus/pci",
    }
    assert {link: view.readlink(link.encode()).decode() for link in links} == links


def test_what_cannot_be_opened(view: DeviceView) -> None:
    for path, flags, number in (
        (b"/devices/none", os.O_RDONLY, errno.ENOENT),
        (b"/devices/pci0000:00/0000:00:17.0/subsystem", os.O_WRONLY, errno.EACCES),
    ):
        with pytest.raises(OSError) as caught:
            view.open_file(path, flags)
        assert caught.value.errno == number
    with pytest.raises(OSError):
        view.getattr(b"/devices/none")


def test_what_is_written_to_uevent_is_sent(
    view: DeviceView, sent: list[tuple[str, Synthetic]]
) -> None:
    path = "/devices/pci0000:00/0000:00:17.0"
    assert view.open_file(f"{path}/uevent".encode(), os.O_WRONLY).write(b"add\n") == 4
    assert sent == [(path, Synthetic("add", (("SYNTH_UUID", "0"),)))]


# Written to /sys/devices/system/cpu/cpu0/uevent of a booted 6.12.117 (Debian's cloud kernel).
TAKEN = (
    *(
        "add\n",
        "add",
        "change\0",
        f"add {UUID}",
        f"add {UUID}\n",
        f"add {UUID} A=1 B=abc\n",
        "bind",
    ),
)
REFUSED = (
    *("\n", "ad", "addx", "add ", "add x", f"add {UUID} ", f"add {UUID} A", f"add {UUID} A="),
    *(f"add {UUID} =1", f"add {UUID} A_B=1", f"add {UUID} A=1 ", f"add {UUID}  A=1", "ADD"),
    *("add\n\n", f"add {UUID}x", f"add {UUID} A=1\n\n"),
)


def test_synthetic_events_as_a_booted_kernel_takes_them() -> None:
    for text in TAKEN:
        assert synthetic(text.encode()).action == text[: len(text.split()[0])].strip("\0")
    for text in REFUSED:
        with pytest.raises(OSError) as caught:
            synthetic(text.encode())
        assert caught.value.errno == errno.EINVAL, text
    assert synthetic(TAKEN[0].encode()).properties == (("SYNTH_UUID", "0"),)
    arguments = ("SYNTH_UUID", UUID), ("SYNTH_ARG_A", "1"), ("SYNTH_ARG_B", "abc")
    assert synthetic(TAKEN[5].encode()).properties == arguments


def test_the_message_has_the_kernels_order() -> None:
    """As udevadm monitor --property shows an event of a booted kernel: lib/kobject_uevent.c."""
    device = Device("/devices/system/cpu/cpu0", "cpu", (("MODALIAS", "cpu:x"),), {}, {})
    assert message(device, Synthetic("add", (("SYNTH_UUID", "0"),))).split(b"\0") == [
        b"add@/devices/system/cpu/cpu0", b"ACTION=add", b"DEVPATH=/devices/system/cpu/cpu0",
        b"SUBSYSTEM=cpu", b"SYNTH_UUID=0", b"MODALIAS=cpu:x", b""
    ]  # fmt: skip


def test_what_would_be_over_or_below_a_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "odd").write_text(
        "P: /devices/a\nE: SUBSYSTEM=b\nA: c=1\nA: c/d=2\nL: uevent=x\nL: e=f\nA: g=3\n\n"
        "P: /devices/a/g\nE: SUBSYSTEM=b\nA: h=4\n\nP: /devices/x/a\nE: SUBSYSTEM=b\nA: dev=/\n"
    )
    view = DeviceView(read_devices(tmp_path / "odd"), lambda device, event: None)
    assert {*view.names(b"/devices/a")} == {b"uevent", b"c", b"e", b"g", b"subsystem"}
    assert read(view, "/devices/a/c") == b"1"
    assert read(view, "/devices/a/g/h") == b"4"
    assert view.readlink(b"/class/b/a") == b"../../devices/a"
    assert {*view.names(b"/dev")} == set()  # "/" is no number
