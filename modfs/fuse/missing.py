"""What to do where libfuse, or Python's knowledge of it, is missing: the command to type.

fuse3 brings fusermount and a libfuse 3 in every distribution. The older package, fuse, is never
named: on Debian 12 it takes fuse3 away with half a desktop, and from Debian 13 on it holds no
library.
"""

from __future__ import annotations

# What a system says that it is (os-release(5): ID, then ID_LIKE), and how it installs fuse3.
_INSTALL: dict[str, str] = {
    "debian": "apt-get install fuse3",
    "ubuntu": "apt-get install fuse3",
    "fedora": "dnf install fuse3",
    "rhel": "dnf install fuse3",
    "suse": "zypper install fuse3",
    "opensuse": "zypper install fuse3",
    "arch": "pacman -S fuse3",
    "alpine": "apk add fuse3",
}
# The first releases whose libfuse 2 is called libfuse2t64: those that made 64-bit time the rule.
_64_BIT_TIME: dict[str, float] = {"debian": 13, "ubuntu": 24.04}


def install_fuse() -> str:
    """How to install libfuse and fusermount here."""
    ids = _system().get("ID", ""), *_system().get("ID_LIKE", "").split()
    found = next((_INSTALL[name] for name in ids if name in _INSTALL), None)
    return f"install it with: {found}" if found else "install the package fuse3"


def install_libfuse2() -> str:
    """How to install libfuse 2 here, without what it would drive out."""
    system = _system()
    name = system.get("ID", "")
    if name not in _64_BIT_TIME:
        return "install libfuse 2"
    number = system.get("VERSION_ID", "")
    old = number.replace(".", "", 1).isdigit() and float(number) < _64_BIT_TIME[name]
    return f"apt-get install {'libfuse2' if old else 'libfuse2t64'}"


def _system() -> dict[str, str]:
    import platform  # only where something is missing

    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
