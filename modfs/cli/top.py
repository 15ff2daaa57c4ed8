"""modfs top: what happens in a mount, live."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.errors import UserError
from modfs.cli.options import SOURCE
from modfs.cli.statuses import DONE, FAILED, MISUSED, complain, ending_with

if TYPE_CHECKING:
    from modfs.top.session import Session

_EXAMPLE = """
\b
Examples:
  modfs top /mnt/modules
  modfs top /sys/kernel/debug/modules --by reason
  modfs top /mnt/modules --batch -n 10 --delay 60 >> hourly.txt
"""

_VIEWS = ("module", "who", "reason")
_SORTS = ("wasted", "failed", "rate", "calls", "time", "name")


@click.command(epilog=_EXAMPLE)
@click.argument("mount", type=SOURCE)
@click.option("-d", "--delay", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True,
              metavar="SECONDS", help="Between two reports.")  # fmt: skip
@click.option("-b", "--batch", is_flag=True, help="One report below the other, no keys.")
@click.option("-n", "number", type=click.IntRange(1), metavar="N", help="End after N reports.")
@click.option("--by", type=click.Choice(_VIEWS), default="module", show_default=True,
              help="What the rows are of.")  # fmt: skip
@click.option("--sort", type=click.Choice(_SORTS), default="wasted", show_default=True,
              help="Which rows come first.")  # fmt: skip
@click.option("--rows", type=click.IntRange(8, 10_000), default=24, show_default=True,
              help="Lines of a report (--batch), rows (--json).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a report.")
def command(
    mount: Path, delay: float, batch: bool, number: int | None, by: str, sort: str, rows: int,
    as_json: bool,
) -> int:  # fmt: skip
    """Show which modules are loaded in vain, for whom and why, who waits, and what failed last.

    MOUNT is the mountpoint of a modfs, or /sys/kernel/debug/modules of a real kernel, which tells
    of duplicates alone. Keys: v other rows, s or a column's letter sorts, space stops, h tells all,
    q leaves. Where the terminal cannot move its cursor, or the output is none, it is as with
    --batch.

    When the mount goes away, it ends.
    """
    from modfs.top.session import Gone, Session

    if number is not None and not (batch or as_json):
        raise UserError("-n is for --batch and --json", status=MISUSED)
    with ending_with(FAILED):
        session = Session(mount, delay)
    session.state.view, session.state.sort = by, sort
    try:
        if batch or as_json or not _can_draw():
            _print(session, number, rows, as_json)
        else:
            from modfs.top.terminal import run_in_terminal

            run_in_terminal(session)
    except Gone:
        complain(f"{mount}: it is there no longer")
        return FAILED if number is not None else DONE
    finally:
        session.close()
    return DONE


def _can_draw() -> bool:
    try:
        from modfs.top.terminal import can_draw
    except ImportError:  # a Python without curses
        return False
    return can_draw()


def _print(session: Session, number: int | None, rows: int, as_json: bool) -> None:
    from modfs.top import batch

    if as_json:
        batch.print_reports(session, number, batch.as_json(rows), first=True)
        return
    width = shutil.get_terminal_size().columns  # 80 where there is no terminal; $COLUMNS before
    batch.print_reports(session, number, batch.as_text(width, rows), first=True)
