"""A machine by its sosreport, which is a stranger's: what is told of it, and what it cannot do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.simulate.machine_file import machine_from
from loader.simulate.udev import boot
from modfs.machine import export_db
from modfs.machine.devices import Device, trigger_order
from modfs.machine.folder import Folder
from modfs.machine.look import machine_text
from modfs.machine.sysfs import devices as devices_of_sysfs
from tests.modfs.machine.sysfs_tree import make_sysfs

Modfs = Callable[..., subprocess.CompletedProcess[str]]
RELEASE = "5.14.0-503.el9.x86_64"
DB = "sos_commands/devices/udevadm_info_--export-db"

# As sos 4 lays it out: no sysfs to speak of, no module files, no modules.alias.
FILES = {
    DB: """\
P: /devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0007:00
L: 0
E: DEVPATH=/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0007:00
E: MODALIAS=acpi:ACPI0007:
E: SUBSYSTEM=acpi

P: /devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0007:01
E: DEVPATH=/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0007:01
E: MODALIAS=acpi:ACPI0007:
E: SUBSYSTEM=acpi

P: /module/xfs
E: DEVPATH=/module/xfs
E: SUBSYSTEM=module

P: /devices/pci0000:00/0000:00:02.0
E: DEVPATH=/devices/pci0000:00/0000:00:02.0
E: MODALIAS=pci:v00008086d00001572sv0sd0bc02sc00i00
E: SUBSYSTEM=pci

""",
    "sos_commands/kernel/uname_-a": (
        f"Linux web7 {RELEASE} #1 SMP PREEMPT_DYNAMIC Thu Aug 1 x86_64 x86_64 x86_64 GNU/Linux\n"
    ),
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: X\n\nprocessor\t: 1\n\n",
    "proc/meminfo": "MemTotal:       16777216 kB\n",
    "proc/cmdline": "ro udev.children_max=12\n",
    "etc/udev/udev.conf": "children_max=5\n",
    "proc/modules": (
        "i40e 700416 0 - Live 0x0\nlibie 20480 1 i40e, Live 0x0\nacpi_cpufreq 32768 0 - Live 0x0\n"
    ),
    f"lib/modules/{RELEASE}/modules.dep": (
        "kernel/drivers/net/i40e.ko.xz: kernel/lib/libie.ko.xz\n"
        "kernel/lib/libie.ko.xz:\n"
        "kernel/drivers/cpufreq/acpi-cpufreq.ko.xz:\n"
        "../../../../secret.ko:\n"
    ),
    "sos_commands/kernel/modinfo_ALL_MODULES": (
        f"filename:       /lib/modules/{RELEASE}/kernel/drivers/cpufreq/acpi-cpufreq.ko.xz\n"
        "alias:          acpi:ACPI0007:*\nlicense:        GPL\n"
        f"filename:       /lib/modules/{RELEASE}/kernel/drivers/net/i40e.ko.xz\n"
        "alias:          pci:v00008086d00001572sv*sd*bc*sc*i*\n"
        "filename:       /x/secret.ko\nalias: pci:v00008086d00001572*\n"
        "name:           fuse\nfilename:       (builtin)\n"
    ),
}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    root = tmp_path / "sosreport-web7"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "secret.ko").write_text("not to be read")
    return root


@pytest.fixture
def modfs(environment: dict[str, str], tmp_path: Path) -> Modfs:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["modfs", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    return run


def written(text: str) -> dict[str, Any]:
    """The machine file, which modfs simulate takes."""
    document = tomllib.loads(text)
    boot(machine_from(document))
    return document


def test_a_report(modfs: Modfs, report: Path) -> None:
    done = modfs("machine", "--root", report)
    document = written(done.stdout)
    assert document["processors"] == 2 and document["memory"] == 16 << 30
    assert (document["kernel"], document["without"]) == ("6.4", ["early-check"])
    assert document["userspace"]["workers"] == 12
    asking = [d for d in document["coldplug"][0]["devices"] if d["modules"]]
    assert [(d["modules"], d.get("count", 1)) for d in asking] == [
        (["acpi_cpufreq"], "processors"),
        (["i40e"], 1),
    ]
    assert document["modules"]["i40e"]["depends"] == ["libie"]
    assert "# estimated" in done.stdout and f"{RELEASE} is older" in done.stdout
    assert "secret: left out" in done.stdout and "not to be read" not in done.stdout
    assert done.stderr == ""


def test_a_database_that_was_cut(report: Path) -> None:
    text = (report / DB).read_text()
    (report / DB).write_text(text[: text.rindex("E: SUB")])
    told = machine_text(root=report)
    assert [d["modules"] for d in written(told)["coldplug"][0]["devices"]] == [["acpi_cpufreq"]]
    assert f"{DB} ends within a device" in told


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff\xfe\n\n", b"a" * 10_000, None])
def test_any_file_may_be_wrong(report: Path, name: str, content: bytes | None) -> None:
    """Damaged, empty, away, or a link to what is not the report's."""
    (report / name).unlink()
    if content is not None:
        (report / name).write_bytes(content)
    written(machine_text(root=report))


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_link_leads_out_of_it(report: Path, name: str, tmp_path: Path) -> None:
    """Were it followed, the machine would be as ever."""
    outside = tmp_path / "outside"
    outside.mkdir()
    elsewhere = outside / "file"
    shutil.move(report / name, elsewhere)
    away = machine_text(root=report)
    (report / name).symlink_to(elsewhere)
    assert machine_text(root=report) == away
    (report / name).unlink()
    (report / name).symlink_to(os.path.relpath(elsewhere, (report / name).parent))
    assert machine_text(root=report) == away
    (report / name).unlink()
    os.mkfifo(report / name)
    assert machine_text(root=report) == away


def test_a_release_that_is_a_path(report: Path, tmp_path: Path) -> None:
    (report / "proc/sys/kernel").mkdir(parents=True)
    (report / "proc/sys/kernel/osrelease").write_text("../../../../evil\n")
    written(machine_text(root=report))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.ko", "sosreport-web7"]


def test_truncated_links_of_sos_are_followed_within(report: Path) -> None:
    """sos keeps the end of what is too long in sos_strings, and links to it."""
    tail = report / "sos_strings/devices/db.tailed"
    tail.parent.mkdir(parents=True)
    text = (report / DB).read_text()
    tail.write_text(text[40:])
    (report / DB).unlink()
    (report / DB).symlink_to("../../sos_strings/devices/db.tailed")
    told = machine_text(root=report)
    assert "only its end is there" in told
    devices = written(told)["coldplug"][0]["devices"]
    assert [d["modules"] for d in devices] == [["acpi_cpufreq"], ["i40e"]]
    assert "count" not in devices[0]  # the first begins before


def test_folders_that_are_none(modfs: Modfs, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for option, told in (("--root", "nothing of a machine"), ("--sysfs", "no device is in there")):
        done = modfs("machine", option, "empty")
        assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1


def test_the_database_tells_what_sysfs_does(tmp_path: Path) -> None:
    """Of this machine, in udevadm's own words."""
    if shutil.which("udevadm") is None:
        pytest.skip("there is no udevadm")
    command = ["udevadm", "info", "--export-db"]
    for _ in range(20):  # devices come and go meanwhile
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        with Folder(Path("/sys")) as sys:
            real = {device.path: device for device in devices_of_sysfs(sys)}
        told = {device.path: device for device in export_db.devices(text)}
        if told == real:
            break
    if not real:
        pytest.skip("there is no device here")
    assert told == real
    assert not export_db.is_cut(text) and export_db.is_cut(text[:-30])


def test_the_same_order_from_both(tmp_path: Path) -> None:
    with Folder(make_sysfs(tmp_path / "sys")) as sys:
        found = devices_of_sysfs(sys)
    text = "".join(
        f"P: {path}\nE: SUBSYSTEM={subsystem}\n"
        + (f"E: MODALIAS={alias}\n" if alias else "")
        + "\n"
        for path, subsystem, alias in reversed(found)
    )
    assert trigger_order(export_db.devices(text)) == trigger_order(found)
    assert Device("/devices/system/cpu/cpu0", "cpu", None).is_processor
