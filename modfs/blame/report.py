"""What blame tells, as JSON: its fields and their schema."""

from __future__ import annotations

from typing import Annotated, Any

from loader.documents.document import Table, about, schema
from modfs.blame.savings import Saving, Savings
from modfs.blame.tables import TABLES, Blame, Row


class WastedTable(Table):
    """Bytes by the counter that has them."""

    kread: Annotated[int, about("invalid_kread_bytes.")]
    decompress: Annotated[int, about("invalid_decompress_bytes.")]
    becoming: Annotated[int, about("invalid_becoming_bytes.")]
    load: Annotated[int, about("invalid_mod_bytes.")]


class RowTable(Table):
    """Failed loads that have something in common."""

    name: Annotated[str, about("What: the module, who asked, the alias, the reason.")]
    failed: Annotated[int, about("How many.")]
    wasted_bytes: Annotated[int, about("As the kernel counts them.")]
    uncounted_bytes: Annotated[int, about("Of inits that failed, which the kernel does not count.")]
    seconds: Annotated[float, about("That they took.")]
    waited_seconds: Annotated[float, about("Of these, for other loads.")]
    reasons: Annotated[tuple[str, ...], about("By module: at which step.")] = ()
    devices: Annotated[int, about("By alias: that have it; 0: not known.")] = 0


class SavingTable(Table):
    """What would help."""

    remedy: Annotated[str, about("What.")]
    calls: Annotated[int, about("That it would spare or have answered otherwise.")]
    saved_bytes: Annotated[int, about("That less would be wasted.")]
    left_bytes: Annotated[int, about("That still would be.")]
    uncounted_bytes: Annotated[int, about("Spared besides, which the kernel does not count.")]
    names: Annotated[tuple[str, ...], about("Of modules or aliases that it is about.")]


class ReportTable(Table):
    """What was wasted, by whom, and what would help."""

    source: Annotated[str, about("What was looked at.")]
    kernel: Annotated[str, about("Whose rules count.")]
    calls: Annotated[int, about("About modules, in all.")]
    loaded: Annotated[int, about("Loads that succeeded.")]
    failed: Annotated[int, about("Loads that failed.")]
    wasted_bytes: Annotated[int, about("Of all kinds.")]
    wasted: Annotated[WastedTable, about("By kind.")]
    tables: Annotated[dict[str, tuple[RowTable, ...]], about("Most wasteful first.")]
    not_seen: Annotated[dict[str, int], about("What was not seen, and how often.")]
    replayed_bytes: Annotated[int | None, about("What a replay wastes with nothing changed.")]
    savings: Annotated[tuple[SavingTable, ...] | None, about("null: not looked for.")]


def report(
    source: str, kernel: str, found: Blame, by: tuple[str, ...], top: int, savings: Savings | None
) -> ReportTable:
    """All of it; of each table ``top`` rows."""
    return ReportTable(
        source=source,
        kernel=kernel,
        calls=found.calls,
        loaded=found.loaded,
        failed=found.failed,
        wasted_bytes=found.wasted.total,
        wasted=WastedTable(**found.wasted._asdict()),
        tables={name: tuple(map(_row, found.by(name)[:top])) for name in by or TABLES},
        not_seen=found.lost,
        replayed_bytes=savings and savings.base,
        savings=savings and tuple(map(_saving, savings.rows)),
    )


def _row(row: Row) -> RowTable:
    cell = row.cell
    return RowTable(
        name=row.name,
        failed=cell.failed,
        wasted_bytes=cell.wasted,
        uncounted_bytes=cell.uncounted,
        seconds=round(cell.seconds, 6),
        waited_seconds=round(cell.waited, 6),
        reasons=tuple(sorted(row.reasons)),
        devices=row.devices,
    )


def _saving(saving: Saving) -> SavingTable:
    return SavingTable(
        remedy=saving.remedy,
        calls=saving.calls,
        saved_bytes=saving.bytes,
        left_bytes=saving.left,
        uncounted_bytes=saving.uncounted,
        names=saving.names,
    )


def blame_schema() -> dict[str, Any]:
    """The JSON Schema of it."""
    return schema("blame", "What modfs blame --json prints.", ReportTable)
