"""Rounds of pages, made what happened, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modfs.tracing.buffers import Round
from modfs.tracing.formats import PageFormat
from modfs.tracing.merge import Merge
from modfs.tracing.pages import read_page
from modfs.tracing.records import Raw, Records


class Missed(NamedTuple):
    """What a page tells that is not in it (see loader.observe.events.Lost)."""

    at: int
    gap: str
    times: int


def read_rounds(
    rounds: Iterable[Round], form: PageFormat, records: Records
) -> Iterator[Raw | Missed]:
    """All that is in them, as soon as its order is sure."""
    merge: Merge[Raw | Missed] = Merge()
    for one in rounds:
        come = {
            processor: [item for page in pages for item in _items(page, form, records)]
            for processor, pages in one.pages.items()
        }
        yield from merge.round(come, one.unfinished)


def _items(data: bytes, form: PageFormat, records: Records) -> Iterator[Raw | Missed]:
    """What is in a page."""
    page = read_page(data, form)
    at = page.records[0].at if page.records else 0
    if page.lost:
        yield Missed(at, "lost", page.lost)
    for record in page.records:
        at = record.at
        yield records.read(data, record) or Missed(at, "foreign", 1)
    if page.damaged:
        yield Missed(at, "torn", 1)
