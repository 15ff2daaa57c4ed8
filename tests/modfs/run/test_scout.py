"""What a path leads to for another process: seen by the scout, and remembered by the kernel."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modfs.run.glance import NOTHING, glance
from modfs.run.scout import Order, Scout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mknod and chroot need root")


@pytest.fixture(scope="module")
def scout() -> Iterator[Scout]:
    """In a process of one thread, as it has to be made; it ends with the test's."""
    yield Scout()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mknod(tmp_path / "device", stat.S_IFCHR | 0o600, os.makedev(199, 7))
    (tmp_path / "absolute").symlink_to("/inside/device")
    (tmp_path / "inside").mkdir()
    os.mknod(tmp_path / "inside/device", stat.S_IFBLK | 0o666, os.makedev(199, 3))
    (tmp_path / "inside/device").chmod(0o666)
    (tmp_path / "program").write_bytes(b"\x01\x02\x03\x04rest")
    (tmp_path / "script").write_text(f"#! {tmp_path}/program -x\n")
    (tmp_path / "loop").write_text(f"#!{tmp_path}/loop\n")
    for name in ("program", "script", "loop"):
        (tmp_path / name).chmod(0o711)
    (tmp_path / "text").write_text("text")
    os.mkfifo(tmp_path / "fifo", 0o777)
    tmp_path.chmod(0o711)
    for parent in tmp_path.parents[:-2]:
        parent.chmod(0o711)
    return tmp_path


@pytest.fixture
def caller(folder: Path) -> Iterator[int]:
    """A process in that folder."""
    yield from _process(folder, "")


@pytest.fixture
def prisoner(folder: Path) -> Iterator[int]:
    """One whose root is that folder, and who is nobody."""
    yield from _process(folder, "os.chroot('.'); os.setgroups([]); os.setresuid(*[65534] * 3)")


def _process(folder: Path, before: str) -> Iterator[int]:
    program = f"import os; {before}\nprint(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_devices(scout: Scout, caller: int, folder: Path) -> None:
    for path in (b"device", bytes(folder / "device"), b"inside/../device"):
        seen = scout.look(Order(caller, path, access=os.R_OK))
        assert seen is not None and stat.S_ISCHR(seen.mode)
        assert (seen.major, seen.minor) == (199, 7)
    assert scout.look(Order(caller, b"nowhere")) is None
    assert scout.look(Order(caller, b"device/x")) is None
    assert scout.look(Order(1 << 30, b"device")) is None
    assert scout.look(Order(caller, b"absolute", follow=False)) is None  # ELOOP


def test_its_root_and_its_rights(scout: Scout, prisoner: int) -> None:
    for path in (b"absolute", b"/inside/device", b"../../inside/device"):
        seen = scout.look(Order(prisoner, path, access=os.R_OK | os.W_OK))
        assert seen is not None and stat.S_ISBLK(seen.mode) and seen.minor == 3
    assert scout.look(Order(prisoner, b"/device", access=os.R_OK)) is None
    assert scout.look(Order(prisoner, b"/device")) is not None


def test_programs(scout: Scout, caller: int, prisoner: int, folder: Path) -> None:
    for path in (b"program", b"script"):
        seen = scout.look(Order(caller, path, access=os.X_OK))
        assert seen is not None and seen.head == b"\x01\x02\x03\x04rest"
        assert seen.name.endswith(b"program")
    # Who may execute it and not read it.
    seen = scout.look(Order(prisoner, b"/program", access=os.X_OK))
    assert seen is not None and seen.head == b"\x01\x02\x03\x04rest"
    for path in (b"loop", b"text", b"fifo", b"device", b"."):
        assert scout.look(Order(caller, path, access=os.X_OK)) is None


def test_it_comes_back_from_where_it_was(scout: Scout, caller: int, prisoner: int) -> None:
    for _ in range(50):
        assert scout.look(Order(prisoner, b"/text")) is not None
        assert scout.look(Order(caller, b"/text")) is None
        assert scout.look(Order(caller, b"/dev/null", access=os.W_OK)) is not None


def test_glances(caller: int, prisoner: int, folder: Path) -> None:
    os.stat(folder / "device")  # so that it is remembered
    found = glance(caller, bytes(folder / "device"), None, True)
    assert found is not None and stat.S_ISCHR(found.mode) and found[1:] == (199, 7)
    found = glance(caller, b"device", None, True)
    assert found is not None and found[1:] == (199, 7)
    assert glance(caller, b"text/x", None, True) in (None, NOTHING)
    assert glance(caller, b"absolute", None, True) is None  # it leaves the folder
    inside = glance(prisoner, b"/inside/device", None, True)
    assert inside is not None and stat.S_ISBLK(inside.mode) and inside[1:] == (199, 3)
    assert glance(1 << 30, b"/dev/null", None, True) is None


def test_a_file_that_is_served_is_never_waited_for(caller: int) -> None:
    """Processes come and go: procfs has to be asked."""
    assert glance(caller, b"/proc/self/fd/0", None, True) is None
