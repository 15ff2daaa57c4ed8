"""systemd-udevd itself, with devices that a file describes: its workers race through libkmod."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from tests.conftest import PROJECT
from tests.run.conftest import stats
from tests.unprivileged import run_as_nobody

PROCESSORS = 24
MODALIAS = "cpu:type:x86,ven0000fam0006mod00CF:feature:,0000,0001"
SPECS = (
    ModuleSpec("frequency", depends=("common",), aliases=("cpu:type:x86*",)),
    ModuleSpec("common"),
    ModuleSpec("loose", aliases=("cpu:type:x86*feature:*0001*",)),
)
SLOW = '{"init": {"frequency": {"seconds": 0.5, "returns": "ENODEV"}}}'

UDEVD = ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd")

pytestmark = pytest.mark.skipif(
    not any(os.access(path, os.X_OK) for path in UDEVD),
    reason="udev is not installed",
)


@pytest.fixture
def folder(open_folder: Path) -> Path:
    """For others to enter, with a tree and how its modules behave."""
    root = open_folder / "tree"
    write_tree(root, SPECS)
    base = open_folder / "base"
    (base / "lib/modules").mkdir(parents=True)
    (base / "lib/modules/1.0").symlink_to(root)
    subprocess.run(["depmod", "-b", base, "1.0"], check=True, capture_output=True)
    (open_folder / "slow.json").write_text(SLOW)
    return open_folder


def storm(folder: Path, kernel: str) -> list[str]:
    return [
        str(PROJECT / "examples/udev_storm.sh"), str(PROCESSORS), "--kernel", kernel,
        "--modules", str(folder / "tree"), "--environment", str(folder / "slow.json")
    ]  # fmt: skip


def frequency(text: str) -> dict[str, int]:
    """The row of a duplicate: its reasons, and how many times."""
    rows = re.findall(r"^\s*frequency\t\s*(\d+)\t\s*(.*)$", text, re.MULTILINE)
    return {reason: int(count) for count, reason in rows}


@pytest.mark.parametrize(
    ("kernel", "reason"), [("6.4", "Becoming"), ("6.4 without early-check", "Load")]
)
def test_the_storm(folder: Path, environment: dict[str, str], kernel: str, reason: str) -> None:
    """All workers but one are late; libkmod takes EEXIST for success, and asks no more once
    /sys/module/frequency says that it is coming, which some workers see before they try."""
    done = subprocess.run(
        storm(folder, kernel), env=environment | {"MODALIAS": MODALIAS}, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = stats(done.stdout)
    assert found["Mods ever loaded"] == 2  # frequency never was
    assert reason in frequency(done.stdout)
    assert 0 < frequency(done.stdout)[reason] < PROCESSORS


def test_an_ordinary_user_and_nothing_of_the_host_changes(
    folder: Path, environment: dict[str, str]
) -> None:
    before = sorted(os.listdir("/dev")), os.path.lexists("/run/udev/control")
    work = folder / "work"
    work.mkdir()
    script = " ".join(f"'{word}'" for word in storm(folder, "6.4"))
    done = run_as_nobody(script, work, environment | {"MODALIAS": MODALIAS})
    assert done.returncode == 0, done.stderr
    assert "Becoming" in frequency(done.stdout)
    assert before == (sorted(os.listdir("/dev")), os.path.lexists("/run/udev/control"))


DESCRIPTION = r"""P: /devices/pci0000:00/0000:00:02.0
E: DRIVER=i915
E: PCI_ID=8086:0A16
E: MODALIAS=pci:v00008086d00000A16
E: SUBSYSTEM=pci
A: vendor=0x8086\n

P: /devices/pci0000:00/0000:00:02.0/drm/card0
E: DEVNAME=/dev/dri/card0
E: DEVTYPE=drm_minor
E: MAJOR=226
E: MINOR=0
E: SUBSYSTEM=drm
A: dev=226:0\n

P: /devices/system/cpu/cpu0
E: MODALIAS=cpu:x
E: SUBSYSTEM=cpu
"""


@pytest.mark.skipif(shutil.which("umockdev-run") is None, reason="umockdev is not installed")
def test_libudev_sees_what_it_sees_under_umockdev(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "some.umockdev").write_text(DESCRIPTION)
    asked = ("udevadm", "info", "--export-db"), ("udevadm", "info", "-a", "/sys/class/drm/card0")
    for command in asked:
        said = [
            subprocess.run(
                [*words, *command], cwd=tmp_path, env=environment, capture_output=True, text=True,
                timeout=60,
            )
            for words in (
                ("umockdev-run", "--device", "some.umockdev", "--"),
                ("modfs", "run", "--devices", "some.umockdev", "--"),
            )
        ]  # fmt: skip
        assert said[0].stdout == said[1].stdout
        assert said[1].returncode == 0 and "0000:00:02.0" in said[1].stdout


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_events_are_heard_by_udevadm_monitor(run: Run, tmp_path: Path) -> None:
    (tmp_path / "some.umockdev").write_text(DESCRIPTION)
    done = run(
        "stdbuf -oL udevadm monitor --kernel --property >$PWD/heard &"
        " until grep -q ^KERNEL heard; do sleep 0.1; done; heard=$PWD/heard;"
        " cd /sys/devices/system/cpu/cpu0; echo add >uevent; echo nothing >uevent || echo refused;"
        " echo x >/sys/bus/pci/devices/0000:00:02.0/vendor || echo refused;"
        " until grep -q ^MODALIAS $heard; do sleep 0.1; done; kill $!; grep -v ^SEQNUM $heard",
        options=("--devices", "some.umockdev"),
        shell="bash",
    )
    assert done.stdout.splitlines()[:2] == ["refused", "refused"]
    heard = done.stdout
    assert re.search(r"^KERNEL\[[0-9.]+\] add +/devices/system/cpu/cpu0 \(cpu\)$", heard, re.M)
    # Root is told of the host's own events as well.
    [told] = [part for part in heard.split("\n\n") if "cpu0" in part]
    words = {line for line in told.splitlines() if "=" in line}
    assert words == {
        "ACTION=add", "DEVPATH=/devices/system/cpu/cpu0", "SUBSYSTEM=cpu", "SYNTH_UUID=0",
        "MODALIAS=cpu:x",
    }  # fmt: skip


def test_modules_have_events_of_their_own(run: Run, tmp_path: Path) -> None:
    """In the kernel's order; one whose init routine fails has none."""
    (tmp_path / "some.umockdev").write_text(DESCRIPTION)
    done = run(
        "stdbuf -oL udevadm monitor --kernel --property >heard &"
        " until grep -q ^KERNEL heard; do sleep 0.1; done;"
        " modprobe bad; modprobe middle; modprobe middle; echo change >/sys/module/base/uevent;"
        " rmmod middle;"
        " until grep -q ACTION=remove heard; do sleep 0.1; done; kill $!; cat heard",
        options=("--devices", "some.umockdev"),
        shell="bash",
    )
    event = re.compile(
        r"^ACTION=(.*)\nDEVPATH=(.*)\nSUBSYSTEM=module\n(SYNTH_UUID=0)?", re.MULTILINE
    )
    assert event.findall(done.stdout) == [
        ("add", "/module/base", ""), ("add", "/module/middle", ""),
        ("change", "/module/base", "SYNTH_UUID=0"), ("remove", "/module/middle", ""),
    ]  # fmt: skip


def test_a_rule_for_a_module_loads_another(folder: Path, environment: dict[str, str]) -> None:
    """80-drivers.rules has the one of parport_pc load ppdev."""
    write_tree(folder / "ports", (ModuleSpec("parport_pc"), ModuleSpec("ppdev")))
    (folder / "base/lib/modules/2.0").symlink_to(folder / "ports")
    subprocess.run(["depmod", "-b", folder / "base", "2.0"], check=True, capture_output=True)
    (folder / "some.umockdev").write_text(DESCRIPTION)
    udevd = next(path for path in UDEVD if os.access(path, os.X_OK))
    script = (
        f"export SYSTEMD_IGNORE_CHROOT=1; {udevd} --daemon; modprobe parport_pc;"
        " udevadm settle; udevadm control --exit; cut -d' ' -f1 /proc/modules"
    )
    words = ["modfs", "run", "--modules", str(folder / "ports"), "--devices", "some.umockdev"]
    done = subprocess.run(
        [*words, "--", "sh", "-c", script], env=environment, cwd=folder, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["ppdev", "parport_pc"]


def test_no_device_of_the_host_can_be_triggered(run: Run, tmp_path: Path) -> None:
    """Not even as /sys/devices/virtual/misc, which has the host's in links without --devices."""
    (tmp_path / "some.umockdev").write_text(DESCRIPTION)
    done = run(
        "cd /sys; ls devices block; find -L bus class dev devices -maxdepth 4 -name uevent |"
        " xargs -r realpath | sort -u",
        options=("--devices", "some.umockdev"),
    )
    assert done.stdout.split() == [
        "block:", "devices:", "pci0000:00", "system",
        "/sys/devices/pci0000:00/0000:00:02.0/drm/card0/uevent",
        "/sys/devices/pci0000:00/0000:00:02.0/uevent",
        "/sys/devices/system/cpu/cpu0/uevent",
    ]  # fmt: skip


def test_a_wrong_description_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("E: SUBSYSTEM=cpu\n")
    done = subprocess.run(
        ["modfs", "run", "--devices", "wrong", "--", "true"], env=environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 125
    assert done.stderr.splitlines() == [
        "modfs run: wrong:1: a device begins with a line such as P: /devices/system/cpu/cpu0"
    ]
