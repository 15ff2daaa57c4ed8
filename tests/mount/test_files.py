"""The files, read in every way that people read files."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modfs.texts import FILES
from tests.mount.conftest import request

COMMANDS = (
    "cat {}",
    "dd bs=1 if={}",
    "dd bs=7 if={}",
    "tail -c 10000 {}",
    "head -c 10000 {}",
    "grep '' {}",
    "cp {} copy && cat copy",
    "cat < {}",
    "less {}",
    "python3 -c \"import sys; sys.stdout.write(open('{}').read())\"",
)


@pytest.fixture
def mount(mounted: Callable[..., Path], make: Callable[..., Path]) -> Path:
    folder = mounted()
    for _ in range(2):
        request(folder, f"insmod {make('m')}")
    return folder


def test_names_modes_and_owner(mount: Path) -> None:
    assert set(os.listdir(mount)) == {
        *FILES,
        "autoload",
        "control",
        "events",
        "events_pipe",
        "kmsg",
    }
    for name, file in FILES.items():
        status = os.stat(mount / name)
        assert stat.S_ISREG(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == file.mode
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    assert stat.S_ISLNK(os.lstat(mount / "control").st_mode)
    assert stat.S_IMODE(os.stat(mount / "control").st_mode) == 0o600


@pytest.mark.parametrize("command", COMMANDS)
def test_every_program_reads_the_same(
    mount: Path, command: str, environment: dict[str, str], tmp_path: Path
) -> None:
    text = (mount / "stats").read_text()
    assert "m\t              1\t                 Becoming\n" in text
    line = command.format(mount / "stats")
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True)
    assert done.stdout.decode() == text


def test_watch(mount: Path, environment: dict[str, str]) -> None:
    command = ["timeout", "3", "watch", "-n", "1", "cat", str(mount / "stats")]
    done = subprocess.run(command, env=environment | {"TERM": "vt100"}, capture_output=True)
    assert b"Mods ever loaded" in done.stdout


def test_pread_anywhere(mount: Path) -> None:
    text = (mount / "stats").read_bytes()
    fd = os.open(mount / "stats", os.O_RDONLY)
    try:
        for offset in (100, 3, len(text) - 1, len(text), len(text) + 10_000, 0):
            assert os.pread(fd, 50, offset) == text[offset : offset + 50]
    finally:
        os.close(fd)


def test_one_open_sees_one_report(mount: Path, make: Callable[..., Path]) -> None:
    with (mount / "stats").open("rb", buffering=0) as report:
        first = report.read(50)
        request(mount, f"insmod {make('other')}")
        rest = report.read(10_000)
        assert b"Mods ever loaded\t1\n" in first + rest
        report.seek(0)
        assert b"Mods ever loaded\t2\n" in report.read(10_000)


def test_a_text_that_was_empty_is_composed_again(mount: Path, make: Callable[..., Path]) -> None:
    with (mount / "unloaded_tainted").open("rb", buffering=0) as report:
        assert report.read(100) == b""
        request(mount, f"insmod {make('other', intree=False)}", "rmmod other")
        report.seek(0)
        assert report.read(100) == b"other (OE) 1\n"


def test_what_debugfs_refuses(mount: Path) -> None:
    for attempt in (
        lambda: (mount / "new").write_text("x"),
        lambda: (mount / "stats").unlink(),
        lambda: (mount / "folder").mkdir(),
        lambda: (mount / "stats").rename(mount / "other"),
    ):
        with pytest.raises(PermissionError):
            attempt()
    with pytest.raises(FileNotFoundError):
        (mount / "nothing").read_text()
    with pytest.raises(FileNotFoundError):
        (mount / ".control" / "x").read_text()


def test_read_only(mounted: Callable[..., Path]) -> None:
    folder = mounted("-o", "ro")
    assert "Mods ever loaded" in (folder / "stats").read_text()
    with pytest.raises(OSError, match="Read-only"):
        os.open(folder / "control", os.O_WRONLY)
