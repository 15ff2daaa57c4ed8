"""The sessions in docs/machine.md print what it says they print."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import PROJECT
from tests.examples.console import type_all


def test_machine(workshop: Path, environment: dict[str, str]) -> None:
    type_all(PROJECT / "docs/machine.md", workshop, environment)
