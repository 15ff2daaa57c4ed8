"""How much of a file's texts is kept.

Texts that lie apart in a file are together no longer than the file. But names may overlap, so that
a short file could ask for any number of long ones; no compiler writes such a file. What is kept is
therefore bounded: the texts together by the length of the file, and their number.
"""

from __future__ import annotations

MOST = 1 << 16
"""Names of one kind that are kept of one file: more than the whole kernel has exports."""


class Room:
    """Characters that may still be kept of one file."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, length: int) -> bool:
        """Is there room for a text of this length? Once there was not, there is none any more."""
        self.left -= length
        return self.left >= 0
