"""A mount without root: by a user who may open /dev/fuse, in a mount namespace of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = r"""
set -e
mknod "$1/fuse" c 10 229; chmod 666 "$1/fuse"; mount --bind "$1/fuse" /dev/fuse
# Python itself may lie in a folder that others cannot enter: show it in an empty one.
if ! setpriv --reuid=65534 --clear-groups test -x "$2/bin"; then
    mkdir "$1/python"; mount --bind "$2" "$1/python"
    mount -t tmpfs -o mode=755 none "$3"; mkdir -p "$2"; mount --bind "$1/python" "$2"
fi
mkdir "$1/mount" "$1/home"; chown 65534:65534 "$1/mount" "$1/home"
exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -ec '
    cd "$0/home"
    modfs mkmod m.ko
    modfs mount "$0/mount"
    echo "insmod m.ko" > "$0/mount/control"
    cat "$0/mount/stats"
    stat -c %u "$0/mount/stats"
    modfs umount "$0/mount"
    ! grep fuse.modfs /proc/self/mounts
' "$1"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the namespace")
def test_mount_as_an_ordinary_user(workshop: Path, environment: dict[str, str]) -> None:
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("needs unshare and setpriv of util-linux")
    above = reversed([Path(sys.base_prefix), *Path(sys.base_prefix).parents])
    closed = next((path for path in above if not path.stat().st_mode & 1), "/nonexistent")
    folder = Path("/tmp") / f"modfs-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", folder, sys.base_prefix, closed],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    assert "Mods ever loaded\t1\n" in done.stdout
    assert done.stdout.endswith("65534\n")
