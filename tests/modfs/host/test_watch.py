"""What was loaded before the watch began, where the initramfs' hook began it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loader.observe.recording import Before
from modfs.host import watch
from modfs.tracing.hook import hook
from modfs.tracing.live import LiveTrace
from modfs.tracing.setup import Watched
from modfs.tracing.tracefs import BEFORE

MODULES = """\
dm_mod 208896 0 - Live 0xffffffffc0401000
zfs 5000000 2 spl,zavl, Live 0xffffffffc0500000 (POE)
"""


def test_the_hook_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the words of the script itself, in the shells that an initramfs has."""
    (line,) = (line for line in hook().splitlines() if str(BEFORE) in line)
    (tmp_path / "modules").write_text(MODULES)
    kept = tmp_path / "kept"
    line = line.replace("/proc/modules", str(tmp_path / "modules")).replace(str(BEFORE), str(kept))
    for shell in (["sh"], ["busybox", "sh"]):
        subprocess.run([*shell, "-c", line], check=True)
        assert kept.read_text() == MODULES
    monkeypatch.setattr(watch, "BEFORE", kept)
    trace = LiveTrace()
    trace.watched = Watched(tmp_path, True, [])
    assert watch.modules_before(trace) == [
        Before("dm_mod", 208896, ""),
        Before("zfs", 5000000, "POE"),
    ]
