"""What one modprobe is about: the modules that its argument means, all files that it inserts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
    """A module that was looked up, by its canonical name; ``alias``: what it was found by, "" if
    by its own name."""

    name: str
    alias: str = ""


class Probe(NamedTuple):
    """A file for modprobe to insert; if it is not ``required`` (a softdep), failing is no error."""

    path: Path
    required: bool
