"""Lanes of a still picture: a lane for each module, and in it a row for each call at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from modfs.pictures.story import Bar, Story


class Lane(NamedTuple):
    """Calls for one module, the earliest first; those of a row do not overlap."""

    name: str
    rows: tuple[tuple[Bar, ...], ...]

    @property
    def bars(self) -> tuple[Bar, ...]:
        """All of them."""
        return tuple(bar for row in self.rows for bar in row)


def lanes(story: Story) -> list[Lane]:
    """By module, that which was asked for first on top."""
    by_module: dict[str, list[Bar]] = {}
    for bar in story.bars:
        by_module.setdefault(bar.module, []).append(bar)
    return [Lane(name, rows(bars)) for name, bars in by_module.items()]


def rows(bars: Iterable[Bar]) -> tuple[tuple[Bar, ...], ...]:
    """Bars that come in the order of their begin, in as few rows as there is room in."""
    made: list[list[Bar]] = []
    free: list[tuple[float, int]] = []  # when each row is, the earliest first
    for bar in bars:
        if free and free[0][0] <= bar.begin:
            _, row = heapq.heappop(free)
        else:
            row = len(made)
            made.append([])
        made[row].append(bar)
        heapq.heappush(free, (bar.end, row))
    return tuple(map(tuple, made))
