"""Real kernel modules for the measurements: those of the kernel package this machine's apt knows.

They are fetched once into the cache folder, which git ignores; nothing is installed. From the
package's thousands a thousand or so are taken, spread evenly over the list, and kept twice: plain
(``NAME.ko``) and as the distributions compress them (``NAME.ko.xz``).
"""

from __future__ import annotations

import gzip
import lzma
import platform
import re
import subprocess
from pathlib import Path

from tests.bench.harness import CACHE

COUNT = 1200
META_PACKAGES = (f"linux-image-{platform.machine()}", "linux-image-amd64", "linux-image-arm64",
                 "linux-image-generic")  # fmt: skip
WITH_MODULES = re.compile(r"linux-(image|modules)-\d\S*")
# What scripts/Makefile.modinst of the kernel gives xz, and the one check the kernel understands.
XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]


def plain() -> list[Path]:
    """The modules uncompressed. Raises RuntimeError where apt knows no kernel package."""
    folder = CACHE / "ko"
    if not _complete(folder):
        _unpack(_packages(), folder)
    return sorted(folder.glob("*.ko"))


def compressed() -> list[Path]:
    """The same modules as .ko.xz."""
    folder = CACHE / "ko.xz"
    if not _complete(folder):
        folder.mkdir(exist_ok=True)
        for module in plain():
            packed = lzma.compress(module.read_bytes(), check=lzma.CHECK_CRC32, filters=XZ_FILTERS)
            (folder / f"{module.name}.xz").write_bytes(packed)
        _mark_complete(folder)
    return sorted(folder.glob("*.ko.xz"))


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
    chosen = sorted(found)[:: max(1, len(found) // COUNT)]
    folder.mkdir(exist_ok=True)
    for name in chosen:
        (folder / f"{name}.ko").write_bytes(_uncompressed(found[name]))
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
