"""The wheel, with the newest packages that it may have and with the oldest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.packages.conftest import plain, run

TESTED = ("tests/modfs/cli", "tests/mount/test_ends.py", "tests/mount/test_status.py")


def oldest() -> list[str]:
    """Each package that pyproject.toml asks for, as old as it may be."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["sign"]]
    return [re.sub(r"^([\w-]+)>=", r"\1==", text) for text in asked]


@pytest.mark.parametrize("versions", ["newest", "oldest"])
@pytest.mark.timeout(900)
def test_the_command(make_venv: Callable[..., Path], elsewhere: Path, versions: str) -> None:
    venv = make_venv(*(oldest() if versions == "oldest" else ["--upgrade"]))
    python = venv / "bin/python"
    assert not (elsewhere / "modfs").exists()
    found = run(python, "-c", "import modfs; print(modfs.__file__)", cwd=elsewhere, env=plain())
    assert found.stdout.startswith(str(venv))
    done = run(
        python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTED, cwd=elsewhere, env=plain()
    )
    assert "skipped" not in done.stdout
    print(done.stdout[-200:])


def test_what_lies_beside_it(make_venv: Callable[..., Path]) -> None:
    venv = make_venv()
    share = venv / "share"
    assert (share / "man/man1/modfs-mount.1").exists()
    assert (share / "man/man5/modfs-control.5").exists()
    assert (share / "bash-completion/completions/modfs").exists()
    assert (venv / "lib/systemd/system/modfs@.service").exists()
    assert (venv / "bin/mount.fuse.modfs").exists()
