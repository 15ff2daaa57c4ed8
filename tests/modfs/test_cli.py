"""The command itself: help, version, mistakes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from modfs.cli import VERBS, _arguments

PROJECT = Path(__file__).parent.parent.parent


def modfs(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["modfs", *words], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example(verb: str, environment: dict[str, str]) -> None:
    done = modfs(environment, verb, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"modfs {verb} " in done.stdout


def test_help_lists_every_verb(environment: dict[str, str]) -> None:
    for words in ([], ["--help"]):
        done = modfs(environment, *words)
        assert all(f"  {verb} " in done.stdout + done.stderr for verb in VERBS)


def test_version(environment: dict[str, str]) -> None:
    done = modfs(environment, "--version")
    version = next(
        line for line in (PROJECT / "pyproject.toml").read_text().splitlines() if "version" in line
    )
    assert done.stdout.split()[1] == version.split('"')[1]


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["mount"],
        ["mount", "--nothing", "x"],
        ["verify", "/nowhere"],
        ["inspect", "/nowhere"],
        ["mkmod", "--from", "/nowhere", "x"],
    ],
)
def test_mistakes_are_one_line(words: list[str], environment: dict[str, str]) -> None:
    done = modfs(environment, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("modfs")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["modfs", "/mnt", "-o", "rw"], ["mount", "/mnt", "-o", "rw"]),
        (["none", "/mnt"], ["mount", "/mnt"]),
        (["mount", "/mnt"], ["mount", "/mnt"]),
        (["verify", "/x"], ["verify", "/x"]),
        (["nonsense", "x"], ["nonsense", "x"]),
    ],
)
def test_called_as_mount_8_does(words: list[str], meant: list[str]) -> None:
    assert _arguments(words) == meant
