"""modfs as others get it: a wheel in an environment of its own, a Debian package.

``make test-packages`` runs these: they take minutes, and the network.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT


def run(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """What it said; it must succeed."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def copy_project(folder: Path) -> None:
    """What git has of it, as it lies here."""
    script = 'git ls-files -z | tar --null -cT - | tar -xC "$1"'
    run("sh", "-c", script, "sh", folder, cwd=PROJECT)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git has."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    run(
        "sh",
        "-c",
        f"git -C {PROJECT} ls-files -z | tar -C {PROJECT} --null -cT - | tar -xC {source}",
    )
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def make_venv(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Callable[..., Path]:
    """An environment with the wheel: ``make_venv(*more arguments of pip) -> its folder``."""

    def make(*more: str | Path) -> Path:
        folder = tmp_path_factory.mktemp("venv")
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin/pip", "install", f"{wheel}[test]", *more, cwd="/")
        return folder

    return make


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The tests without the packages that they test."""
    for name in ("tests", "examples", "docs", "README.md", "pyproject.toml"):
        (tmp_path / name).symlink_to(PROJECT / name)
    return tmp_path


def plain() -> dict[str, str]:
    """An environment in which nothing of this run's is found."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
