"""Tables of text: columns that stand one below the other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from loader.words import printable


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> Iterator[str]:
    """A line for each row: the columns of ``left`` begin together, the others end together."""
    columns = []
    for number, column in enumerate(zip(*rows, strict=True)):
        told = [printable(cell) for cell in column]
        width = max(map(len, told))
        pad = str.ljust if number in left else str.rjust
        columns.append([pad(cell, width) for cell in told])
    for cells in zip(*columns, strict=True):
        yield "  ".join(cells).rstrip()


def put(lines: Iterable[str]) -> None:
    """On standard output, as they can be printed; tabs and ends of lines stay."""
    for text in lines:
        print(re.sub(r"[^\t\n]+", lambda part: printable(part[0]), text))
