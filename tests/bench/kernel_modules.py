"""Real kernel modules for the measurements: those of the kernel package this machine's apt knows.

They are fetched once into the cache folder, which git ignores; nothing is installed. All are kept
plain (``NAME.ko``) and as distributions compress them (``NAME.ko.zst``, ``NAME.ko.xz``); of the
last, which takes long, a third or so, spread evenly over the list.
"""

from __future__ import annotations

import gzip
import lzma
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import zstandard

from tests.bench.harness import CACHE

COUNTS = {".xz": 1200, ".zst": 1 << 20}  # at most, or nearly
META_PACKAGES = (f"linux-image-{platform.machine()}", "linux-image-amd64", "linux-image-arm64",
                 "linux-image-generic")  # fmt: skip
WITH_MODULES = re.compile(r"linux-(image|modules)-\d\S*")
# What scripts/Makefile.modinst of the kernel gives xz, and the one check the kernel understands.
XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]


def plain() -> list[Path]:
    """All modules, uncompressed. Raises RuntimeError where apt knows no kernel package."""
    folder = CACHE / "modules"
    if not _complete(folder):
        _unpack(_packages(), folder)
    return sorted(folder.glob("*.ko"))


def packed(suffix: str) -> list[Path]:
    """All or some of them, as files of that ending: ".xz", ".zst"."""
    folder = CACHE / f"modules{suffix}"
    if not _complete(folder):
        folder.mkdir(exist_ok=True)
        whole = plain()
        for module in whole[:: max(1, len(whole) // COUNTS[suffix])]:
            data = _PACK[suffix](module.read_bytes())
            (folder / f"{module.name}{suffix}").write_bytes(data)
        _mark_complete(folder)
    return sorted(folder.glob(f"*.ko{suffix}"))


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32, filters=XZ_FILTERS)


def zst(data: bytes) -> bytes:
    """As scripts/Makefile.modinst has zstd(1) do it."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, write_checksum=True)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


_PACK: dict[str, Callable[[bytes], bytes]] = {".xz": _xz, ".zst": zst}


def with_dependencies(name: str) -> list[Path]:
    """The files of a module and of those that it needs, in the order in which they can be loaded.
    CalledProcessError: there is no such module."""
    file = plain()[0].parent / f"{name}.ko"
    told = subprocess.check_output(["modinfo", "-F", "depends", file], text=True).strip()
    found: dict[Path, None] = {}
    for needed in filter(None, told.split(",")):
        found |= dict.fromkeys(with_dependencies(needed))
    return [*found, file]


def _packages() -> list[str]:
    """The names of the packages that hold the newest kernel's modules."""
    for meta in META_PACKAGES:
        listing = subprocess.run(
            ["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests",
             "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", meta],
            capture_output=True, text=True,
        ).stdout  # fmt: skip
        found = {line for line in listing.splitlines() if WITH_MODULES.fullmatch(line)}
        if found:
            return sorted(found)
    raise RuntimeError("apt knows no kernel package: run 'apt-get update' as root first")


def _unpack(packages: list[str], folder: Path) -> None:
    download = CACHE / "download"
    download.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *packages],
        cwd=download,
        check=True,
    )
    for package in sorted(download.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, download / "unpacked"], check=True)
    found = {_name(path): path for path in sorted(download.rglob("*.ko*"))}
    folder.mkdir(exist_ok=True)
    for name, path in found.items():
        (folder / f"{name}.ko").write_bytes(_uncompressed(path))
    _mark_complete(folder)
    subprocess.run(["rm", "-rf", download], check=True)


def _name(path: Path) -> str:
    return path.name.split(".ko")[0]


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(content)
        case ".gz":
            return gzip.decompress(content)
        case ".zst":
            return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    return content


def _complete(folder: Path) -> bool:
    return (folder / "complete").exists()


def _mark_complete(folder: Path) -> None:
    (folder / "complete").touch()
