"""What the guest's initramfs holds: Debian's udevd and kmod, busybox, one kernel's modules.

As initramfs-tools would lay it out: the same rules of udev, all modules unpacked. No package's
scripts are run; everything is copied out of the unpacked packages, libraries after the programs
that name them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from loader.packings import read_module
from tools.record.debian import Kernel, fetch_programs

SUITE = "bookworm"
PACKAGES = (
    "udev", "kmod", "busybox-static", "libc6", "libudev1", "libkmod2", "libacl1", "libblkid1",
    "libcap2", "liblzma5", "libpcre2-8-0", "libselinux1", "libssl3", "libzstd1",
)  # fmt: skip

# What runs, and where it is in the packages.
_PROGRAMS = ("lib/systemd/systemd-udevd", "bin/udevadm", "bin/kmod", "lib/udev/ata_id",
             "lib/udev/scsi_id")  # fmt: skip
_RULES = (
    "50-firmware", "50-udev-default", "60-block", "60-persistent-storage", "73-special-net-names",
    "75-net-description", "80-net-setup-link", "80-drivers",
)  # fmt: skip
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_LOADER = "lib64/ld-linux-x86-64.so.2"
_FOLDERS = ("bin", "dev", "etc/udev", "etc/modprobe.d", "lib64", "lib/udev/rules.d", "lib/modules",
            "proc", "run", "sbin", "sys", "tmp")  # fmt: skip
# The tree's parts that devices ask for, and what they depend on.
_PARTS = ("arch", "block", "crypto", "drivers", "lib", "virt")


def lay_out(kernel: Kernel, root: Path) -> None:
    """Fill ``root``, which is new. RuntimeError: a package, a program or a library is not there."""
    packages = fetch_programs(SUITE, PACKAGES)
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    _busybox(packages, root)
    for name in _PROGRAMS:
        _program(packages, name, root)
    (root / "sbin/modprobe").unlink(missing_ok=True)
    (root / "sbin/modprobe").symlink_to("/bin/kmod")
    for rules in _RULES:
        name = f"lib/udev/rules.d/{rules}.rules"
        shutil.copy(packages / name, root / name)
    _tree(kernel, root)


def udev_release() -> str:
    """That of the packages' udevd."""
    program = fetch_programs(SUITE, PACKAGES) / "lib/systemd/systemd-udevd"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def _busybox(packages: Path, root: Path) -> None:
    busybox = root / "bin/busybox"
    shutil.copy(packages / "bin/busybox", busybox)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in {*applets.stdout.split()} - {"busybox"}:
        (root / "bin" / applet).symlink_to("busybox")


def _program(packages: Path, name: str, root: Path) -> None:
    """A program and the libraries that it needs."""
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    shutil.copy(packages / name, place)
    loader = _LOADER.rpartition("/")[2]
    _copy(_library(packages, loader), root / _LOADER)
    left, seen = [place], {loader}
    while left:
        for library in set(_needed(left.pop())) - seen:
            seen.add(library)
            copied = root / _LIBRARIES[0] / library
            _copy(_library(packages, library), copied)
            left.append(copied)


def _copy(path: Path, place: Path) -> None:
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path.resolve(), place)


def _library(packages: Path, name: str) -> Path:
    for folder in _LIBRARIES:
        if (path := packages / folder / name).exists():
            return path
    raise RuntimeError(f"no package of {', '.join(PACKAGES)} has {name}")


def _needed(path: Path) -> Iterator[str]:
    """The libraries that a program or library names."""
    with path.open("rb") as file:
        try:
            sections = list(ELFFile(file).iter_sections())
        except ELFError:
            return
        for section in sections:
            if isinstance(section, DynamicSection):
                for tag in section.iter_tags("DT_NEEDED"):
                    yield vars(tag)["needed"]  # pyelftools names it by the tag


def _tree(kernel: Kernel, root: Path) -> None:
    """The kernel's modules, unpacked, with new indexes."""
    tree = root / "lib/modules" / kernel.release
    tree.mkdir()
    for index in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(kernel.modules / index, tree / index)
    for part in _PARTS:
        for path in (kernel.modules / "kernel" / part).rglob("*.ko*"):
            name = path.relative_to(kernel.modules).as_posix().partition(".ko")[0] + ".ko"
            place = tree / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read_module(path))
    subprocess.run(["depmod", "-b", root, kernel.release], check=True)
