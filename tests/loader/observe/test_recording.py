"""Recordings: written and read again they are the same, and mistakes in them are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.calls import Task
from loader.errors import UserError
from loader.observe.call import LOAD, Item, ModuleRequest, ObservedCall, ObservedFile
from loader.observe.events import Lost, Moment
from loader.observe.recording import Before, Header, KernelText, Recording, is_recording
from loader.observe.recording_write import lines
from loader.observe.replay import account

TASK = Task("insmod", 44, 1, "insmod a.ko", "/bin/insmod", 0, "a.service")
CALL = ObservedCall(
    7,
    "finit_module",
    TASK,
    LOAD,
    1.5,
    2.5,
    17,
    4,
    "a=1",
    ObservedFile("a.ko", 1 << 31, (1 << 64) - 1, 100),
    None,
    100,
    90,
    100,
    "a",
    "OE",
    ((0, 4096), (None, 8192)),
    {"read": 1.6, "init": 1.7},
    True,
    6,
    "fs-a",
    ("returns",),
    "pci:v0001*",
    "0000:00:01.0",
    0.25,
    45,
    12288,
    "Unknown symbol",
)
ITEMS: list[Item] = [
    ObservedCall(3, "init_module", Task("x", 1), "unknown", result=512),
    Moment(5, 1.25, "m"),
    CALL,
    ModuleRequest(8, 3.0, Task("mount", 9), "fs-a", True, "get_fs_type", 256, 3.5, 0.125),
    Lost(0, "lost", 12),
]
HEADER = Header("6.12.1", None, "live", "x86_64", "boot", 1e9, ("f:a b",), ("early-check",))
BEFORE = Before("b", 4096, "P")
TEXT = KernelText("stats", "m", "text\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "r.jsonl"
    made.write_bytes(b"".join(lines(HEADER, [BEFORE, TEXT], ITEMS, 100)))
    return made


def test_written_and_read(path: Path) -> None:
    read = Recording.read(path)
    assert is_recording(path)
    assert read == Recording(HEADER, ITEMS, [BEFORE], [TEXT], True)


def test_one_that_was_not_ended(path: Path) -> None:
    """As a killed recorder leaves it, perhaps in the middle of a line."""
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(content[:-1]))
    assert "cut" in account(Recording.read(path)).gaps.names()
    path.write_bytes(b"".join(content[:-2]) + content[-2][:10])
    read = Recording.read(path)
    assert read.items == ITEMS[:-1] and not read.whole


@pytest.mark.parametrize(
    "change, told",
    [
        ((b'"recording":1', b'"recording":2'), "line 1: recording: one of 1 is needed, not 2"),
        ((b'"outcome":"load"', b'"outcome":"lode"'), "line 6: outcome: one of live, "),
        ((b'"EEXIST"', b'"EEXISTS"'), "line 6: result: OK or an errno is needed"),
        ((b'"returns"', b'"retruns"'), "line 6: gaps[0]: one of lost, "),
        ((b'"module":"a"', b'"modul":"a"'), "line 6: modul: is not known; did you mean module?"),
        ((b'"end":5', b'"end":6'), "5 calls and the like are there, not 6"),
        ((b'"n":7', b'"n":-7'), "line 6: n: "),
    ],
)
def test_mistakes(path: Path, change: tuple[bytes, bytes], told: str) -> None:
    content = path.read_bytes()
    assert change[0] in content
    path.write_bytes(content.replace(*change))
    with pytest.raises(UserError) as raised:
        Recording.read(path)
    assert str(raised.value).startswith(str(path))
    assert told in str(raised.value)


def test_no_such_moment(path: Path) -> None:
    with pytest.raises(UserError, match="no moment 'n' in the recording; known are m"):
        account(Recording.read(path), "n")
