"""What others print and modfs shows: the kernel's stats, events, recordings that are drawn."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from loader.errors import UserError
from loader.observe.recording import Recording
from loader.release import release
from modfs.export.measures import Measured
from modfs.export.read import of_recording
from modfs.export.write import as_json
from modfs.pictures.html import page
from modfs.pictures.story import story
from modfs.pictures.svg import drawing
from modfs.pictures.trace_event import trace
from modfs.texts import stats
from modfs.texts_read import read_stats
from modfs.top.screen import screen
from modfs.top.state import State
from modfs.top.tally import VIEWS, Tally
from tests.fuzz.fuzz_traces import make_recording
from tests.fuzz.mutate import Chance, damaged_text
from tests.fuzz.seeds import DATA
from tests.fuzz.target import Target

_REPORTS = tuple(sorted((DATA / "seeds").glob("*.stats")))
_VALUES = (
    "\t",
    "\n",
    "-1",
    "18446744073709551616",
    "Becoming & Load",
    "\x00",
    "\udcff",
    "Load",
    " ",
)


def make_stats(chance: Chance) -> str:
    return damaged_text(chance, chance.choice(_REPORTS).read_text(), _VALUES)


def check_stats(text: str) -> str:
    """What is read of a text is what the kernel would print again, but for rows that are cut."""
    try:
        read = read_stats(text, "stats")
    except UserError as error:
        assert len(str(error).splitlines()) == 1, "a message is one line"
        return "UserError"
    if read.is_cut:
        return "cut"
    # A kernel with as few failures as a damaged text may say has no room for all of its rows.
    again = read_stats(stats(read.snapshot), "again").snapshot
    rows = read.snapshot.duplicates[: len(again.duplicates)]
    assert again == replace(read.snapshot, duplicates=rows)
    return "ok"


def check_events(data: bytes) -> str:
    """Whatever lines come, they are counted, and the screen is a screen."""
    state = State(Path("/m"), Tally(release("6.4")))
    state.take_events([b'{"live":true}', *data.split(b"\n")])
    for view in VIEWS:
        state.show(view)
        for line in screen(state, 80, 24):
            assert line.text.isprintable() and len(line.text) <= 80
    assert state.tally is not None
    return "damaged" if state.tally.damaged else "ok"


def check_pictures(data: bytes) -> str:
    """A recording that can be read can be drawn and measured, and what is made is well formed."""
    with tempfile.NamedTemporaryFile(prefix="modfs-fuzz-") as file:
        path = Path(file.name)
        path.write_bytes(data)
        try:
            recording = Recording.read(path)
            told = story(recording, "fuzz")
        except UserError as error:
            assert len(str(error).splitlines()) == 1, "a message is one line"
            return "UserError"
    page([told]).encode("utf-8")
    ElementTree.fromstring(drawing([told]).encode("utf-8"))
    json.loads(trace([told]))
    measured = Measured(5)
    of_recording(measured, recording)
    as_json(measured)
    return "ok"


TARGETS = (
    Target("stats", make_stats, check_stats, 100),
    Target("events", make_recording, check_events, 60),
    Target("pictures", make_recording, check_pictures, 60),
)
