"""Single steps of the sandbox, in a namespace that ends with them; all of them: tests/run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

in_a_namespace = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/sys/kernel/debug").is_dir(), reason="root's, with sysfs"
)


def in_namespace(program: str, *words: object) -> str:
    """What a program prints that has entered a sandbox; ``words`` are its sys.argv[1:]."""
    begin = "import sys; from pathlib import Path; from modfs.run import sandbox; sandbox.enter();"
    command = [sys.executable, "-c", begin + program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mounts() -> list[str]:
    """The host's, without those of whoever runs other tests meanwhile."""
    return [
        row for row in Path("/proc/self/mountinfo").read_text().splitlines() if "/tmp" not in row
    ]


@in_a_namespace
@pytest.mark.parametrize("name", ["plain", "a b", "a,b", "a:b", "a\\b", "a\\,:b", "ünï"])
def test_a_tree_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Overlay takes its options apart at commas and colons."""
    tree = tmp_path / name
    tree.mkdir()
    (tree / "modules.dep").write_text("its own\n")
    before = mounts()
    printed = in_namespace(
        "sandbox.prepare(); sandbox.place_tree(Path(sys.argv[1]), 'no-such-release');"
        "place = Path('/lib/modules/no-such-release/modules.dep');"
        "print(place.read_text(), end=''); place.write_text('changed')",
        tree,
    )
    assert printed == "its own\n"
    assert (tree / "modules.dep").read_text() == "its own\n"
    assert not Path("/lib/modules/no-such-release").exists()
    assert mounts() == before


@in_a_namespace
def test_the_real_proc_stays_at_hand() -> None:
    found = in_namespace(
        "sandbox.prepare(); print((sandbox.DEBUG / '.modfs/proc/self/comm').exists(),"
        "sandbox.proc_has_modules(), sorted(path.name for path in sandbox.DEBUG.iterdir()))"
    )
    has_modules = Path("/proc/modules").exists()
    assert found == f"True {has_modules} ['.modfs', 'modules']\n"
