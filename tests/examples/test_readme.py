"""The sessions in README.md print what it says they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.examples.console import Shell, Step, sessions

README = (PROJECT / "README.md").read_text()


@pytest.mark.timeout(600)
def test_readme(workshop: Path, environment: dict[str, str]) -> None:
    """All sessions in order, as one person would type them in a clone of the project."""
    for name in ("examples", "tests"):
        (workshop / name).symlink_to(PROJECT / name)
    shell = Shell(workshop, environment)
    try:
        for step in (step for session in sessions(README) for step in session):
            printed = shell.type(step.command)
            assert step.agrees(printed), f"$ {step.command}\n{printed}\ninstead of\n{step.output}"
    finally:
        shell.close()


@pytest.mark.parametrize(
    "output, printed, agrees",
    [
        ("a\nb", "a\nb\n", True),
        ("a…\nb", "a and more\nb", True),
        ("a\n…", "a\nb\nc", True),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
    ],
)
def test_what_a_session_leaves_open(output: str, printed: str, agrees: bool) -> None:
    assert Step("", output).agrees(printed) is agrees


def test_sessions_are_found() -> None:
    document = "```sh\n$ no\n```\n```console\n$ one\ntwo\n\n$ three \\\n> four\n```\n"
    assert sessions(document) == [[Step("one", "two\n"), Step("three \\\nfour", "")]]
