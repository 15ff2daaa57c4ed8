"""Tables of text: columns that stand one below the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> Iterator[str]:
    """A line for each row: the columns of ``left`` begin together, the others end together."""
    columns = []
    for number, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column))
        pad = str.ljust if number in left else str.rjust
        columns.append([pad(cell, width) for cell in column])
    for cells in zip(*columns, strict=True):
        yield "  ".join(cells).rstrip()
