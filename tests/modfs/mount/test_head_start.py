"""A server's process that begins before it has an order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

# What begins, what becomes of it, and then what is left: children, descriptors.
_PROGRAM = """
import json, os, sys
from modfs.mount import head_start
from modfs.mount.background import ENGINE, Manner, Order
from modfs.mount.options import MountOptions
before = os.listdir("/proc/self/fd")
{0}
children = open("/proc/self/task/%d/children" % os.getpid()).read().split()
print(json.dumps([len(children), len(os.listdir("/proc/self/fd")) - len(before)]))
"""


def left(lines: str) -> list[int]:
    """Children, and descriptors more than before."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(lines)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_without_an_order_nothing_is_left() -> None:
    assert left("head_start.begin(['loader.errors']); head_start.abandon()") == [0, 0]
    assert left("head_start.abandon()") == [0, 0]


def test_it_waits_for_an_order() -> None:
    assert left("head_start.begin([])") == [1, 2]


def test_an_order_is_carried_out_once(tmp_path: Path) -> None:
    order = f"Order(int, {str(tmp_path / 'nowhere')!r}, MountOptions(), ENGINE, Manner())"
    told = f"""
head_start.begin(["modfs.mount.background_server"])
order = {order}
told = head_start.take(order)
said = b""
while more := os.read(told, 100):
    said += more
os.close(told)
assert b"int" in said, said
assert head_start.take(order) is None
os.wait()
"""
    assert left(told) == [0, 0]


def test_one_that_has_died_is_not_asked(tmp_path: Path) -> None:
    order = f"Order(int, {str(tmp_path)!r}, MountOptions(), ENGINE, Manner())"
    told = f"""
head_start.begin(["no.such.module"])
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
assert head_start.take({order}) is None
os.wait()
"""
    assert left(told) == [0, 0]


def test_no_process_can_be_had() -> None:
    told = """
def refuse():
    raise BlockingIOError
os.fork = refuse
head_start.begin([])
assert head_start.take(None) is None
"""
    assert left(told) == [0, 0]


def test_a_mount_that_is_refused_leaves_no_process(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """And is over at once: nobody holds what it writes to open."""
    mark = {"MODFS_TEST_HEAD_START": str(tmp_path)}
    done = subprocess.run(
        ["modfs", "mount", tmp_path / "nowhere"],
        env=environment | mark,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not [name for name in os.listdir("/proc") if name.isdigit() and _marked(name, mark)]


def _marked(process: str, mark: dict[str, str]) -> bool:
    [(name, value)] = mark.items()
    try:
        return f"{name}={value}\0".encode() in Path("/proc", process, "environ").read_bytes()
    except OSError:
        return False
