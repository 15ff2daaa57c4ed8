"""modfs status: of servers that answer, are stopped, or have died."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from modfs.mount import aside, status
from tests.mount.conftest import request, wait_for, writers
from tests.mount.servers import foreign
from tests.mount.test_ends import run, server

SCHEMA = {
    "type": "object",
    "required": ["place", "state"],
    "properties": {
        "version": {"const": 1},
        "process": {"type": "integer"},
        "since": {"type": "number"},
        "loaded": {"type": "integer"},
        "requests": {"type": "integer"},
    },
}


def test_who_waits(
    mounted: Callable[..., Path],
    make: Callable[..., Path],
    environment: dict[str, str],
    environment_file: Path,
) -> None:
    mount = mounted("--environment", environment_file, "--kernel", "6.4")
    assert request(mount, f"insmod {make('m')}", "rmmod nothing") != 0
    with writers(mount, [f"insmod {make('stuck')}"]):
        wait_for(lambda: status.ask(str(mount))["waiting"])
        shown = run(environment, "modfs", "status", mount)
        told = run(environment, "modfs", "status", "--json", mount)
        os.kill(server(mount), signal.SIGTERM)
    assert (shown.returncode, shown.stderr) == (0, "")
    table, waiting = shown.stdout.splitlines()[1:]
    assert table.split()[1] == "6.4"
    assert table.split()[-3:] == ["2", "2", "1"]  # loaded, requests, waiting
    assert f"[{os.getpid()}] insmod " in waiting
    said = json.loads(told.stdout)
    jsonschema.validate(said, SCHEMA)
    assert (said["state"], said["kernel"], said["requests"]) == ("answers", "6.4", 2)
    assert said["waiting"][0]["process"] == os.getpid()


def test_of_those_that_do_not_answer(
    mounted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, dead = mounted(), mounted()
    monkeypatch.setattr(aside, "ANSWER_SECONDS", 1.0)
    os.kill(process := server(stopped), signal.SIGSTOP)
    try:
        assert status.ask(str(stopped)) == {"place": str(stopped), "state": status.SILENT}
    finally:
        os.kill(process, signal.SIGCONT)
    os.kill(server(dead), signal.SIGKILL)
    assert status.ask(str(dead)) == {"place": str(dead), "state": status.DEAD_SERVER}
    assert {str(stopped), str(dead)} <= set(status.places())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")
def test_of_somebody_else_s(workshop: Path, environment: dict[str, str]) -> None:
    place = workshop / "mount"
    with foreign(place, "text"):
        assert status.ask(str(place))["state"] == status.OTHER
        done = run(environment, "modfs", "status", place)
    assert done.returncode == 1
    assert "served by something else" in done.stdout


def test_of_nothing(workshop: Path, environment: dict[str, str]) -> None:
    done = run(environment, "modfs", "status", workshop)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"modfs status: {workshop}: modfs is not mounted here\n"
