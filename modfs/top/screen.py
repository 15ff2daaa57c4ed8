"""What is shown, as lines of text: the same for a terminal and for --batch.

Names come from whoever asks: nothing of them reaches the terminal but letters that can be printed.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from modfs.top.state import CALLS, FAILED, NAME, RATE, TIME, WASTED, Line, State
from modfs.top.tally import MODULE, REASON, WHO

PLAIN, HEAD, TITLE = "plain", "head", "title"
LEAST_WIDTH, LEAST_HEIGHT = 40, 8

_NAMES = {MODULE: "MODULE", WHO: "WHO", REASON: "REASON"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
HELP = (
    "v      other rows: by module, by who asked, by reason",
    "s      sort by the next column",
    "w f r  sort by what was wasted, failed, failed a second",
    "c t n  sort by calls, time, name",
    "space  stop, go on",
    "+ -    slower, faster",
    "up down page-up page-down home   scroll",
    "q      leave",
    "h      back to the table",
)


class Shown(NamedTuple):
    """A line of the screen."""

    text: str
    kind: str = PLAIN


def screen(
    state: State, width: int, height: int | None, scroll: int = 0, note: str = ""
) -> list[Shown]:
    """The lines, none wider than ``width``; ``height`` None: as many as there are."""
    lines = [Shown(text) for text in _summary(state, note)]
    below = [*_waiting(state), *_failures(state)]
    table = state.lines()[scroll:]
    rows = len(table)
    if height is not None:
        most_below = max(0, min(len(below), (height - len(lines) - 2) // 2))
        rows = min(rows, max(1, height - len(lines) - 1 - most_below))
        below = _fitted(state, height - len(lines) - 1 - rows)
    lines.append(Shown(_titles(state, width), HEAD))
    lines += [Shown(_row(state, line, width)) for line in table[:rows]]
    lines += below
    shown = [Shown(clipped(line.text, width), line.kind) for line in lines]
    return shown if height is None else shown[:height]


def help_screen(width: int, height: int) -> list[Shown]:
    """The keys."""
    return [Shown(clipped(text, width)) for text in HELP][:height]


# -- the top --------------------------------------------------------------------------------------


def _summary(state: State, note: str) -> Iterator[str]:
    status = state.status or {}
    kernel = f"  kernel {status['kernel']}" if status.get("kernel") else ""
    since = f"  up {clock(time.time() - status['since'])}" if status.get("since") else ""
    silent = f"  NO ANSWER for {state.silent:.0f} s" if state.silent else ""
    # The place comes last: where there is no room, it is what one knows.
    yield f"modfs top{f'  {note}' if note else ''}{silent}{kernel}{since}  {state.place}"
    snapshot, rates = state.snapshot, state.rates()
    if snapshot is None:
        yield "waiting for the first answer"
        return
    failed = sum(
        (snapshot.failed_kreads, snapshot.failed_decompress, snapshot.failed_becoming,
         snapshot.failed_load_modules)
    )  # fmt: skip
    yield (
        f"loaded {snapshot.modcount} ({rates.loaded:.1f}/s)"
        f"  failed {failed} ({sum(rates.failed.values()):.1f}/s)"
        f"  wasted {size(snapshot.wasted_bytes)} ({size(rates.wasted)}/s)"
    )
    yield "  ".join(
        f"{step} {number} ({rates.failed[step]:.1f}/s)"
        for step, number in (
            ("kread", snapshot.failed_kreads),
            ("decompress", snapshot.failed_decompress),
            ("becoming", snapshot.failed_becoming),
            ("load", snapshot.failed_load_modules),
        )
    )
    if state.tally is not None:
        lost = f"  {state.tally.lost} events lost" if state.tally.lost else ""
        yield f"events {state.tally.events} ({rates.events:.1f}/s){lost}"


# -- the table ------------------------------------------------------------------------------------

_COLUMNS = ((CALLS, "CALLS", 8), (FAILED, "FAILED", 8), (RATE, "FAILED/S", 9),
            (WASTED, "WASTED", 11), (TIME, "TIME", 10))  # fmt: skip


def _columns(state: State, width: int) -> list[tuple[str, str, int]]:
    """Those that there is something for, and room: the last ones go first."""
    known = [
        column for column in _COLUMNS if state.tally is not None or column[0] in (FAILED, RATE)
    ]
    while known and sum(column[2] for column in known) > width - 14:
        known.pop(0 if known[0][0] == CALLS else -1)
    return known


def _titles(state: State, width: int) -> str:
    columns = _columns(state, width)
    room = width - sum(wide for _, _, wide in columns)
    name = _NAMES[state.view] + ("*" if state.sort == NAME else "")
    return name.ljust(room) + "".join(
        (title + ("*" if key == state.sort else "")).rjust(wide) for key, title, wide in columns
    )


def _row(state: State, line: Line, width: int) -> str:
    columns = _columns(state, width)
    room = width - sum(wide for _, _, wide in columns)
    return padded(clipped(line.name, room - 1), room) + "".join(
        _CELLS[key](line).rjust(wide) for key, _, wide in columns
    )


_CELLS: dict[str, Any] = {
    CALLS: lambda line: str(line.calls),
    FAILED: lambda line: str(line.failed),
    RATE: lambda line: f"{line.rate:.1f}",
    WASTED: lambda line: size(line.wasted),
    TIME: lambda line: span(line.seconds),
}


# -- below it -------------------------------------------------------------------------------------


def _fitted(state: State, room: int) -> list[Shown]:
    """Who waits, and the latest failures, in so many lines: each has half, or what is left."""
    waiting, failures = _waiting(state), _failures(state)
    half = max(room // 2, room - len(failures))
    top = waiting[:half] if len(waiting) > 1 else []
    rest = room - len(top)
    return [*top, *(failures[:rest] if rest > 1 else [])]


def _waiting(state: State) -> list[Shown]:
    """Who waits for what, the longest first; requests for the same thing one below the other."""
    waiting = (state.status or {}).get("waiting") or []
    if not waiting:
        return []
    by_request: dict[str, list[dict[str, Any]]] = {}
    for one in waiting:
        by_request.setdefault(str(one["request"]), []).append(one)
    lines = [Shown(f"WAITING ({len(waiting)})", TITLE)]
    for request, those in by_request.items():
        first = those[0]
        many = f"{len(those)} x" if len(those) > 1 else ""
        lines.append(
            Shown(
                f"{span(float(first['seconds'])):>9} {many:>5}  {first['command']}"
                f"[{first['process']}] {request}"
            )
        )
    return lines


def _failures(state: State) -> list[Shown]:
    if state.tally is None or not state.tally.failures:
        return []
    lines = [Shown("LATEST FAILURES", TITLE)]
    for failure in reversed(state.tally.failures):
        cost = f", {size(failure.bytes)}" if failure.bytes else ""
        lines.append(
            Shown(f"{failure.at:>13.6f}  {failure.who} {failure.what}: {failure.why}{cost}")
        )
    return lines


# -- words ----------------------------------------------------------------------------------------


def size(count: float) -> str:
    """Bytes, in a unit that leaves three or four digits."""
    value, unit = float(count), 0
    while abs(value) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def span(seconds: float) -> str:
    """A time, short."""
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 1e4 else clock(seconds)


def clock(seconds: float) -> str:
    """Days and a time of day."""
    days, rest = divmod(max(0, int(seconds)), 86400)
    told = f"{rest // 3600}:{rest % 3600 // 60:02}:{rest % 60:02}"
    return f"{days} d {told}" if days else told


def clipped(text: str, width: int) -> str:
    """As much as fits; what cannot be printed is a question mark."""
    made, used = [], 0
    for letter in text[: 4 * width + 4]:
        shown = letter if letter.isprintable() else "?"
        wide = _width(shown)
        if used + wide > width:
            break
        made.append(shown)
        used += wide
    return "".join(made)


def padded(text: str, width: int) -> str:
    """With spaces up to that width."""
    return text + " " * (width - sum(map(_width, text)))


def _width(letter: str) -> int:
    """Columns that it takes."""
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
