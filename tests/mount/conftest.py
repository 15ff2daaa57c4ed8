"""Real mounts, and slow modules to wait for."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs.fuse.server import CHOSEN, LIBRARY

SLOW = 0.5  # seconds

LIBRARIES: dict[str, str] = {
    "libfuse2": "libfuse.so.2",
    "libfuse3": "libfuse3.so.4",
    "libfuse3.14": "libfuse3.so.3",
}
"""Each libfuse that may be here, by its file. The tests of CORE run once with each, and once
without; with MODFS_TEST_LIBRARIES=all in the environment, all tests of mounts do."""
DEVICE = "device"

CORE = ("test_ends", "test_files", "test_status", "test_background")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in CORE or _ALL:
        metafunc.parametrize("libfuse", _here(), indirect=True)


_ALL = os.environ.get("MODFS_TEST_LIBRARIES") == "all"


def _here() -> list[str]:
    return [DEVICE, *(name for name, file in LIBRARIES.items() if _loads(file))]


def _loads(file: str) -> bool:
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True


@pytest.fixture(autouse=True)
def libfuse(
    request: pytest.FixtureRequest,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What serves the mounts of this test; without a parameter, what modfs takes by itself."""
    wanted = getattr(request, "param", None)
    if wanted is None:
        return
    file = LIBRARIES.get(wanted)
    for name, value in ((CHOSEN, "libfuse" if file else DEVICE), (LIBRARY, file or "")):
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(environment, name, value)


@pytest.fixture(scope="session", autouse=True)
def needs_fuse() -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened here")


@pytest.fixture
def make(workshop: Path) -> Callable[..., Path]:
    """Write a module file: ``make("name", copy=1, **fields of ModuleSpec)``."""

    def make(name: str, copy: int = 0, **fields: object) -> Path:
        path = workshop / f"{name}.{copy}.ko"
        path.write_bytes(build_module(ModuleSpec(name, **fields)))  # type: ignore[arg-type]
        path.chmod(0o644)
        return path

    return make


@pytest.fixture
def environment_file(workshop: Path) -> Path:
    """Init routines: ``slow`` takes half a second, ``stuck`` an hour, ``bad`` fails."""
    path = workshop / "environment.json"
    routines = {
        "slow": {"seconds": SLOW},
        "stuck": {"seconds": 3600},
        "bad": {"returns": "ENODEV"},
        "slow_bad": {"seconds": SLOW, "returns": "ENODEV"},
    }
    path.write_text(json.dumps({"init": routines}))
    return path


@pytest.fixture
def open_workshop(workshop: Path) -> Path:
    """Other users can get to the files of the test."""
    workshop.chmod(0o755)
    return workshop


def request(mount: Path, *lines: str) -> int:
    """Write lines in one write; the errno, 0 if none."""
    fd = os.open(mount / "control", os.O_WRONLY)
    try:
        os.write(fd, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        with suppress(OSError):  # what the write said is told, also if the mount has gone since
            os.close(fd)
        return error.errno or -1
    os.close(fd)
    return 0


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def writers(mount: Path, lines: list[str]) -> Iterator[list[int]]:
    """A thread for each line; their errnos are in the list after the block."""
    results: list[int] = []

    def ask(line: str) -> None:
        try:
            results.append(request(mount, line))
        except OSError as error:  # the mount has gone before it could be opened
            results.append(error.errno or -1)

    threads = [threading.Thread(target=ask, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def stats(mount: Path) -> dict[str, int]:
    """The numbers of the report, by label."""
    rows = [line.split("\t") for line in (mount / "stats").read_text().splitlines()]
    return {row[0].strip(): int(row[1]) for row in rows if len(row) == 2}
