"""modfs machine: what it writes of a machine, and that modfs simulate takes it as it is."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.packings import read_module
from loader.simulate.machine_file import machine_from, read_machine
from loader.simulate.udev import boot
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from modfs.tracing.text import read_text
from tests.modfs.machine.sysfs_tree import DEVICES, make_sysfs
from tests.recordings import DATA

Modfs = Callable[..., subprocess.CompletedProcess[str]]
RELEASE = "6.12.9-test"
MODULES = [
    ModuleSpec("irqbypass"),
    ModuleSpec("kvm", depends=("irqbypass",)),
    ModuleSpec("kvm-intel", depends=("kvm",), aliases=("cpu:type:x86,ven0000*:feature:*,0001*",)),
    ModuleSpec("aesni-intel", aliases=("cpu:type:x86,*:feature:*,0001*",)),
    ModuleSpec("acpi-cpufreq", aliases=("acpi:LNXCPU:",)),
    ModuleSpec("e1000", aliases=("pci:v00008086d0000100E*",)),
    ModuleSpec("virtio_blk", aliases=("virtio:d00000002v*",)),
    ModuleSpec("virtio_pci", aliases=("pci:v00001AF4d*",)),
]


@pytest.fixture
def modfs(environment: dict[str, str], tmp_path: Path) -> Modfs:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["modfs", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's /: two processors, a tree, modprobe.d, udev.conf, a kernel command line."""
    root = tmp_path / "root"
    make_sysfs(root / "sys")
    write_tree(root / "lib/modules" / RELEASE, MODULES)
    for name, text in {
        "proc/sys/kernel/osrelease": f"{RELEASE}\n",
        "proc/meminfo": "MemTotal:        4194304 kB\nMemFree: 1 kB\n",
        "proc/cmdline": "root=/dev/vda1 modprobe.blacklist=aesni_intel quiet\n",
        "etc/udev/udev.conf": "# a comment\n#children_max=1\nchildren_max=7\n",
        "etc/modprobe.d/a.conf": (
            "blacklist virtio_pci\ninstall e1000 /bin/false\nsoftdep kvm-intel pre: virtio_blk\n"
        ),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def written(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The machine file, which is one for modfs simulate as well."""
    assert done.returncode == 0 and done.stderr == "", done.stderr
    document = tomllib.loads(done.stdout)
    boot(machine_from(document))
    return document


def asked(document: dict[str, Any]) -> dict[str, list[str]]:
    """What devices ask for, by their aliases."""
    devices = [one for coldplug in document["coldplug"] for one in coldplug["devices"]]
    return {one["alias"]: one["modules"] for one in devices if "alias" in one}


def test_a_machine(modfs: Modfs, root: Path) -> None:
    document = written(modfs("machine", "--root", root))
    assert document["processors"] == 2 and document["memory"] == 4 << 30
    assert document["kernel"] == RELEASE and document["compression"] == "none"
    assert document["userspace"] == {"workers": 7}
    assert asked(document) == {
        "acpi:LNXCPU:": ["acpi_cpufreq"],
        "virtio:d00000002v00001AF4": ["virtio_blk"],
        "cpu:type:x86,ven0000fam0006:feature:,0001": ["virtio_blk", "kvm_intel"],
    }
    of_processors = [
        d for d in document["coldplug"][0]["devices"] if d.get("count") == "processors"
    ]
    assert [one["modules"][-1] for one in of_processors] == ["acpi_cpufreq", "kvm_intel"]
    modules = document["modules"]
    assert modules["kvm_intel"]["depends"] == ["irqbypass", "kvm"]
    file = root / "lib/modules" / RELEASE / "kernel/kvm-intel.ko"
    files = list((root / "lib/modules" / RELEASE).rglob("kvm-intel.ko"))
    assert len(files) == 1 and modules["kvm_intel"]["size"] == files[0].stat().st_size, file
    counts = [one.get("count", 1) for one in document["coldplug"][0]["devices"]]
    # the driver e1000 and the module are told of as well
    assert sum(2 if count == "processors" else count for count in counts) == len(DEVICES) + 2
    assert set(modules) == {"acpi_cpufreq", "irqbypass", "kvm", "kvm_intel", "virtio_blk"}


def test_simulate_takes_it_with_more_processors(modfs: Modfs, root: Path, tmp_path: Path) -> None:
    """Each has a device of its own, and one of ACPI's."""
    (tmp_path / "m.toml").write_text(modfs("machine", "--root", root).stdout)
    larger = read_machine(tmp_path / "m.toml").with_processors(64)
    assert larger.devices == len(DEVICES) + 2 - 2 * 2 + 2 * 64
    done = modfs("simulate", "m.toml", "--cpus", "64", "--kernel", "6.4 without early-check")
    assert done.returncode == 0 and "Mods ever loaded\t5\n" in done.stdout


def test_this_machine(modfs: Modfs) -> None:
    document = written(modfs("machine"))
    assert document["processors"] >= 1 and document["memory"] > 1 << 20
    assert document["kernel"]


def test_a_copy_of_sysfs_and_a_tree(modfs: Modfs, root: Path) -> None:
    tree = root / "lib/modules" / RELEASE
    document = written(modfs("machine", "--sysfs", root / "sys", "--modules", tree))
    assert document["processors"] == 2 and "memory" not in document
    assert asked(document)["acpi:LNXCPU:"] == ["acpi_cpufreq"]


def test_modaliases_for_a_tree_that_simulate_is_given(
    modfs: Modfs, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.toml").write_text(modfs("machine", "--root", root, "--no-tree").stdout)
    assert "Mods ever loaded\t0" in modfs("simulate", "m.toml").stdout
    tree = root / "lib/modules" / RELEASE
    assert "Mods ever loaded\t8" in modfs("simulate", "m.toml", "--modules", tree).stdout


CONFIG = """\
#
# Linux/x86_64 6.12.9 Kernel Configuration
#
CONFIG_64BIT=y
CONFIG_MODULES=y
CONFIG_MODULE_COMPRESS_XZ=y
"""


@pytest.mark.parametrize(
    ("more", "call"), [("", "init_module"), ("CONFIG_MODULE_DECOMPRESS=y\n", None)]
)
def test_compressed_files(modfs: Modfs, root: Path, more: str, call: str | None) -> None:
    """What the kernel does not unpack itself, by its configuration, kmod does."""
    tree = root / "lib/modules" / RELEASE
    shutil.rmtree(tree)
    write_tree(tree, MODULES, compression="xz")
    (root / "boot").mkdir()
    (root / f"boot/config-{RELEASE}").write_text(CONFIG + more)
    document = written(modfs("machine", "--root", root))
    assert document["compression"] == "xz" and document["userspace"].get("call") == call
    [file] = tree.rglob("kvm-intel.ko.xz")
    module = document["modules"]["kvm_intel"]
    assert module["compressed"] == file.stat().st_size
    assert module["size"] == len(read_module(file))


def test_an_old_kernel(modfs: Modfs, root: Path) -> None:
    (root / "proc/sys/kernel/osrelease").write_text("6.1.0-56-amd64\n")
    document = written(modfs("machine", "--root", root))
    assert (document["kernel"], document["without"]) == ("6.4", ["early-check"])


# -- recordings -----------------------------------------------------------------------------------


def test_a_recorded_boot(modfs: Modfs, tmp_path: Path) -> None:
    """tests/oracle/data/README.md tells of it: 8 processors, and two inits that fail."""
    recording = DATA / "traces/udev8-early-6.12.txt.zst"
    aliases = ("cpu:type:x86,*",)
    tree = tmp_path / "tree"
    write_tree(
        tree, [ModuleSpec("powernow_k8", aliases=aliases), ModuleSpec("kvm", aliases=aliases)]
    )
    document = written(modfs("machine", recording, "--modules", tree))
    assert document["processors"] == 8 and document["memory"] == 4935140 << 10
    assert document["kernel"] == "6.12.117"
    [processors] = [d for d in document["coldplug"][0]["devices"] if d["modules"]]
    assert processors["count"] == "processors" and processors["modules"] == ["powernow_k8", "kvm"]
    powernow, kvm = document["modules"]["powernow_k8"], document["modules"]["kvm"]
    assert powernow["fails"] == "ENODEV" and powernow["seconds"] > 0
    assert "fails" not in kvm and kvm["seconds"] > 0


def test_the_order_of_a_recorded_coldplug(modfs: Modfs, tmp_path: Path) -> None:
    """By the numbers of the events, not by the lines; late devices where they came."""
    mark = "  x-1  [000] .....  1.000000: tracing_mark_write: uevent begin"
    boot = tmp_path / "boot.txt"
    boot.write_text(
        "@MACHINE\n2\nLinux (none) 6.12.1-x #1 SMP x86_64 GNU/Linux\nMemTotal: 2048 kB\n@END\n"
        "@BEFORE\n/sys/devices/a b:1\n/sys/devices/c b:2\n@END\n"
        "@AFTER\n/sys/devices/a b:1\n/sys/devices/c b:2\n/sys/devices/a/late b:3\n@END\n"
        f"@TRACE\n{mark} 9 /devices/a/late\n{mark} 7 add /devices/a\n{mark} 8 add /devices/c\n"
        f"{mark} 11 bind /devices/c\n"
        "  x-1  [000] .....  1.500000: module_load: some_module O\n"
        "  x-1  [000] .....  2.000000: tracing_mark_write: moment settled\n"
        f"{mark} 10 /devices/after\n@END\n"
    )
    done = modfs("machine", boot)
    document = written(done)
    assert list(asked(document)) == ["b:1", "b:2", "b:3"]
    assert len(document["coldplug"][0]["devices"]) == 4  # what is bound asks for nothing
    assert document["processors"] == 2 and document["memory"] == 2048 << 10


def test_a_recorded_boot_that_was_cut(modfs: Modfs, tmp_path: Path) -> None:
    """It is told; and never is another machine described instead."""
    text = read_text(DATA / "traces/udev8-early-6.12.txt.zst").decode()
    (tmp_path / "cut.txt").write_text(text[: text.index("/sys/devices/LNX")])
    done = modfs("machine", "cut.txt")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "modfs machine: cut.txt: it ends within the section @MACHINE\n"
    (tmp_path / "cut.txt").write_text(text[: text.index("@TRACE") + 200_000])
    done = modfs("machine", "cut.txt", "--no-tree")
    assert "ends within a section" in done.stdout and written(done)["processors"] == 8


def test_times_of_a_mount(modfs: Modfs, root: Path, mounted: Callable[..., Path]) -> None:
    document = written(modfs("machine", mounted(), "--root", root))
    assert document["processors"] == 2


def test_times_of_a_stream(modfs: Modfs, root: Path, tmp_path: Path) -> None:
    """What modfs record writes has no machine: that is looked at as ever."""
    lines = [
        '{"recording": 1, "release": "6.12.9"}',
        '{"n": 1, "call": "finit_module", "task": {"name": "a", "tid": 1}, "outcome": "live",'
        ' "module": "kvm", "phases": {"init": 1.0, "initialized": 1.25}}',
        '{"n": 2, "call": "finit_module", "task": {"name": "a", "tid": 1}, "result": "EIO",'
        ' "outcome": "init", "module": "kvm_intel",'
        ' "phases": {"init": 2.0, "initialized": 2.5}}',
        '{"end": 2, "events": 2}',
    ]
    (tmp_path / "boot.jsonl").write_text("\n".join(lines) + "\n")
    document = written(modfs("machine", "boot.jsonl", "--root", root))
    assert document["modules"]["kvm"]["seconds"] == 0.25
    assert document["modules"]["kvm_intel"]["seconds"] == 0.5
    assert document["modules"]["kvm_intel"]["fails"] == "EIO"
    assert "seconds" not in document["modules"]["irqbypass"]
