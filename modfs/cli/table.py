"""Tables of text: columns that stand one below the other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from loader.words import printable


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> Iterator[str]:
    """A line for each row: the columns of ``left`` begin together, the others end together."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def put(lines: Iterable[str]) -> None:
    """On standard output, as they can be printed; tabs and ends of lines stay."""
    for text in lines:
        print(re.sub(r"[^\t\n]+", lambda part: printable(part[0]), text))
