"""A mount without root: by a user who may open /dev/fuse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unprivileged import NOBODY, run_as_nobody

SCRIPT = """
cd "$1"
mkdir mount
modfs mkmod m.ko
modfs mount mount
echo "insmod m.ko" > mount/control
cat mount/stats
stat -c %u mount/stats
modfs umount mount
! grep "$1/mount fuse.modfs" /proc/self/mounts
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_mount_as_an_ordinary_user(open_folder: Path, environment: dict[str, str]) -> None:
    done = run_as_nobody(SCRIPT, open_folder, environment)
    assert done.returncode == 0, done.stderr
    assert "Mods ever loaded\t1\n" in done.stdout
    assert done.stdout.endswith(f"{NOBODY}\n")
