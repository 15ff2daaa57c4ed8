"""The sessions in README.md print what it says they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.examples.console import Step, sessions, type_all


@pytest.mark.timeout(600)
def test_readme(workshop: Path, environment: dict[str, str]) -> None:
    type_all(PROJECT / "README.md", workshop, environment)


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
