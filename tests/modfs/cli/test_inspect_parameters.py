"""modfs inspect --parameters: who checks what a module is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from modfs import cli


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """Three parameters: one of the kernel's, one that is known, one that is not."""
    parameters = (
        ParameterSpec("max_part", mode=0o444),
        ParameterSpec("max_loop", default=8, mode=0o444, own=True),
        ParameterSpec("another", "bool", own=True),
    )
    (tmp_path / "loop.ko").write_bytes(build_module(ModuleSpec("loop", parameters=parameters)))
    return tmp_path


def test_who_checks(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.carry_out(["inspect", "--parameters", str(loop)]) == 0
    rows = [line.split(maxsplit=5) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["MODULE", "PARAMETER", "TYPE", "MODE", "DEFAULT", "CHECK"]
    assert ["loop", "max_part", "int", "0444", "0", "by its type"] in rows
    own = "its own: drivers/block/loop.c, max_loop_param_set_int"
    assert ["loop", "max_loop", "int", "0444", "8", own] in rows
    assert ["loop", "another", "bool", "0644", "N", "its own, not known"] in rows


def test_json(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (loop / "broken.ko").write_bytes(b"")
    assert cli.carry_out(["inspect", "--parameters", "--json", str(loop)]) == 1
    said = capsys.readouterr()
    assert {row["parameter"] for row in json.loads(said.out)} == {"max_part", "max_loop", "another"}
    assert "broken.ko: the kernel would refuse it with ENOEXEC" in said.err
