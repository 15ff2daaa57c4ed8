"""Transcripts: lines of JSON in, steps out, and mistakes with their place."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loader.calls import DeleteModule, FinitModule, InitModule
from loader.errors import UserError
from modfs.verify.transcript import CallStep, Cat, Transcript, counted
from tests.recordings import TRANSCRIPTS

HEADER = {"release": "6.12"}


def load(folder: Path, *lines: dict[str, Any]) -> Transcript:
    path = folder / "t.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return Transcript.load(path)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recordings_by_another_reader(path: Path) -> None:
    header, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = Transcript.load(path)
    assert (found.release, list(found.without)) == (header["release"], header["without"])
    assert len(found.steps) == len(lines)
    for step, line in zip(found.steps, lines, strict=True):
        if isinstance(step, Cat):
            assert (step.path, step.text) == (line["cat"], line["text"])
            continue
        assert step.op == line["op"]
        results = line["results"] if step.threads else {line["result"]: 1}
        assert Counter(step.results) == Counter(results)
        deltas = line.get("total_mod_size_delta"), line.get("total_text_size_delta")
        assert (step.deltas or (None, None)) == deltas


# -- what a step is -------------------------------------------------------------------------------


def step(folder: Path, **fields: Any) -> CallStep:
    (found,) = load(folder, HEADER, {"result": "OK", **fields}).steps
    assert isinstance(found, CallStep)
    return found


def test_a_file_is_opened_as_it_was(tmp_path: Path) -> None:
    path = Path("/x/m.ko")
    found = step(tmp_path, op="finit_module", file="files/m.ko", params="a=1", flags=2)
    assert found.on(path) == FinitModule("/x/m.ko", "a=1", 2, os.O_RDONLY)
    found = step(tmp_path, op="finit_module", file="files/m.ko", open="O_RDWR")
    assert found.on(path) == FinitModule("/x/m.ko", "", 0, os.O_RDWR)


def test_a_descriptor_is_a_number(tmp_path: Path) -> None:
    assert step(tmp_path, op="finit_module", fd=-1).on(None) == FinitModule(-1)


def test_memory_is_a_file_that_was_read_or_not_mapped(tmp_path: Path) -> None:
    found = step(tmp_path, op="init_module", file="files/m.ko", len=64)
    assert found.on(Path("/x")) == InitModule("/x", "", 64)
    found = step(tmp_path, op="init_module", address="unmapped", len=4096)
    assert found.on(None) == InitModule(None, "", 4096)


def test_a_removal_has_the_name_as_it_was_given(tmp_path: Path) -> None:
    found = step(tmp_path, op="delete_module", name="a-b", flags=512)
    assert found.on(None) == DeleteModule("a-b", 512)


@pytest.mark.parametrize(
    ("results", "text"),
    [({"OK": 1}, "OK"), ({"OK": 1, "EEXIST": 15}, "EEXIST x 15, OK x 1"), ({"OK": 4}, "OK x 4")],
)
def test_results_as_text(results: dict[str, int], text: str) -> None:
    assert counted(results) == CallStep("finit_module", "f", results).expected == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"op": "finit_module", "file": "f", "flags": 4, "params": "a=1"},
         "finit_module f flags=4 a=1"),
        ({"op": "finit_module", "file": None, "fd": -1}, "finit_module fd -1"),
        ({"op": "init_module", "file": None, "length": 9}, "init_module unmapped address, 9 bytes"),
        ({"op": "init_module", "file": "f", "length": 9}, "init_module f, 9 bytes"),
        ({"op": "delete_module", "file": None, "name": "m"}, "delete_module m"),
        ({"op": "finit_module", "file": None, "threads": 8, "files": ("a", "b")},
         "finit_module 8 threads on a … b"),
        ({"op": "finit_module", "file": None, "threads": 2, "files": ("a",)},
         "finit_module 2 threads on a"),
    ],
)  # fmt: skip
def test_how_a_step_is_told(fields: dict[str, Any], text: str) -> None:
    assert str(CallStep(results={"OK": 1}, **fields)) == text
    assert str(Cat("stats", "")) == "cat stats"


# -- mistakes -------------------------------------------------------------------------------------

FINIT = {"op": "finit_module", "file": "f", "result": "OK"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({**FINIT, "result": "EWHAT"}, "OK or an errno"),
        ({**FINIT, "open": "rw"}, "a flag of open"),
        ({**FINIT, "open": "O_NOSUCH"}, "a flag of open"),
        ({**FINIT, "op": "load"}, "op"),
        ({**FINIT, "nosuch": 1}, "nosuch: is not known"),
        ({"op": "finit_module", "file": "f"}, "there is no result"),
        ({"op": "finit_module", "result": "OK"}, "neither file nor fd"),
        ({"op": "delete_module", "result": "OK"}, "there is no name"),
        ({**FINIT, "threads": 2}, "threads need files"),
        ({**FINIT, "threads": 2, "files": ["f"]}, "there is no results"),
        ({**FINIT, "threads": 1, "files": ["f"], "results": {"EWHAT": 1}}, "OK or an errno"),
        ({**FINIT, "total_mod_size_delta": 4096}, "go together"),
        ({"cat": "stats"}, "text is missing"),
    ],
)
def test_wrong_lines(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, HEADER, FINIT, line)
    assert "t.jsonl, line 3: " in str(caught.value) and said in str(caught.value)


def test_there_must_be_something(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no header|empty"):
        load(tmp_path)
    with pytest.raises(UserError, match="no step"):
        load(tmp_path, HEADER)
    with pytest.raises(UserError, match=r"line 1: .*release"):
        load(tmp_path, {"without": []})
    with pytest.raises(FileNotFoundError):
        Transcript.load(tmp_path / "absent")


def test_another_version_of_the_format_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"release": "7.3", "format": 2}\n{"cat": "stats", "text": ""}\n')
    with pytest.raises(UserError, match="line 1: format: one of 1 is needed, not 2"):
        Transcript.load(path)
