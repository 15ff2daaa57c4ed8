"""The Debian package: built, looked through by lintian, installed and used on a Debian 13."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.packages.conftest import copy_project, run

_BUILD = (
    *("debhelper", "dh-python", "dpkg-dev", "pybuild-plugin-pyproject", "python3-all"),
    *("python3-hatchling", "python3-click", "python3-fusepy", "python3-msgspec"),
    *("python3-pyelftools", "python3-zstandard", "lintian", "man-db", "kmod", "fuse3"),
)
_MIRROR = "http://deb.debian.org/debian"
# The project has no mail address that Debian would take.
_SUPPRESSED = "bogus-mail-host,bogus-mail-host-in-debian-changelog"

BUILD = f"""
set -e
cd /build/modfs
dpkg-buildpackage -us -uc -d >/build/log 2>&1 || {{ tail -n 40 /build/log; exit 1; }}
cd /build
lintian --fail-on error --suppress-tags {_SUPPRESSED} modfs_*.changes
apt-get install -y --no-install-recommends ./modfs_*.deb >/dev/null
"""
USE = """
set -e
cd /tmp
modfs --version
modfs mkmod --demo tree
mkdir m
mount -t fuse.modfs modfs m -o kernel=6.4,modules=tree
echo 'modprobe xfs' > m/control
head -n 1 m/stats
modfs status --json m
man -w modfs-control mount.fuse.modfs
umount m
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root")
@pytest.mark.timeout(1500)
def test_on_debian_13(tmp_path: Path) -> None:
    root = tmp_path / "root"
    include = f"--include={','.join(_BUILD)}"
    run("mmdebstrap", "--quiet", "--variant=apt", include, "trixie", root, _MIRROR)
    source = root / "build/modfs"
    source.mkdir(parents=True)
    copy_project(source)
    run("unshare", "--mount", "sh", "-c", _inside(root, BUILD))
    used = run("unshare", "--mount", "sh", "-c", _inside(root, USE)).stdout
    assert "Python 3.13" in used
    assert "Mods ever loaded\t3" in used
    assert '"kernel": "6.4"' in used
    assert "/usr/share/man/man5/modfs-control.5.gz" in used


def _inside(root: Path, script: str) -> str:
    """In that root, with this machine's devices."""
    chroot = f"chroot {root} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root"
    return (
        f"mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc && "
        f"mount -t tmpfs none {root}/tmp && exec {chroot} sh -c {_quoted(script)}"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
