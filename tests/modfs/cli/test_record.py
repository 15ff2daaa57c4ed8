"""modfs record --from, and what replay and verify make of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.recordings import DATA, STOCK, TRACES

NAMED = {path.name.removesuffix(".txt.zst"): path for path in TRACES}
Done = subprocess.CompletedProcess[str]


def modfs(environment: dict[str, str], *words: object) -> Done:
    command = ["modfs", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def recorded(environment: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "boot.jsonl"
    done = modfs(environment, "record", "--from", NAMED["udev8-early-6.12"], "-o", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return path


def test_replay(environment: dict[str, str], recorded: Path) -> None:
    done = modfs(environment, "replay", recorded, "--until", "start")
    assert done.stdout.startswith("         Mods ever loaded\t0\n")
    done = modfs(environment, "replay", recorded)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Mods failed on becoming\t119\n" in done.stdout
    assert done.stdout.endswith(" Becoming\n")
    done = modfs(environment, "replay", recorded, "--until", "settle")
    assert done.returncode == 2 and "did you mean settled?" in done.stderr


def test_inits_that_failed(environment: dict[str, str], recorded: Path) -> None:
    done = modfs(environment, "replay", recorded, "--inits")
    row = done.stdout.splitlines()[1].split()
    assert row[:3] == ["powernow_k8", "ENODEV", "2"] and row[-1] == "2"


def test_verify(environment: dict[str, str], recorded: Path) -> None:
    done = modfs(environment, "verify", recorded)
    assert (done.returncode, done.stdout) == (0, f"{recorded}: 4 of 4 texts agree\n")
    content = recorded.read_text().replace("ever loaded\\t35", "ever loaded\\t36")
    recorded.write_text(content)
    done = modfs(environment, "verify", recorded)
    assert done.returncode == 1
    assert "-         Mods ever loaded\t36\n" in done.stdout
    assert f"{recorded}: 3 of 4 texts agree\n" in done.stdout


def test_what_was_not_seen(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "boot.jsonl"
    done = modfs(environment, "record", "--from", NAMED["missed-6.12"], "-o", path)
    assert done.returncode == 1
    assert done.stderr.startswith("modfs record: not all was seen; ")
    assert "      16  returns of load_module not seen" in done.stderr
    done = modfs(environment, "replay", path)
    assert done.returncode == 1 and "returns of load_module" in done.stderr
    assert "Mods ever loaded\t" in done.stdout
    assert modfs(environment, "replay", path, "--until", "r6").returncode == 0


def test_to_standard_output(environment: dict[str, str]) -> None:
    done = modfs(environment, "record", "--from", STOCK[2])
    assert done.returncode == 1  # a name was not probed there
    lines = done.stdout.splitlines()
    assert lines[0].startswith('{"recording":1,"release":"7.3.4+deb13-cloud-amd64"')
    assert lines[-1].startswith('{"end":')
    request = next(line for line in lines if "fs-nosuchfs" in line)
    assert '"function":"get_fs_type"' in request


def test_what_it_cannot_take(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "no.txt"
    path.write_text("nothing\n")
    done = modfs(environment, "record", "--from", path)
    assert done.returncode == 2
    assert done.stderr == f"modfs record: {path}: there is no trace event in it\n"
    scenario = tmp_path / "s.jsonl"
    scenario.write_text('{"kernel": "6.12"}\n')
    done = modfs(environment, "replay", scenario, "--until", "x")
    assert done.returncode == 2 and "are for recordings" in done.stderr


def test_the_engines_layout_of_the_files(environment: dict[str, str], tmp_path: Path) -> None:
    """The modules of the 6.12 that was traced are among those that the transcripts were made of."""
    path = tmp_path / "smp.jsonl"
    modfs(environment, "record", "--from", NAMED["smp-6.12"], "-o", path)
    done = modfs(environment, "verify", "--modules", DATA / "modules.tar.zst", path)
    assert done.returncode == 0
    agreed, modules = re.findall(r"13 of 13 texts agree; (\d+) of (\d+) modules", done.stdout)[0]
    assert int(agreed) == int(modules) > 0


def test_requests_decided_anew(environment: dict[str, str], recorded: Path) -> None:
    """Those of a machine without idempotent loads, by a kernel that has them."""
    done = modfs(environment, "replay", recorded, "--kernel", "6.12")
    assert done.returncode == 0
    failed = int(re.findall(r"becoming\t(\d+)", done.stdout)[0])
    assert failed < 119 and "Mods ever loaded\t35\n" in done.stdout
    assert "requests decided anew, 0 kept as they were" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("record", "--buffer", "1"),
        ("record", "--buffer", "4 apples"),
        ("record", "--buffer", "5GB"),
        ("record", "--from", STOCK[0], "--buffer", "4MB"),
        ("mount", "--buffer", "4MB", "nowhere"),
        ("mount", "--host", "-o", "buffer=0", "nowhere"),
        ("mount", "--host", "-o", "kernel=6.4", "nowhere"),
    ],
)
def test_buffers_that_cannot_be(environment: dict[str, str], words: tuple[object, ...]) -> None:
    done = modfs(environment, *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 3 and "Traceback" not in done.stderr
