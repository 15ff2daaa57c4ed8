"""Events of a kernel that is watched, to counters: how many a second, as its buffers gave them.

A storm of duplicates was recorded on Debian's 6.12; it is told again with other times. What comes
faster than it is understood waits, in memory and in the kernel's buffer, and nothing is lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from loader.observe.account import Account
from loader.observe.assemble import Assembler
from loader.observe.call import ObservedCall
from loader.observe.events import Event
from loader.observe.replay import rules
from modfs.tracing.buffers import Round
from modfs.tracing.names import Names
from modfs.tracing.reading import Missed, read_rounds
from modfs.tracing.records import Records
from tests.bench.harness import Row
from tests.modfs.tracing.recorded import Recorded, recorded

_SECONDS = 4.0
_AGAIN = 1 << 40  # nanoseconds between two tellings


def rows() -> Iterable[Row]:
    boot = recorded("6.12")
    seconds, events, calls = _watched(boot)
    what = "events of loads, from pages to counters"
    detail = f"{calls / seconds:,.0f} calls a second"
    yield Row(what, "none", events / seconds, 80_000, "a second", at_least=True, detail=detail)
    seconds, events = _decoded(boot)
    what = "the same, decoded and put in order"
    yield Row(what, "none", events / seconds, 80_000, "a second", at_least=True)


def _rounds(boot: Recorded, until: float) -> Iterator[Round]:
    """The boot's pages again and again."""
    times = 0
    while time.process_time() < until:
        times += 1
        pages = {
            processor: [_later(page, times * _AGAIN) for page in each]
            for processor, each in boot.pages().items()
        }
        yield Round(pages, frozenset())
    yield Round({}, frozenset())


def _later(page: bytes, nanoseconds: int) -> bytes:
    at = int.from_bytes(page[:8], "little") + nanoseconds
    return at.to_bytes(8, "little") + page[8:]


def _watched(boot: Recorded) -> tuple[float, int, int]:
    """Seconds, events, calls."""
    records = Records(boot.formats, boot.functions, hex)
    assembler = Assembler(rules("6.12"), boot.functions.values())
    account, names = Account(rules("6.12")), Names(lambda tid: "insmod")
    events = calls = 0
    begin = time.process_time()
    for raw in read_rounds(_rounds(boot, begin + _SECONDS), boot.page, records):
        assert not isinstance(raw, Missed)
        events += 1
        event = Event(events, raw.at / 1e9, names.of(raw), raw.tid, raw.kind, raw.fields)
        for item in assembler.feed(event):
            if isinstance(item, ObservedCall):
                calls += 1
                account.count(item)
    return time.process_time() - begin, events, calls


def _decoded(boot: Recorded) -> tuple[float, int]:
    """Seconds, events."""
    records = Records(boot.formats, boot.functions, hex)
    begin = time.process_time()
    events = sum(1 for _ in read_rounds(_rounds(boot, begin + _SECONDS), boot.page, records))
    return time.process_time() - begin, events
