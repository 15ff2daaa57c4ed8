"""What the tests of several rooms share: the installed command, and mounts that end with the test.

A mount here is the real one: ``modfs mount`` as a user types it, through the kernel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mounts import unmount_below

PROJECT = Path(__file__).parent.parent
COMMANDS = Path(sys.executable).parent
"""The folder that holds the command ``modfs``."""


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For programs that a test starts: ``modfs`` and ``python3`` are the ones under test, and
    messages are in English."""
    path = f"{COMMANDS}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; whatever is mounted in it at the end of the test is unmounted."""
    yield tmp_path
    unmount_below(tmp_path)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that everybody can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="modfs-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def mounted(workshop: Path, environment: dict[str, str]) -> Callable[..., Path]:
    """Mount modfs with the given options: ``mounted("--kernel", "6.4") -> Path``."""

    def mount(*options: str | Path) -> Path:
        folder = workshop / f"mount{len(list(workshop.glob('mount*')))}"
        folder.mkdir()
        command = ["modfs", "mount", *map(str, options), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return folder

    return mount
