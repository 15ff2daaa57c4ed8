"""Replays through a mount: whatever becomes of who asks, nothing of the server is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recordings import DATA

DEPS = DATA / "transcripts/linux-6.12/deps.jsonl"
FILES = ("--files", DATA / "files.tar.zst", "--modules", DATA / "modules.tar.zst")


def await_that(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [place for line in lines if (place := line.split()[4]).startswith(f"{folder}/")]


@pytest.fixture
def asking(workshop: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    """A replay that waits for an init routine of an hour, and the process that serves its mount."""
    slow = workshop / "slow.json"
    slow.write_text(json.dumps({"init": {"exporter": {"seconds": 3600}}}))
    words = ["modfs", "verify", "--through-mount", *FILES, "--environment", slow, DEPS]
    process = subprocess.Popen(
        [str(word) for word in words],
        env=environment | {"TMPDIR": str(workshop)},
        stderr=subprocess.PIPE,
        text=True,
    )

    def is_waiting() -> bool:
        assert process.poll() is None
        return any(
            '"waiting": [{' in Path(place, ".control/status").read_text()
            for place in mounts(workshop)
        )

    await_that(is_waiting)
    return process, int(Path(mounts(workshop)[0], ".control/server").read_text())


@pytest.mark.parametrize("signals", [("INT",), ("INT", "INT"), ("TERM",), ("KILL",)], ids="-".join)
def test_whoever_asks_may_end_in_any_way(
    asking: tuple[subprocess.Popen[str], int], workshop: Path, signals: tuple[str, ...]
) -> None:
    process, server = asking
    serving = os.pidfd_open(server)
    assert server != process.pid
    for name in signals:
        process.send_signal(getattr(signal, f"SIG{name}"))
        time.sleep(0.2)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    await_that(lambda: not mounts(workshop))
    await_that(lambda: not list(workshop.glob("modfs-verify-*/control")))
    with pytest.raises(ProcessLookupError):
        while True:
            signal.pidfd_send_signal(serving, 0)
            time.sleep(0.02)
    os.close(serving)
