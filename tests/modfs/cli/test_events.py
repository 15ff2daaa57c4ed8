"""Boots and scenarios written as recordings: replayed, they show what the boot showed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from loader.errors import UserError
from modfs.cli.replay import command as replay
from modfs.cli.simulate import command as simulate
from tests.conftest import PROJECT

EXAMPLES = PROJECT / "examples"


@pytest.mark.parametrize("kernel", ["6.4 without early-check", "6.4", "6.12"])
def test_a_boot(tmp_path: Path, kernel: str) -> None:
    file = tmp_path / "boot.jsonl"
    words = [str(EXAMPLES / "8-vcpu.toml"), "--kernel", kernel]
    booted = CliRunner().invoke(simulate, [*words, "--events", str(file)])
    assert CliRunner().invoke(simulate, words).output == booted.output
    assert CliRunner().invoke(replay, [str(file)]).output == booted.output


def test_a_scenario(tmp_path: Path) -> None:
    file = tmp_path / "boot.jsonl"
    report = str(EXAMPLES / "8-vcpu-report.jsonl")
    told = CliRunner().invoke(replay, [report, "--events", str(file)])
    published = (PROJECT / "tests/oracle/data/seeds").glob("8-vcpu*.stats")
    assert told.output == next(published).read_text()
    assert CliRunner().invoke(replay, [str(file)]).output == told.output


def test_of_several_boots_there_is_no_recording(tmp_path: Path) -> None:
    words = [str(EXAMPLES / "8-vcpu.toml"), "--cpus", "2,4", "--events", str(tmp_path / "x")]
    assert isinstance(CliRunner().invoke(simulate, words).exception, UserError)
