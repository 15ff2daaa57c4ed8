"""The sessions in docs/machine.md print what it says they print."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import PROJECT
from tests.examples.console import Shell, sessions

TEXT = (PROJECT / "docs/machine.md").read_text()


def test_machine(workshop: Path, environment: dict[str, str]) -> None:
    """All sessions in order, as one person would type them in a clone of the project."""
    for name in ("examples", "tests"):
        (workshop / name).symlink_to(PROJECT / name)
    shell = Shell(workshop, environment)
    try:
        for step in (step for session in sessions(TEXT) for step in session):
            printed = shell.type(step.command)
            assert step.agrees(printed), f"$ {step.command}\n{printed}\ninstead of\n{step.output}"
    finally:
        shell.close()
