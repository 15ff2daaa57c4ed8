"""Pages of the kernel's ring buffers and the formats of their records, damaged."""

from __future__ import annotations

from typing import NamedTuple

from loader.observe.assemble import Assembler
from loader.observe.events import Event
from loader.observe.replay import rules
from modfs.tracing.formats import FormatError, event_format, page_format
from modfs.tracing.merge import Merge
from modfs.tracing.pages import read_page
from modfs.tracing.records import Raw, Records
from tests.fuzz.mutate import Chance, damaged, damaged_text
from tests.fuzz.target import Target
from tests.modfs.tracing.recorded import RELEASES, recorded

_WORDS = (
    *("__data_loc char[]", "__rel_loc char[]", "char", "[]", "[16]", "common_pid"),
    *("size:0;", "size:8;", "offset:65535;", "offset:0;", "signed:1;", "field:", "ID: 5", "\n"),
)


class Buffers(NamedTuple):
    """A boot's pages, by processors, with what describes them."""

    release: str
    pages: dict[int, list[bytes]]
    header: str
    formats: tuple[str, ...]


def make(chance: Chance) -> Buffers:
    name = chance.choice(RELEASES)
    files = recorded(name).files
    pages = {
        processor: [damaged(chance, page) if chance.random() < 0.5 else page for page in each]
        for processor, each in recorded(name).pages().items()
    }
    formats = [files[each].decode() for each in files if each.endswith("/format")]
    header = files["events/header_page"].decode()
    if chance.random() < 0.3:
        place = chance.randrange(len(formats))
        formats[place] = damaged_text(chance, formats[place], _WORDS)
    if chance.random() < 0.1:
        header = damaged_text(chance, header, _WORDS)
    return Buffers(name, pages, header, tuple(formats))


def check(made: Buffers) -> str:
    """Whatever is damaged is told, each record is a record of its page, and calls come of it."""
    try:
        form = page_format(made.header)
        records = Records(map(event_format, made.formats), recorded(made.release).functions, hex)
    except FormatError as error:
        assert len(str(error).splitlines()) == 1, "a message is one line"
        return "FormatError"
    merge: Merge[Raw] = Merge()
    come: dict[int, list[Raw]] = {}
    torn = unknown = 0
    for processor, pages in made.pages.items():
        for data in pages:
            page = read_page(data, form)
            torn += page.damaged
            for record in page.records:
                assert form.data <= record.start <= record.end <= len(data)
                raw = records.read(data, record)
                unknown += raw is None
                if raw is not None:
                    come.setdefault(processor, []).append(raw)
    found = [*merge.round(come, frozenset()), *merge.round({}, frozenset())]
    assert [raw.at for raw in found] == sorted(raw.at for raw in found)
    assert len(found) == sum(map(len, come.values()))
    assembler = Assembler(rules(made.release), {raw.kind for raw in found})
    for n, raw in enumerate(found, 1):
        list(assembler.feed(Event(n, raw.at * 1e-9, "x", raw.tid, raw.kind, raw.fields)))
    list(assembler.finish())
    return "torn" if torn else "foreign" if unknown else "ok"


TARGETS = (Target("raw", make, check, 100),)
