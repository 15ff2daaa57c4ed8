"""A whole live trace on a folder that stands for tracefs: recorded pages come through pipes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.errors import UserError
from loader.observe.events import Event, Lost
from modfs.tracing import setup
from modfs.tracing.live import LiveTrace
from modfs.tracing.probes import PROBES, TRACEPOINTS
from modfs.tracing.tracefs import own_name
from tests.modfs.tracing.recorded import Recorded, recorded


class Tracefs:
    """The folder. ``pipes``: of processors, for writing."""

    def __init__(self, root: Path, boot: Recorded) -> None:
        self.root = root
        self.pipes: dict[int, int] = {}
        for name, data in boot.files.items():
            path = root / name.replace("modfs_boot", own_name())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (root / "dynamic_events").write_text("")
        self.place = root / "instances" / own_name()
        for processor in boot.pages():
            folder = self.place / f"per_cpu/cpu{processor}"
            folder.mkdir(parents=True)
            os.mkfifo(folder / "trace_pipe_raw")
            self.pipes[processor] = os.open(folder / "trace_pipe_raw", os.O_RDWR)
            (folder / "stats").write_text("entries: 0\noverrun: 0\ndropped events: 0\n")
        for name in ("trace_marker", "trace_clock", "buffer_percent", "buffer_size_kb"):
            (self.place / name).write_text("")
        for event in (own_name(), *TRACEPOINTS):
            folder = self.place / "events" / event
            folder.mkdir(parents=True)
            (folder / "enable").write_text("0")
        (self.place / "events/enable").write_text("0")

    @contextmanager
    def found(self) -> Iterator[Path]:
        """As modfs.tracing.tracefs.tracefs."""
        yield self.root

    @contextmanager
    def instance(self, root: Path, name: str) -> Iterator[Path]:
        """As modfs.tracing.tracefs.instance."""
        assert (root, name) == (self.root, self.place.name)
        yield self.place


@pytest.fixture
def tracefs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracefs]:
    made = Tracefs(tmp_path, recorded("6.12"))
    monkeypatch.setattr(setup, "tracefs", made.found)
    monkeypatch.setattr(setup, "instance", made.instance)
    all_of_them = [probe._replace(spared_by="") for probe in PROBES]  # as when it was recorded
    monkeypatch.setattr(setup, "PROBES", all_of_them)
    yield made
    for pipe in made.pipes.values():
        os.close(pipe)


def told(tracefs: Tracefs, pages: dict[int, list[bytes]]) -> list[Event | Lost]:
    """What a live trace makes of pages."""
    with LiveTrace() as trace:
        for processor, each in pages.items():
            os.write(tracefs.pipes[processor], b"".join(each))
        trace.stop()
        return list(trace.events())


def test_all_that_is_in_the_buffers_is_given(tracefs: Tracefs) -> None:
    boot = recorded("6.12")
    found = told(tracefs, boot.pages())
    events = [event for event in found if isinstance(event, Event)]
    assert events == found
    lines = boot.lines()
    kinds = [(event.tid, event.kind) for event in events[: len(lines)]]
    assert kinds == [(line.tid, line.kind) for line in lines]
    assert [event.n for event in events] == list(range(1, len(events) + 1))
    assert (tracefs.place / "events/enable").read_text() == "0"


def test_what_the_buffers_lost_is_told_once(tracefs: Tracefs) -> None:
    """By a page that says so, and by the count of all."""
    pages = recorded("6.12").pages()
    first = bytearray(pages[0][0])
    used = int.from_bytes(first[8:12], "little") & 0xFFFFF
    first[11] |= 0xC0  # RB_MISSED_EVENTS, RB_MISSED_STORED
    first[16 + used : 24 + used] = (300).to_bytes(8, "little")
    stats = tracefs.place / "per_cpu/cpu0/stats"
    stats.write_text("overrun: 300\ncommit overrun: 2\ndropped events: 5\n")
    found = told(tracefs, {0: [bytes(first)]})
    assert [item[1:] for item in found if isinstance(item, Lost)] == [("lost", 300), ("lost", 7)]


def test_a_page_that_is_torn_and_records_unknown(tracefs: Tracefs) -> None:
    size = recorded("6.12").page.size
    page = recorded("6.12").pages()[0][0]
    end = 16 + (int.from_bytes(page[8:12], "little") & 0xFFFFF)
    foreign = page[:20] + b"\xff\xff" + page[22:]
    torn = page[:8] + (end - 16 - 2).to_bytes(4, "little") + page[12:]
    assert len(foreign) == len(torn) == size
    found = told(tracefs, {0: [foreign, torn]})
    assert sorted(item.gap for item in found if isinstance(item, Lost)) == ["foreign", "torn"]


def test_a_kernel_whose_records_are_described_in_another_way(tracefs: Tracefs) -> None:
    (tracefs.root / "events/header_page").write_text("field: u32 time; offset:0; size:4;\n")
    with pytest.raises(UserError, match="header_page"):
        told(tracefs, {})


def test_functions_that_cannot_be_probed(tracefs: Tracefs) -> None:
    (tracefs.root / "dynamic_events").unlink()
    with pytest.raises(UserError, match="no probe on load_module"):
        told(tracefs, {})


def test_a_probe_that_another_spares_is_not_defined(
    tracefs: Tracefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "PROBES", PROBES)
    told(tracefs, {})
    definitions = (tracefs.root / "dynamic_events").read_text()
    assert "/from_file " in definitions and "/shared " not in definitions
