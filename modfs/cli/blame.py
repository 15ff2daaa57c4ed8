"""modfs blame: who is to blame for what was wasted, and what would help."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from loader.errors import UserError
from loader.words import parse_size, readable_size
from modfs.blame.tables import TABLES
from modfs.cli.statuses import ABOVE, DONE, MISUSED, complain, ending_with
from modfs.cli.table import put

if TYPE_CHECKING:
    from modfs.blame.savings import Savings
    from modfs.blame.sources import Source

_MOST_REPLAYED = 20_000  # calls: more are replayed only when somebody asks for it

_EXAMPLE = """
\b
Examples:
  modfs blame examples/448-cpu.toml
  modfs blame boot.jsonl --by who --top 3
  modfs blame /mnt/modules --since 60 --fail-above '10 MB'
"""


@click.command(epilog=_EXAMPLE)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--by", multiple=True, type=click.Choice(TABLES), help="This table. May be repeated.")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Rows of each.")
@click.option("--since", metavar="SECONDS|MARK", help="Only calls that began then or later.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (modfs schema blame).")
@click.option(
    "--savings/--no-savings",
    default=None,
    help=f"Tell what would help. Default: of up to {_MOST_REPLAYED:,} calls.",
)
@click.option("--fail-above", metavar="BYTES", help=f"Exit with {ABOVE} if more was wasted.")
def command(
    source: Path,
    by: tuple[str, ...],
    top: int,
    since: str | None,
    as_json: bool,
    savings: bool | None,
    fail_above: str | None,
) -> int:
    """Tell who is to blame for what loading modules wasted, and what would help.

    SOURCE is a mount, a recording (modfs record), a text of a trace, a scenario (modfs replay) or
    a machine (modfs simulate). The tables have the failed loads, the most wasteful first: by
    module, by who asked, by alias, by reason. What each remedy would save is found by replaying
    all without it.
    """
    from loader.observe.replay import rules_of
    from loader.observe.stream import stream
    from modfs.blame.report import report
    from modfs.blame.sources import source_of
    from modfs.blame.tables import blame
    from modfs.blame.text import text

    with ending_with(MISUSED):
        limit = None if fail_above is None else parse_size(fail_above)
        found = source_of(source)
        header, lines = stream(found.lines, str(source))
        release = rules_of(header)
        blamed = blame(lines if since is None else _since(lines, since), release)
        wanted = savings if savings is not None else _is_worth(blamed.calls) and since is None
        helps = _savings_of(found) if wanted and blamed.failed else None
    told = report(found.kind, release.title, blamed, by, top, helps)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    else:
        put(text(told, top))
    if limit is not None and blamed.wasted.total > limit:
        complain(f"{readable_size(blamed.wasted.total)} were wasted, {fail_above} are allowed")
        return ABOVE
    return DONE


def _savings_of(source: Source) -> Savings | None:
    """None: nothing in it can be decided anew, which is said; the tables are there all the same."""
    try:
        return source.savings()
    except UserError as error:
        complain(f"what would help is not known: {error}")
        return None


def _is_worth(calls: int) -> bool:
    return calls <= _MOST_REPLAYED


def _since(lines: Iterable[Any], since: str) -> Iterator[Any]:
    """Those after a moment. UserError: there is no such moment."""
    try:
        at: float | None = float(since)
    except ValueError:
        at = None
    found = at is not None
    for line in lines:
        if line.moment is not None and line.moment == since:
            found = True
        if line.call is None or (
            found and (at is None or (line.begin is not None and line.begin >= at))
        ):
            yield line
    if not found:
        raise UserError(f"--since {since}: neither seconds nor a moment that was marked")
