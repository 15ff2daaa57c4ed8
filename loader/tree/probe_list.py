"""All the files that one modprobe tries to insert, in its order."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Probe(NamedTuple):
    """A file for modprobe to insert; if it is not ``required`` (a softdep), failing is no error."""

    path: Path
    required: bool
