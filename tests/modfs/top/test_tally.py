"""The events' sums are those of the account, and stay within a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.observe.call import ObservedCall
from loader.observe.recording_write import item_line
from loader.observe.replay import account, rules_of
from loader.release import release
from modfs.top import tally
from modfs.top.state import State
from modfs.top.tally import MODULE, REASON, VIEWS, WHO, Tally
from modfs.tracing.record import recording_of
from tests.modfs.top.events import duplicate, live
from tests.recordings import TRACES


@pytest.mark.parametrize("path", TRACES[-3:], ids=lambda path: path.name)
def test_sums_of_a_booted_kernel(path: Path) -> None:
    """All views have all bytes that the account has, which is held to the kernel's own texts."""
    recording = recording_of(path)
    made = Tally(rules_of(recording.header))
    made.take(item_line(item) for item in recording.items)
    counted = account(recording).snapshot()
    calls = [item for item in recording.items if isinstance(item, ObservedCall)]
    assert made.events == len(calls) and made.damaged == 0
    for view in VIEWS:
        assert sum(row.bytes for row in made.rows[view].values()) == counted.wasted_bytes
    assert sum(row.calls for row in made.rows[MODULE].values()) == len(calls)
    for row in counted.duplicates:
        assert made.rows[MODULE][row.name].failed >= row.count


def test_rows() -> None:
    made = Tally(release("6.4"))
    made.take([live(1, "xfs"), duplicate(2, "xfs", 1000), duplicate(3, "kvm", 10), b"{", b"[]"])
    xfs = made.rows[MODULE]["xfs"]
    assert (xfs.calls, xfs.failed, xfs.bytes, xfs.seconds, xfs.waited) == (2, 1, 1000, 0.75, 0.25)
    assert {name: row.calls for name, row in made.rows[WHO].items()} == {
        "modprobe": 1, "(udev-worker)": 2,
    }  # fmt: skip
    assert {name: row.bytes for name, row in made.rows[REASON].items()} == {
        "becoming: a duplicate": 1010
    }
    assert [failure.what for failure in made.failures] == ["xfs", "kvm"]
    assert (made.events, made.damaged) == (3, 2)


def test_what_was_lost_is_counted() -> None:
    made = Tally(release("6.4"))
    made.take(
        [b'{"n":7,"lost":"lost","count":12}', b'{"recording":1,"release":"6.4"}', b'{"end":3}']
    )
    assert (made.lost, made.events, made.damaged) == (12, 0, 0)


def test_it_stays_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_MOST_ROWS", 100)
    made = Tally(release("6.4"))
    made.take([duplicate(n, f"m{n}", n) for n in range(1, 1001)])
    rows = made.rows[MODULE]
    assert len(rows) <= 101 and len(made.failures) <= 200
    assert sum(row.bytes for row in rows.values()) == sum(range(1, 1001))
    assert sum(row.calls for row in rows.values()) == 1000
    assert "m1000" in rows and "m1" not in rows  # the costly ones keep their names


def test_the_latest_events_are_counted_once() -> None:
    """A follower opens the pipe before it reads the file, so some come twice."""
    state = State(Path("/m"), Tally(release("6.4")))
    past = [duplicate(1, "a", 1), duplicate(2, "a", 1)]
    state.take_events(past[:1])
    state.take_events([past[1], b'{"live":true}', past[1], duplicate(3, "a", 1)])
    state.take_events([duplicate(4, "a", 1)])
    assert state.tally is not None and state.tally.events == 4
