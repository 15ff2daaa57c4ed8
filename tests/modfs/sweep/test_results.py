"""Files of results: half lines, strangers' files, and what a killed sweep leaves."""

from __future__ import annotations

import json
import sys
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from loader.errors import UserError
from loader.simulate.machine_file import read_machine
from loader.simulate.udev import config_for
from modfs.sweep import results as module
from modfs.sweep.plan import Point, Run
from modfs.sweep.results import open_results
from modfs.sweep.rows import Row, boot_row
from tests.conftest import PROJECT

NAMES = ("results.jsonl", "results.parquet")


@pytest.fixture(scope="module")
def boots() -> list[Row]:
    """Of a machine with duplicates, and of one with requests of the kernel's own."""
    rows = []
    for name in ("8-vcpu", "400-containers"):
        machine = read_machine(PROJECT / f"examples/{name}.toml")
        row = boot_row(Point(name, Run(machine, config_for(machine))), 1)
        rows.append(json.loads(json.dumps(row)))
    assert rows[0]["duplicates"] and rows[1]["autoload_results"]
    return rows


def read(path: Path) -> list[dict[str, Any]]:
    """As other programs read it."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(path).to_pylist()
    for row in rows:
        if row["autoload_results"] is not None:
            row["autoload_results"] = dict(row["autoload_results"])
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(name: str, tmp_path: Path, boots: list[Row]) -> None:
    path = tmp_path / name
    for row in boots:
        results = open_results(path)
        results.add(row)
        results.close()
    assert read(path) == boots
    again = open_results(path)
    assert [(row["digest"], row["seed"]) for row in again.rows()] == [
        (row["digest"], row["seed"]) for row in boots
    ]
    again.close()
    assert read(path) == boots and [file.name for file in tmp_path.iterdir()] == [name]


def test_half_a_line_is_cut_off(tmp_path: Path, boots: list[Row]) -> None:
    path = tmp_path / "r.jsonl"
    whole = json.dumps(boots[0]) + "\n"
    path.write_text(whole + whole[:30])
    results = open_results(path)
    results.add(boots[1])
    results.close()
    assert read(path) == boots


def test_a_killed_sweep_leaves_a_whole_parquet_file(
    tmp_path: Path, boots: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "r.parquet"
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    results = open_results(path)
    results.add(boots[0])
    assert read(path) == boots[:1]  # it was time
    results.add(boots[1])
    monkeypatch.setattr(module, "_PAUSE", 1e9)
    partial = (tmp_path / "r.parquet.partial").read_bytes()
    results.close()
    (tmp_path / "r.parquet.partial").write_bytes(partial + b'{"half')
    again = open_results(path)
    assert len({(row["digest"], row["seed"]) for row in again.rows()}) == 2
    again.close()
    found = read(path)
    assert sorted(found, key=itemgetter("digest")) == sorted(boots, key=itemgetter("digest"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"hello\n", b'{"seed": 1}\n', b"[]\n", b"\xff\n", b"PAR1\n"])
def test_files_of_strangers_are_left_alone(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match="no results of a sweep"):
        open_results(path)
    assert path.read_bytes() == content


def test_two_sweeps_on_one_file(tmp_path: Path) -> None:
    first = open_results(tmp_path / "r.jsonl")
    with pytest.raises(UserError, match="another sweep writes there"):
        open_results(tmp_path / "r.jsonl")
    first.close()
    open_results(tmp_path / "r.jsonl").close()


def test_names_say_the_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends with \.jsonl or \.parquet"):
        open_results(tmp_path / "results.csv")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'modfs\[parquet\]'"):
        open_results(tmp_path / "r.parquet")
    assert not list(tmp_path.iterdir())
