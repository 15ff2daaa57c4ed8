"""The documents lead where they say: sections that are cited, files that are linked, commits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.release import CHANGES
from tests.conftest import PROJECT

BEHAVIOUR = (PROJECT / "docs" / "behaviour.md").read_text()
HEADING = re.compile(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", re.MULTILINE)
SECTIONS = frozenset(HEADING.findall(BEHAVIOUR))
# "section 4", "sections 2 and 3", "sections 2 to 5", "2.4"
CITATION = re.compile(
    r"behaviour\.md\s+(?:sections?\s+)?(\d+(?:\.\d+)?)(?:\s+(and|to)\s+(\d+(?:\.\d+)?))?"
)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
ELSEWHERE = ("http://", "https://", "mailto:")


def ours(pattern: str, *folders: str) -> Iterator[Path]:
    """The project's files, without those of .venv and of caches."""
    for folder in folders:
        for path in sorted((PROJECT / folder).rglob(pattern)):
            if not any(part.startswith(".") for part in path.relative_to(PROJECT).parts):
                yield path


def cited(text: str) -> set[str]:
    """The sections of behaviour.md that ``text`` names."""
    found = set()
    for first, word, last in CITATION.findall(text):
        found |= {first, last or first}
        if word == "to":
            section, _, start = first.rpartition(".")
            end = last.rpartition(".")[2]
            numbers = map(str, range(int(start), int(end)))
            found |= {f"{section}.{number}" if section else number for number in numbers}
    return found


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("see behaviour.md section 4, by hand", {"4"}),
        ("behaviour.md sections 2 and 3.", {"2", "3"}),
        ("of behaviour.md\nsections 2 to 5", {"2", "3", "4", "5"}),
        ("# behaviour.md 2.4", {"2.4"}),
        ("behaviour.md sections 2.9 to 2.11", {"2.9", "2.10", "2.11"}),
        ("as behaviour.md tells", set()),
    ],
)
def test_citations_are_found(text: str, sections: set[str]) -> None:
    assert cited(text) == sections


def test_cited_sections_exist() -> None:
    wrong = {
        str(path.relative_to(PROJECT)): missing
        for path in ours("*.py", "loader", "modfs", "tests")
        if (missing := cited(path.read_text()) - SECTIONS)
    }
    assert not wrong
    assert {"1", "2", "2.1", "2.12", "6"} <= SECTIONS


def test_links_lead_to_files() -> None:
    broken = [
        f"{path.relative_to(PROJECT)}: {target}"
        for path in ours("*.md", ".")
        for target in LINK.findall(path.read_text())
        if not target.startswith(ELSEWHERE) and not (path.parent / target).exists()
    ]
    assert not broken


def test_the_table_of_changes_is_that_of_the_code() -> None:
    """behaviour.md section 6: release, commit and field."""
    section = BEHAVIOUR.partition("\n## 6. ")[2]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in section.splitlines()]
    documented = {(row[0], row[1], row[3]) for row in rows if len(row) == 6 and row[3]}
    documented -= {("release", "commit", "field"), ("---", "---", "---")}
    assert documented == {(c.release, c.commit, c.field) for c in CHANGES}
