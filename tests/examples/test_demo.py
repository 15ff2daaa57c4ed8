"""``make demo`` without the set-up: it shows what it says, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

DEMO = PROJECT / "examples/demo.sh"


@pytest.fixture
def demo_environment(workshop: Path, environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "TMPDIR": str(workshop)}


def nothing_left(folder: Path) -> bool:
    """No file, no mount and no process that was started in ``folder``."""
    return (
        not list(folder.iterdir())
        and str(folder) not in Path("/proc/self/mountinfo").read_text()
        and not any(os.fsencode(folder) in command for command in command_lines())
    )


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_bytes()


def test_demo_shows_stats_before_and_after(
    workshop: Path, demo_environment: dict[str, str]
) -> None:
    done = subprocess.run([DEMO], env=demo_environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = [line.split("\t")[1] for line in done.stdout.splitlines() if "ever loaded" in line]
    assert loaded[0] == "0" and int(loaded[1]) > 10
    assert "Duplicate failed modules:" in done.stdout
    assert nothing_left(workshop)


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("line", ["A new kernel", "race to load"])
def test_an_interrupted_demo_leaves_nothing(
    workshop: Path, demo_environment: dict[str, str], line: str, interrupt: signal.Signals
) -> None:
    """As Ctrl-C does, the signal goes to the whole group."""
    demo = subprocess.Popen(
        [DEMO], env=demo_environment, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert demo.stdout
    while line not in demo.stdout.readline():
        assert demo.poll() is None
    os.killpg(demo.pid, interrupt)
    demo.stdout.read()
    assert demo.wait(30) == 128 + interrupt
    assert nothing_left(workshop)
