"""A mount without root: by a user who may open /dev/fuse, in a mount namespace of the test."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SCRIPT = r"""
mknod "$1/fuse" c 10 229; chmod 666 "$1/fuse"; mount --bind "$1/fuse" /dev/fuse
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


def opened(*folders: Path) -> str:
    """Commands that show ``folders`` again where others may not enter a folder above them, as
    /root: that folder is covered by an empty one, and they are put back into it."""
    hidden = {folder: closed for folder in folders if (closed := closed_above(folder))}
    kept = {folder: f'"$1/kept{number}"' for number, folder in enumerate(hidden)}
    quoted = {path: shlex.quote(str(path)) for path in (*hidden, *hidden.values())}
    lines = [f"mkdir {kept[it]}; mount --bind {quoted[it]} {kept[it]}" for it in hidden]
    lines += [f"mount -t tmpfs -o mode=755 none {quoted[it]}" for it in set(hidden.values())]
    lines += [f"mkdir -p {quoted[it]}; mount --bind {kept[it]} {quoted[it]}" for it in hidden]
    return "".join(f"{line}\n" for line in lines)


def closed_above(folder: Path) -> Path | None:
    """The outermost folder above that others may not enter."""
    return next((path for path in reversed(folder.parents) if not path.stat().st_mode & 1), None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the namespace")
def test_mount_as_an_ordinary_user(workshop: Path, environment: dict[str, str]) -> None:
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("needs unshare and setpriv of util-linux")
    script = "set -e\n" + opened(Path(sys.base_prefix), PROJECT) + SCRIPT
    folder = Path("/tmp") / f"modfs-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", folder],
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
