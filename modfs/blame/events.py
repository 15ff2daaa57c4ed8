"""What engines tell, as a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loader.engine.state import Listener
from loader.observe.call import Item
from loader.observe.of_engine import observed
from loader.observe.recording import Header, Recording
from loader.observe.recording_write import lines
from loader.release import Release


class Told:
    """Takes what an engine tells (Kernel.listener)."""

    def __init__(self) -> None:
        self._told: list[Any] = []
        self.listener: Listener = self._told.append

    def recording(self, release: Release, source: str = "simulation") -> Recording:
        """All of it. ``release``: of the engine."""
        items: list[Item] = [observed(one) for one in self._told]
        return Recording(header_of(release, source), items, whole=True)

    def write(self, path: Path, release: Release) -> None:
        """All of it to a file. OSError."""
        made = self.recording(release)
        with path.open("wb") as file:
            file.writelines(lines(made.header, [], made.items, len(made.items)))


def header_of(release: Release, source: str) -> Header:
    """The header of what an engine of that ``release`` tells."""
    return Header(release.name, source=source, without=release.without)
