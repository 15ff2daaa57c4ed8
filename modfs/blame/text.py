"""What blame tells, for people, on 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from loader.words import readable_size
from modfs.blame.report import ReportTable, RowTable, SavingTable

_NAME = 34  # characters of a name
_COLUMNS = 80
_HEADINGS = {"module": "MODULE", "who": "WHO ASKED", "alias": "ALIAS", "reason": "REASON"}


def text(report: ReportTable, top: int) -> Iterator[str]:
    """Its lines."""
    total = report.loaded + report.failed
    yield (
        f"{report.failed} of {total} loads failed and wasted {readable_size(report.wasted_bytes)}"
        f" ({report.source}, kernel {report.kernel})"
    )
    if report.not_seen:
        gone = ", ".join(f"{name} {count}" for name, count in report.not_seen.items())
        yield f"not all was seen: {gone}"
    for name, rows in report.tables.items():
        if rows:
            yield ""
            yield from _table(name, rows)
    if report.savings:
        yield ""
        yield from _savings(report.savings, report.replayed_bytes or 0, top)


def _table(name: str, rows: Sequence[RowTable]) -> Iterator[str]:
    more = {"module": "STEP", "alias": "DEVICES"}.get(name, "")
    width = min(_NAME, max(len(_HEADINGS[name]), *(len(row.name) for row in rows)))
    yield (
        f"{_HEADINGS[name]:<{width}}  {'FAILED':>7}  {'WASTED':>10}  {'TIME':>9}  {more}".rstrip()
    )
    for row in rows:
        told = {
            "module": " & ".join(reason.capitalize() for reason in row.reasons),
            "alias": str(row.devices) if row.devices else "?",
        }.get(name, "")
        counted = row.wasted_bytes or not row.uncounted_bytes
        size = readable_size(row.wasted_bytes if counted else row.uncounted_bytes)
        mark = "" if counted else "*"
        yield (
            f"{_short(row.name, width):<{width}}  {row.failed:>7}  {size + mark:>10}"
            f"  {row.seconds:>7.2f} s  {told}".rstrip()
        )
    if any(row.uncounted_bytes and not row.wasted_bytes for row in rows):
        yield "* of inits that failed, which the kernel counts nowhere"


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _savings(rows: Sequence[SavingTable], base: int, top: int) -> Iterator[str]:
    yield f"What would help (as it was, a replay wastes {readable_size(base)}):"
    for row in rows[:top]:
        sizes = [f"{readable_size(row.saved_bytes)} less wasted"] if row.saved_bytes > 0 else []
        if row.uncounted_bytes:
            sizes.append(f"{readable_size(row.uncounted_bytes)} that the kernel does not count")
        told = f"{row.remedy}: {', '.join(sizes)}, {readable_size(row.left_bytes)} left"
        if row.names:
            more = ", …" if len(row.names) > 4 else ""
            told += f" ({', '.join(row.names[:4])}{more})"
        yield from textwrap.wrap(
            told, _COLUMNS, initial_indent="- ", subsequent_indent="  ", break_long_words=False
        )
