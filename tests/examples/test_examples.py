"""The scripts in examples/, each run as its first lines say, on a real mount."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from tests.conftest import PROJECT
from tests.mounts import ask

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def example(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [PROJECT / "examples" / name, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return example


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "stormy.ko"
    path.write_bytes(build_module(ModuleSpec("stormy")))
    return path


def test_storm_counts_what_was_refused(
    run: Run, mounted: Callable[..., Path], module: Path
) -> None:
    mount = mounted("--without", "idempotent")
    done = run("storm.sh", mount, module, 20)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["20 writers, 19 refused:", "     19 File exists"]
    numbers = {label.strip(): int(n) for label, n in (line.split("\t") for line in lines[2:])}
    assert numbers["Mods ever loaded"] == 1
    assert numbers["Mods failed on becoming"] + numbers["Mods failed on load"] == 19


def test_waste_limit_passes_until_memory_is_wasted(
    run: Run, mounted: Callable[..., Path], module: Path
) -> None:
    mount = mounted()
    stats = mount / "stats"
    ask(mount, f"insmod {module}")
    assert run("waste_limit.sh", 0, stats).returncode == 0
    with pytest.raises(FileExistsError):
        ask(mount, f"insmod {module}")
    size = module.stat().st_size
    assert run("waste_limit.sh", size, stats).returncode == 0
    refused = run("waste_limit.sh", size - 1, stats)
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[0] == f"wasted {size} bytes, {size - 1} allowed"
    assert refused.stdout.splitlines()[-1].split() == ["stormy", "1", "Becoming"]


def test_waste_limit_says_when_there_is_no_report(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for path in (tmp_path / "missing", empty):
        assert run("waste_limit.sh", 1, path).returncode == 2


def test_watch_boot_prints_a_line_for_each_change(
    environment: dict[str, str], mounted: Callable[..., Path], module: Path
) -> None:
    mount = mounted()
    watcher = subprocess.Popen(
        [PROJECT / "examples/watch_boot.py", mount / "stats", "--every", "0.05"],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watcher.stdout
    assert watcher.stdout.readline().split() == ["seconds", "loaded", "failed", "wasted", "bytes"]
    assert watcher.stdout.readline().split()[1:] == ["0", "0", "0"]
    ask(mount, f"insmod {module}")
    assert watcher.stdout.readline().split()[1:] == ["1", "0", "0"]
    watcher.send_signal(2)
    assert watcher.wait(10) == 0
    watcher.stdout.close()
