"""Events that somebody follows: none grows without bound, what is lost is told."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from loader.calls import Caller, DeleteModule
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.observe.recording import Recording
from modfs.mount import events as module
from modfs.mount.events import Events, EventsFile, PipeFile


def rmmod(live: LiveKernel, name: str) -> None:
    with pytest.raises(LoadError):
        live.call(DeleteModule(name))


def test_who_is_too_slow_loses_some_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEHIND", 2)
    live = LiveKernel()
    events = Events(live, 10)
    pipe = PipeFile(events, Caller(), 0)
    pipe.read(1 << 16, 0)
    for number in range(5):
        rmmod(live, f"m{number}")
    first = [json.loads(line) for line in pipe.read(1 << 16, 0).splitlines()]
    assert [line["module"] for line in first] == ["m0", "m1"]
    rmmod(live, "m5")
    lost, after = map(json.loads, pipe.read(1 << 16, 0).splitlines())
    assert (lost["lost"], lost["count"], after["module"]) == ("overwritten", 3, "m5")


def test_no_more_follow_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FOLLOWERS", 1)
    events = Events(LiveKernel(), 10)
    pipe = PipeFile(events, Caller(), 0)
    with pytest.raises(OSError) as caught:
        PipeFile(events, Caller(), 0)
    assert caught.value.errno == errno.EAGAIN
    pipe.release()
    PipeFile(events, Caller(), 0)


def test_a_reader_with_a_signal_leaves() -> None:
    pipe = PipeFile(Events(LiveKernel(), 10), Caller(lambda: True), 0)
    pipe.read(1 << 16, 0)
    with pytest.raises(OSError) as caught:
        pipe.read(1, 0)
    assert caught.value.errno == errno.EINTR


def test_a_file_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILE_BYTES", 4000)
    monkeypatch.setattr(module, "_AT_ONCE", 5)
    live = LiveKernel()
    path = tmp_path / "events.jsonl"
    file = EventsFile(Events(live, 10), str(path))
    for number in range(200):
        rmmod(live, f"m{number:03}")
    live.shutdown()
    file.close()
    for each in (path, tmp_path / "events.jsonl.1"):
        assert each.stat().st_size < 8000
        assert Recording.read(each).header.source == "engine"
    last = path.read_text().splitlines()[-1]
    assert json.loads(last)["module"] == "m199"


def test_a_file_that_others_put_there_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/etc/passwd")
    with pytest.raises(OSError):
        EventsFile(Events(LiveKernel(), 10), str(link))
