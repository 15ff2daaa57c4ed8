"""Finds, fetches or builds the kernel that is to be recorded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from loader.errors import UserError
from loader.kconfig import find_kconfig
from tools.record.debian import CACHE, Kernel, fetch, fetch_source

_FRAGMENT = Path(__file__).with_name("minimal.config")
_VERSION = re.compile(r"\d+\.\d+")


def kernel(words: str, jobs: int) -> tuple[Kernel, Path | None]:
    """The kernel that ``words`` name, and its configuration. UserError; RuntimeError.

    6.12: Debian's newest binary kernel of that version. source:6.12: the same of its sources,
    built. source:FOLDER: a folder of sources. FILE.deb: a package of Debian's. A kernel image such
    as /boot/vmlinuz-RELEASE: the modules are those of /lib/modules/RELEASE beside it.
    """
    if words.startswith("source:"):
        rest = words.removeprefix("source:")
        source = fetch_source(rest) if _VERSION.fullmatch(rest) else Path(rest)
        return build(source, jobs)
    if _VERSION.fullmatch(words):
        found = fetch(words)
    elif words.endswith(".deb"):
        found = _unpacked(Path(words))
    elif Path(words).is_file():
        found = _installed(Path(words))
    else:
        raise UserError(
            f"KERNEL={words} is neither a version such as 6.12 or source:6.12, nor a .deb, nor an"
            " image such as /boot/vmlinuz-6.12.0"
        )
    return found, find_kconfig(found.modules)


def _installed(image: Path) -> Kernel:
    if image.name == "vmlinuz" and (image.parent / "modules.order").exists():
        return Kernel(image.parent.name, image, image.parent)  # as Debian has it since 7.2
    release = image.name.removeprefix("vmlinuz-")
    root = image.resolve().parent.parent
    for place in (root / "lib/modules" / release, root / "usr/lib/modules" / release):
        if place.is_dir():
            return Kernel(release, image, place)
    raise UserError(f"there are no modules of {image}: no {root}/lib/modules/{release}")


def _unpacked(package: Path) -> Kernel:
    """Of a package that holds both the image and the modules (up to 6.18)."""
    place = CACHE / package.stem
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["dpkg", "-x", package, place], check=True)
    images = list(place.glob("**/vmlinuz*"))
    if not images:
        raise UserError(f"{package} holds no kernel image; from 6.19 on give the version (6.19)")
    return _installed(images[0])


def build(source: Path, jobs: int) -> tuple[Kernel, Path]:
    """Build a small kernel with statistics, and its modules. UserError: it cannot be built."""
    if not (source / "Kconfig").is_file():
        raise UserError(f"{source} holds no sources of Linux")
    place = (CACHE / f"build-{source.resolve().name}").absolute()
    if not (place / "arch/x86/boot/bzImage").exists():
        place.mkdir(parents=True, exist_ok=True)
        _make(source, place, "tinyconfig")
        with (place / ".config").open("a") as file:
            file.write(_FRAGMENT.read_text())
        _make(source, place, "olddefconfig")
        _make(source, place, f"-j{jobs}", "bzImage", "modules")
    return built(place), place / ".config"


def built(place: Path) -> Kernel:
    """A folder in which a kernel was built, its modules put where a tree has them."""
    release = (place / "include/config/kernel.release").read_text().strip()
    modules = place / "modules" / release
    folder = modules / "kernel"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for module in place.rglob("*.ko"):
        if not module.is_relative_to(place / "modules"):
            shutil.copy(module, folder)
    return Kernel(release, place / "arch/x86/boot/bzImage", modules)


def symvers(kernel: Kernel) -> str:
    """What the kernel itself exports, where it was built here; else empty."""
    path = kernel.modules.parent.parent / "Module.symvers"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return "".join(line for line in lines if line.split("\t")[2] == "vmlinux")


def _make(source: Path, place: Path, *targets: str) -> None:
    log = place / "build.log"
    command = ["nice", "make", "-s", "-C", str(source), f"O={place}", *targets]
    environment = {**os.environ, "KBUILD_BUILD_TIMESTAMP": "2026-01-01"}
    with log.open("ab") as file:
        done = subprocess.run(command, stdout=file, stderr=file, env=environment)
    if done.returncode:
        raise UserError(f"{' '.join(command)} failed: {log} has what it said")
