"""Modules of a real kernel, for machines that take theirs from a tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modfs.verify.corpus import corpus

DATA = Path(__file__).parents[1] / "oracle" / "data"


@pytest.fixture(scope="session")
def recorded_tree() -> Iterator[Path]:
    """Debian's modules for Linux 6.12, with depmod's indexes."""
    with corpus(None, DATA / "modules.tar.zst") as found:
        yield found.root / "modules"
