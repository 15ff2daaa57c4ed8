"""modfs timeline: module loads as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.errors import UserError
from modfs.cli.options import SOURCE
from modfs.cli.statuses import DONE, FAILED, MISUSED, ending_with

if TYPE_CHECKING:
    from modfs.pictures.story import Story

_EXAMPLE = """
\b
Examples:
  modfs timeline boot.jsonl -o boot.html
  modfs timeline trace.txt -o boot.json      (for https://ui.perfetto.dev)
  modfs timeline before.jsonl after.jsonl -o both.html
"""


def _html(stories: Sequence[Story]) -> str:
    from modfs.pictures.html import page

    return page(stories)


_FORMATS: dict[str, Callable[[Sequence[Story]], str]] = {".html": _html}
"""By the end of the file's name."""


@click.command(epilog=_EXAMPLE)
@click.argument("source", type=SOURCE)
@click.argument("other", type=SOURCE, required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help=f"Where to; its name ends in {', '.join(_FORMATS)}.",
)
@click.option("--title", help="What the picture is called; else as SOURCE is.")
def command(source: Path, other: Path | None, output: Path, title: str | None) -> int:
    """Draw module loads over time: a lane for each module, program or process, a bar for each call.

    SOURCE is a recording (modfs record), a text of a trace, or the mountpoint of a modfs. With
    OTHER both are drawn on one scale of time, each from its first call.

    FILE.html is a page for a browser, whole in one file: zoom, search, who wasted what. FILE.svg is
    a still picture. FILE.json is for Perfetto and chrome://tracing.
    """
    if output.suffix not in _FORMATS:
        raise UserError(f"{output}: the name must end in {' or '.join(_FORMATS)}", status=MISUSED)
    sources = [source] if other is None else [source, other]
    with ending_with(MISUSED):
        stories = [_story(path, title if other is None else None) for path in sources]
    text = _FORMATS[output.suffix](stories)
    with ending_with(FAILED):
        output.write_text(text, encoding="utf-8", newline="\n")
    return DONE


def _story(path: Path, title: str | None) -> Story:
    from modfs.pictures.story import story
    from modfs.sources.source import read_source

    return story(read_source(path), title or path.name or str(path))
