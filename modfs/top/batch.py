"""Reports one below the other: for files, pipes, and terminals whose cursor cannot be moved."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Annotated, Any, Literal

import msgspec

from loader.documents.document import Table, about, schema
from modfs.top.screen import screen
from modfs.top.session import Session
from modfs.top.state import State


def reports(session: Session, number: int | None) -> Iterator[State]:
    """The state after each sample, ``number`` of them or without end. Session.Gone."""
    with selectors.DefaultSelector() as selector:
        for child in session.children:
            selector.register(child, selectors.EVENT_READ)
        for done in count(1):
            session.has_news = False
            while not session.has_news:
                for key, _ in selector.select(session.due(time.monotonic())):
                    if not session.hear(key.fileobj):
                        selector.unregister(key.fileobj)
            yield session.state
            if done == number:
                return


def print_reports(
    session: Session, number: int | None, told: Callable[[State], str], first: bool
) -> None:
    """Print them. ``first``: at once what is known, which has no rates. Session.Gone."""
    if first:
        print(told(session.state), flush=True)
        number = None if number is None else number - 1
    if number != 0:
        for state in reports(session, number):
            print(told(state), flush=True)


def as_text(width: int, rows: int) -> Callable[[State], str]:
    """A screen with at most so many lines, and an empty line."""

    def told(state: State) -> str:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = screen(state, width, rows, note=now)
        return "".join(f"{line.text.rstrip()}\n" for line in lines)

    return told


# -- JSON -----------------------------------------------------------------------------------------

_Step = Literal["kread", "decompress", "becoming", "load"]


class WaitingTable(Table):
    """Somebody who waits."""

    process: Annotated[int, about("Its number.")]
    command: Annotated[str, about("Its name.")]
    request: Annotated[str, about("What it waits for.")]
    seconds: Annotated[float, about("How long by now.")]


class RowTable(Table):
    """Sums of one module, caller or reason."""

    name: Annotated[str, about("Its name.")]
    calls: Annotated[int, about("All calls; 0 where the mount has no events.")]
    failed: Annotated[int, about("Those that failed; without events duplicates alone.")]
    failed_per_second: Annotated[float, about("Since the report before.")]
    wasted_bytes: Annotated[int, about("What these had taken.")]
    seconds: Annotated[float, about("In the kernel, all together.")]
    waited_seconds: Annotated[float, about("Of these, for other loads.")]


class FailureTable(Table):
    """One call that failed."""

    at: Annotated[float, about("Seconds by the events' clock.")]
    who: Annotated[str, about("Its task.")]
    what: Annotated[str, about("The module, or its file.")]
    why: Annotated[str, about("The step and the errno.")]
    wasted_bytes: Annotated[int, about("What it had taken.")]


class TopTable(Table):
    """A report, one line."""

    time: Annotated[float, about("Seconds since 1970.")]
    place: Annotated[str, about("The mount.")]
    kernel: Annotated[str | None, about("Which it is; null: the mount does not say.")]
    loaded: Annotated[int, about("Modules that went live.")]
    failed: Annotated[dict[_Step, int], about("Failed loads, by step.")]
    wasted_bytes: Annotated[int, about("What they had taken.")]
    failed_per_second: Annotated[float, about("Since the report before.")]
    wasted_bytes_per_second: Annotated[float, about("Since the report before.")]
    events: Annotated[int | None, about("How many were seen; null: the mount has none.")]
    events_lost: Annotated[int, about("How many were not.")]
    by: Annotated[Literal["module", "who", "reason"], about("What the rows are of.")]
    rows: Annotated[tuple[RowTable, ...], about("Sorted as --sort says.")]
    waiting: Annotated[tuple[WaitingTable, ...], about("The longest first.")]
    failures: Annotated[tuple[FailureTable, ...], about("The latest, the last one first.")]


def as_json(rows: int) -> Callable[[State], str]:
    """One JSON object, with at most so many rows."""
    return lambda state: msgspec.json.encode(_table(state, rows)).decode()


def _table(state: State, rows: int) -> TopTable:
    snapshot, rates, tally = state.snapshot, state.rates(), state.tally
    assert snapshot is not None  # a session begins with a sample
    status = state.status or {}
    failed: dict[_Step, int] = {
        "kread": snapshot.failed_kreads,
        "decompress": snapshot.failed_decompress,
        "becoming": snapshot.failed_becoming,
        "load": snapshot.failed_load_modules,
    }
    lines = state.lines()[:rows]
    failures = list(tally.failures)[: -rows - 1 : -1] if tally else []
    return TopTable(
        time=round(time.time(), 3),
        place=str(state.place),
        kernel=status.get("kernel"),
        loaded=snapshot.modcount,
        failed=failed,
        wasted_bytes=snapshot.wasted_bytes,
        failed_per_second=round(sum(rates.failed.values()), 3),
        wasted_bytes_per_second=round(rates.wasted, 3),
        events=tally.events if tally else None,
        events_lost=tally.lost if tally else 0,
        by=state.view,  # type: ignore[arg-type]
        rows=tuple(
            RowTable(
                name=_clean(line.name),
                calls=line.calls,
                failed=line.failed,
                failed_per_second=round(line.rate, 3),
                wasted_bytes=line.wasted,
                seconds=round(line.seconds, 6),
                waited_seconds=round(line.waited, 6),
            )
            for line in lines
        ),
        waiting=tuple(
            WaitingTable(
                process=one["process"],
                command=_clean(one["command"]),
                request=_clean(one["request"]),
                seconds=one["seconds"],
            )
            for one in status.get("waiting") or ()
        ),
        failures=tuple(
            FailureTable(
                at=one.at,
                who=_clean(one.who),
                what=_clean(one.what),
                why=_clean(one.why),
                wasted_bytes=one.bytes,
            )
            for one in failures
        ),
    )


def _clean(text: str) -> str:
    """As UTF-8 can have it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def top_schema() -> dict[str, Any]:
    """The JSON Schema of a line that --json prints."""
    return schema("top", "A line that modfs top --json prints: one report.", TopTable)
