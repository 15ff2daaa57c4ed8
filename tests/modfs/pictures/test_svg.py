"""The still picture is XML whatever names hold, and has every call at its time."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from modfs.pictures.lanes import lanes
from modfs.pictures.story import story
from modfs.pictures.svg import drawing, nice_step, span
from modfs.tracing.record import recording_of
from tests.modfs.pictures import hostile
from tests.recordings import STOCK, TRACES

SVG = "{http://www.w3.org/2000/svg}"
EARLY = next(path for path in TRACES if path.name.startswith("udev8-early"))


def test_every_call_is_there() -> None:
    told = story(recording_of(EARLY), "boot")
    root = ElementTree.fromstring(drawing([told]))
    calls = root.findall(f"{SVG}g")
    assert len(calls) == len(told.bars)
    failed = [call for call in calls if call.find(f"{SVG}rect[@class='failed']") is not None]
    assert len(failed) == sum(bar.failed for bar in told.bars)
    titles = [call.findtext(f"{SVG}title") or "" for call in calls]
    assert any(title.startswith("finit_module kvm by (udev-worker)-") for title in titles)
    widths = [
        sum(float(rect.get("width", 0)) for rect in call.findall(f"{SVG}rect"))
        for call in calls
        if call not in failed
    ]
    assert max(widths) > 10


def test_bars_lie_where_their_time_is() -> None:
    """Of eight calls on a stock kernel: the fourth loads loop, by its trace 0.58 s after the
    first."""
    told = story(recording_of(STOCK[1]), "x")
    root = ElementTree.fromstring(drawing([told]))
    loop = next(
        call for call in root.findall(f"{SVG}g")
        if "finit_module loop " in (call.findtext(f"{SVG}title") or "")
    )  # fmt: skip
    rect = loop.find(f"{SVG}rect")
    assert rect is not None
    share = (11.159445 - 10.577227) / (told.ended - told.began)
    assert float(rect.get("x", 0)) == pytest.approx(190 + share * 998, abs=0.01)


@pytest.mark.parametrize("title", ["boot", *hostile.NAMES])
def test_names_are_no_markup(title: str) -> None:
    text = drawing([story(hostile.recording(), title)])
    text.encode("utf-8")
    root = ElementTree.fromstring(text)
    known = {"svg", "style", "rect", "text", "tspan", "g", "title", "path"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == known
    assert not [name for element in root.iter() for name in element.attrib if name[:2] == "on"]


def test_two_sources_on_one_scale() -> None:
    one, two = (story(recording_of(path), path.name) for path in STOCK[:2])
    root = ElementTree.fromstring(drawing([one, two]))
    assert len(root.findall(f"{SVG}g")) == len(one.bars) + len(two.bars)


def test_rows_of_a_lane_do_not_overlap() -> None:
    told = story(recording_of(EARLY), "boot")
    made = lanes(told)
    assert sum(len(lane.bars) for lane in made) == len(told.bars)
    for lane in made:
        most = 0
        for row in lane.rows:
            assert all(a.end <= b.begin for a, b in pairwise(row))
        for bar in lane.bars:  # as many rows as calls at one time, and no more
            at_once = sum(one.begin <= bar.begin < one.end or one is bar for one in lane.bars)
            most = max(most, at_once)
        assert len(lane.rows) == most


@pytest.mark.parametrize(
    ("about", "step"), [(0.9, 1), (1, 1), (1.1, 2), (0.0021, 0.005), (30, 50), (70, 100)]
)
def test_steps(about: float, step: float) -> None:
    assert nice_step(about) == pytest.approx(step)


def test_times() -> None:
    assert [span(s) for s in (2.5, 0.0125, 0.00001)] == ["2.500 s", "12.5 ms", "10.0 µs"]
    assert [span(0.2, 0.1), span(2, 1), span(0.0002, 0.0001)] == ["200 ms", "2 s", "200 µs"]
