"""Ctrl-C while ``modfs mount`` waits for its server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT

_PROGRAM = """
import sys
from modfs.mount import background
def interrupted(*_):
    raise KeyboardInterrupt
background.{0} = interrupted
sys.argv = ["modfs", "mount", sys.argv[1]]
from modfs.cli import main
main()
"""


@pytest.mark.parametrize("when", ["_check", "os.read"])
def test_it_leaves_no_mount_and_no_server(when: str, tmp_path: Path) -> None:
    """Be the server ready or not."""
    if when == "os.read":
        when = "os = __import__('types').SimpleNamespace(**vars(background.os)); background.os.read"
    command = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(when), tmp_path],
        cwd=PROJECT,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MODFS_TEST_GIVEN_UP": str(tmp_path)},
        timeout=60,
    )
    assert command.returncode == 130
    mark = f"MODFS_TEST_GIVEN_UP={tmp_path}\0".encode()
    for _ in range(200):
        if not any(_holds(name, mark) for name in os.listdir("/proc") if name.isdigit()):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the server is still there")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def _holds(process: str, mark: bytes) -> bool:
    try:
        return mark in Path("/proc", process, "environ").read_bytes()
    except OSError:
        return False
