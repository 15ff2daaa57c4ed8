"""Requests of the kernel's own through a real mount, as a shell makes them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree

SCRIPT = r"""
cd "$1"
try() { { echo "$2" > "$1"; } 2>&1 | sed 's/.*write error: //'; cat "$1" | tail -n 1; }
try autoload/modules_disabled 0
try autoload/enable_dups_trace 1
try autoload/enable_dups_trace 0
try control 'request_module fs-myfs'
try control 'request_module fs-nope'
try control 'request_module fs-nope'
try control 'get_fs_type nope'
try autoload/modprobe /KMOD_TEST_NONEXISTENT
try control 'request_module base'
try autoload/modprobe ''
try control 'request_module base'
try autoload/modules_disabled 1
try autoload/modprobe /sbin/modprobe
try control 'request_module slow'
"""
TOLD = """\
Invalid argument
0
Y
Read-only file system
Y
1 ok
Remote I/O error
2 256 (exit status 1)
Remote I/O error
3 256 (exit status 1)
No such device
4 ENODEV
/KMOD_TEST_NONEXISTENT
No such file or directory
5 ENOENT

No such file or directory
6 ENOENT
1
/sbin/modprobe
Remote I/O error
7 256 (exit status 1)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    specs = (ModuleSpec("base"), ModuleSpec("myfs", aliases=("fs-myfs",)), ModuleSpec("slow"))
    write_tree(tmp_path / "tree", specs)
    (tmp_path / "slow.json").write_text('{"init": {"slow": {"seconds": 3600}}}')
    return tmp_path / "tree"


def test_a_session(mounted: Callable[..., Path], tree: Path, environment: dict[str, str]) -> None:
    mount = mounted("--modules", tree, "-o", "autoload-dups")
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "bash", str(mount)], env=environment, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    told = [
        f"{line.split()[0]} {line.rpartition(': ')[2]}" if "] " in line else line for line in lines
    ]
    assert "\n".join(told) + "\n" == TOLD, done.stdout
    log = (mount / "kmsg").read_text().splitlines()
    assert log.count("module-autoload: duplicate request for module fs-nope") == 2


def test_a_killed_writer_leaves_and_its_modprobe_goes_on(
    mounted: Callable[..., Path], tree: Path
) -> None:
    mount = mounted("--modules", tree, "--environment", tree.parent / "slow.json")
    script = f"echo request_module slow > {mount}/control"
    writer = subprocess.Popen(["bash", "-c", script])
    while "slow" not in (mount / ".control/proc_modules").read_text():
        time.sleep(0.01)
    writer.send_signal(signal.SIGTERM)
    assert writer.wait(60) == -signal.SIGTERM
    assert "slow" in (mount / ".control/proc_modules").read_text()
    assert (mount / "control").read_text().endswith("request_module slow: EINTR\n")


def test_only_root_may_set(mounted: Callable[..., Path], tree: Path) -> None:
    mount = mounted("--modules", tree)
    for name in ("modprobe", "modules_disabled"):
        assert os.stat(mount / "autoload" / name).st_mode & 0o777 == 0o644
    with pytest.raises(OSError) as raised:
        (mount / "autoload/other").write_text("x")
    assert raised.value.errno in (errno.EACCES, errno.ENOENT)
