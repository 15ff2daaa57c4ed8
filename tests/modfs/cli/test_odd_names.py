"""Names that would move a terminal's cursor or colour it are told in letters.

Whoever makes a module file or names a program chooses them, and somebody else reads them.
"""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs.cli import VERBS
from tests.modfs.doors import Door

_NAME = "\x1b[31mred\x9b7m"
_RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of such a name, and events of such a program."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.ko").write_bytes(
        build_module(ModuleSpec("plain")).replace(b"plain", b"\x1b[1mx")
    )
    door = Door()

    def ask() -> None:
        Path("/proc/thread-self/comm").write_text(_NAME)
        door.ask(*3 * [f"insmod {folder}/odd.ko"], f"insmod '/{_NAME}.ko'")

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    (folder / "events.jsonl").write_text(door.read("events"))
    (folder / "control").write_text(door.read("control"))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "blame events.jsonl",
        "blame events.jsonl --by who",
        "explain \x1b[1mx events.jsonl",
        "explain \x1b[2mx events.jsonl",
        "inspect odd.ko",
        "inspect \x1b[1m.ko",
        "timeline events.jsonl -o events.html",
        "export events.jsonl",
        "verify events.jsonl",
        "verify control",
        "\x1b[1m",
    ],
)
def test_verbs(words: str, folder: Path, environment: dict[str, str]) -> None:
    assert words.split()[0] in VERBS or words == "\x1b[1m"
    done = subprocess.run(
        ["modfs", *words.split()], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.stdout + done.stderr or words.startswith("timeline")
    assert not _RAW.search(done.stdout), done.stdout
    assert not _RAW.search(done.stderr), done.stderr


def test_control(folder: Path) -> None:
    text = (folder / "control").read_text()
    assert r"\x1b[31mred" in text
    assert not _RAW.search(text)
