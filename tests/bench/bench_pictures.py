"""Pictures: how long a page of 10,000 calls takes to be there, and a screen of top."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from loader.engine.stats import Counters, Snapshot
from loader.observe.recording_write import item_line
from loader.release import release
from modfs.pictures.html import page
from modfs.pictures.story import story
from modfs.texts import stats
from modfs.top.screen import screen
from modfs.top.state import State
from modfs.top.tally import Tally
from modfs.top.watch import Told
from tests.bench.harness import Row, readable, timed
from tests.browser.browser import chromium, missing
from tests.modfs.pictures import many

CALLS = 10_000
ROUNDS = 5


def rows() -> Iterable[Row]:
    recording = many.recording(CALLS)
    if why := missing():
        print(f"no browser: {why}", file=sys.stderr)
    else:
        yield _page(page([story(recording, "bench")]))
    lines = [item_line(item).rstrip() for item in recording.items]
    yield from _top(lines)


def _page(text: str) -> Row:
    """From the address to the first whole picture, by the page's own clock."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.html")
        file.write_text(text, encoding="utf-8")
        times = []
        with chromium(Path(folder, "profile")) as browser:
            for _ in range(ROUNDS):
                browser.get("about:blank")
                browser.get(file.as_uri())
                while not browser.execute_script("return document.documentElement.dataset.drawn"):
                    pass
                drawn = browser.execute_script("return document.documentElement.dataset.drawn")
                times.append(int(drawn) / 1000)
    figure = statistics.median(times)
    return Row(
        f"page of {CALLS:,} calls, to its picture", "the clock, in Chromium", figure, 2.0, "s",
        detail=f"{len(text) / 1e6:.1f} MB; {readable(min(times))} to {readable(max(times))}",
    )  # fmt: skip


def _top(lines: list[bytes]) -> Iterable[Row]:
    """A second's worth of events, counted; then a screen of them."""
    state = State(Path("/m"), Tally(release("6.4")))
    told = Told(0, stats(Snapshot.of(Counters())), {"kernel": "6.4"})
    state.take(told, 0.0)
    state.take_events([b'{"live":true}'])
    counted = timed(lambda: state.take_events(lines))

    def redraw() -> None:
        state.take(told, 1.0)
        screen(state, 80, 24)

    drawn = statistics.median(timed(redraw) for _ in range(20))
    what = f"top, {CALLS:,} events"
    yield Row(f"{what}: a screen", "the clock", drawn * 1e3, 50, "ms", detail=readable(drawn))
    yield Row(
        f"{what}: counted", "the second they come in", counted, 0.5, "s", detail=readable(counted)
    )
