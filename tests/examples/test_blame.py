"""The sessions in docs/blame.md print what it says they print."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import PROJECT
from tests.examples.console import type_all


def test_blame(workshop: Path, environment: dict[str, str]) -> None:
    type_all(PROJECT / "docs/blame.md", workshop, environment)
