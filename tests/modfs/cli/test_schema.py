"""modfs schema: valid JSON Schemas, which what is here of each format meets."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import loader
from tests.conftest import PROJECT
from tests.recordings import DATA, TRANSCRIPTS

NAMES = ("machine", "modules", "environment", "scenario", "transcript", "recording")

FILES: list[tuple[str, Path]] = [
    *(("machine", path) for path in sorted(PROJECT.glob("examples/*.toml"))),
    *(("scenario", path) for path in sorted(PROJECT.glob("examples/*.jsonl"))),
    *(("transcript", path) for path in TRANSCRIPTS),
    ("modules", Path(loader.__file__).parent / "synthesize/demo_tree.toml"),
    ("environment", DATA / "environment.json"),
]


def schema(environment: dict[str, str], name: str) -> dict[str, Any]:
    done = subprocess.run(
        ["modfs", "schema", name], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def documents(path: Path) -> Iterator[Any]:
    text = path.read_text()
    if path.suffix == ".toml":
        yield tomllib.loads(text)
    elif path.suffix == ".json":
        yield json.loads(text)
    else:
        lines = (line for line in text.split("\n") if line and not line.startswith("#"))
        yield from map(json.loads, lines)


def fields(described: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in described["$defs"].values():
        yield from one["properties"].items()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_schema_that_tells_of_each_field(environment: dict[str, str], name: str) -> None:
    described = schema(environment, name)
    Draft202012Validator.check_schema(described)
    assert described["title"] == name
    told = {field: "description" in what for field, what in fields(described)}
    assert told and all(told.values()), [field for field in told if not told[field]]


@pytest.mark.parametrize(("name", "path"), FILES, ids=lambda value: getattr(value, "stem", value))
def test_files_meet_it(environment: dict[str, str], name: str, path: Path) -> None:
    validator = Draft202012Validator(schema(environment, name))
    problems = [error.message for one in documents(path) for error in validator.iter_errors(one)]
    assert problems == []


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("machine", {"processors": 0, "coldplug": []}),
        ("machine", {"procesors": 1, "coldplug": []}),
        ("machine", {"processors": 1, "coldplug": [], "without": ["sleep"]}),
        ("modules", {"module": [{"text": 1}]}),
        ("environment", {"init": {"x": {"seconds": -1}}}),
        ("environment", {"init": {"x": {"returns": "EWHAT"}}}),
        ("scenario", {"at": 0, "flags": "4"}),
        ("transcript", {"op": "reboot", "result": "OK"}),
    ],
)
def test_mistakes_do_not(environment: dict[str, str], name: str, document: Any) -> None:
    assert not Draft202012Validator(schema(environment, name)).is_valid(document)


def test_an_unknown_format(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["modfs", "schema", "boot"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == "" and "machine" in done.stderr
