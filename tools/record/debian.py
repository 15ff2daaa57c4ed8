"""Debian's own kernels, fetched from its archive and unpacked, without touching the system's apt.

python -m tools.record.debian 6.12 7.3      prints where each was unpacked
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parent / ".cache"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SOURCES = (
    "http://deb.debian.org/debian bookworm main",
    "http://deb.debian.org/debian-security bookworm-security main",
    "http://deb.debian.org/debian trixie main",
    "http://deb.debian.org/debian trixie-backports main",
    "http://deb.debian.org/debian-security trixie-security main",
)
# Up to 6.18 all is in one package; since 6.19 the kernel itself is apart.
_PACKAGE = re.compile(r"linux-(image|binary)-(\d+\.\d+)\.(\d+)(-\d+)?(\+deb\d+)?-cloud-amd64")


@dataclass(frozen=True)
class Kernel:
    """One kernel: its release as uname -r has it, its image, its modules' folder.

    That folder is not there where the archive has the kernel, but no more its modules.
    """

    release: str
    image: Path
    modules: Path


def fetch(version: str) -> Kernel:
    """The newest cloud kernel of that version, such as 6.12. RuntimeError: there is none."""
    place = CACHE / version
    if not (place / "done").exists():
        place.mkdir(parents=True, exist_ok=True)
        names = _packages(version)
        _apt("download", *names, tool="apt-get", cwd=place)
        for package in place.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, place / "root"], check=True)
            package.unlink()
        (place / "done").touch()
    (image,) = (place / "root").glob("**/vmlinuz*")
    release = image.name.removeprefix("vmlinuz-")
    found = [path for path in (place / "root").glob("**/lib/modules/*") if path.is_dir()]
    modules = found[0] if found else place / "root/lib/modules" / release
    return Kernel(modules.name if found else release, image, modules)


def fetch_source(version: str) -> Path:
    """The unpacked source of the newest kernel of that version. RuntimeError: there is none."""
    name = f"linux-source-{version}"
    place = CACHE / name
    if not (place / "done").exists():
        _apt("update", tool="apt-get")
        if name not in _apt("pkgnames", name, tool="apt-cache").split():
            raise RuntimeError(f"Debian has no package {name}")
        place.mkdir(parents=True, exist_ok=True)
        _apt("download", name, tool="apt-get", cwd=place)
        (package,) = place.glob("*.deb")
        subprocess.run(["dpkg", "-x", package, place / "root"], check=True)
        (archive,) = (place / "root").rglob("linux-source-*.tar.*")
        subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
        shutil.rmtree(place / "root")
        package.unlink()
        (place / "done").touch()
    (source,) = (path for path in place.iterdir() if path.is_dir())
    return source


def fetch_programs(suite: str, packages: Sequence[str]) -> Path:
    """The root of what these packages of a suite, such as bookworm, hold. RuntimeError: one of them
    is not there."""
    place = CACHE / f"programs-{suite}"
    done, wanted = place / "done", " ".join(packages)
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _apt("update", tool="apt-get")
        names = [f"{name}/{suite}" for name in packages]
        _apt("download", *names, tool="apt-get", cwd=place)
        for package in place.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, place / "root"], check=True)
            package.unlink()
        done.write_text(wanted)
    return place / "root"


def _packages(version: str) -> list[str]:
    """Names of the packages that make up the newest such kernel, of those that are still there."""
    _apt("update", tool="apt-get")
    known = _apt("pkgnames", "linux-", tool="apt-cache").split()
    found = []
    for name in known:
        match = _PACKAGE.fullmatch(name)
        if match and match[2] == version:
            is_binary = match[1] == "binary"  # then it is apart from the modules
            found.append((int(match[3]), int((match[4] or "-0")[1:]), is_binary, name))
    if not found:
        raise RuntimeError(f"Debian has no cloud kernel {version}")
    name = max(found, key=lambda row: row[:3])[3]
    if "-binary-" not in name:
        return [name]
    apart = [name.replace("-binary-", f"-{kind}-") for kind in ("binary", "modules", "base")]
    return [part for part in apart if part in known]


def _apt(*words: str, tool: str, cwd: Path | None = None) -> str:
    home = CACHE / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "sources.list").write_text(
        "".join(f"deb [signed-by={_KEYRING}] {source}\n" for source in _SOURCES)
    )
    settings = (
        f"Dir::Etc::sourcelist={home}/sources.list",
        "Dir::Etc::sourceparts=-",
        f"Dir::State::Lists={home}/lists",
        f"Dir::Cache={home}/cache",
        "APT::Get::List-Cleanup=0",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
    )
    options = [word for setting in settings for word in ("-o", setting)]
    done = subprocess.run([tool, "-qq", *options, *words], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{tool} {words[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(fetch(wanted))
