"""modfs timeline, as a person runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.recordings import STOCK


def timeline(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    command = ["modfs", "timeline", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("ending", "begin"), [("html", "<!DOCTYPE html>"), ("svg", "<svg "), ("json", "{")]
)
def test_each_format(environment: dict[str, str], tmp_path: Path, ending: str, begin: str) -> None:
    file = tmp_path / f"boot.{ending}"
    done = timeline(environment, STOCK[1], STOCK[0], "-o", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = file.read_text()
    assert text.startswith(begin) and STOCK[0].name in text


def test_the_same_source_gives_the_same_file(environment: dict[str, str], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.html", "b.html")]
    for file in files:
        timeline(environment, STOCK[1], "-o", file, "--title", "A boot")
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_recording(environment: dict[str, str], tmp_path: Path) -> None:
    """Whatever was not seen of it is no reason not to draw it."""
    recording, file = tmp_path / "stock.jsonl", tmp_path / "stock.json"
    subprocess.run(["modfs", "record", "--from", STOCK[1], "-o", recording], env=environment)
    assert timeline(environment, recording, "-o", file).returncode == 0
    events = json.loads(file.read_text())["traceEvents"]
    assert any(event["name"] == "loop" for event in events)


def test_what_it_cannot_take(environment: dict[str, str], tmp_path: Path) -> None:
    for words, told in (
        (
            (STOCK[0], "-o", tmp_path / "x.png"),
            "x.png: the name must end in .html or .svg",
        ),
        ((tmp_path / "none", "-o", tmp_path / "x.svg"), "none: there is no such file or folder"),
        ((tmp_path, "-o", tmp_path / "x.svg"), "no mount of modfs that tells of events"),
        ((__file__, "-o", tmp_path / "x.svg"), "there is no trace event in it"),
    ):
        done = timeline(environment, *words)
        assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1
    done = timeline(environment, STOCK[0], "-o", tmp_path / "none" / "x.svg")
    assert done.returncode == 1 and "there is no such file or folder" in done.stderr
    full = tmp_path / "full.svg"
    full.symlink_to("/dev/full")
    done = timeline(environment, STOCK[0], "-o", full)
    assert done.returncode == 1
    assert done.stderr == f"modfs timeline: {full}: no space is left there\n"
