"""Texts of traces, and the recordings that are made of them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from loader.errors import UserError
from loader.observe.recording import Recording
from loader.observe.recording_write import lines
from loader.observe.replay import account
from modfs.texts import stats
from modfs.tracing.record import recording_of
from tests.fuzz.mutate import Chance, damaged_text
from tests.fuzz.seeds import DATA
from tests.fuzz.target import Target

_SEEDS = tuple(sorted((DATA / "traces").glob("stock-*.txt")))
_VALUES = (
    *(
        "(fault)",
        '"',
        '="',
        "\n",
        "-1",
        "0x",
        "18446744073709551616",
        "9" * 50,
        " <- ",
        "()",
        "@END",
    ),
    *("sys_finit_module -> 0x0", "(flags: 4)", "@TRACE\n", "@STATS a\n", "CPU:0 [LOST 9 EVENTS]\n"),
    *(
        "# entries-in-buffer/entries-written: 9/99\n",
        "[000]",
        "\x00",
        "\udcff",
        "é",
        "id=1",
        "ret=-12",
    ),
    *(
        "insmod-94 [001] 9.1: tracing_mark_write: moment a\n",
        "\\",
        ";",
        "name=",
        "type=9",
        "size=x",
    ),
)


@functools.cache
def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def make(chance: Chance) -> bytes:
    found = _lines(chance.choice(_SEEDS))
    start = chance.choice((0, 0, chance.randrange(len(found))))
    text = damaged_text(chance, "".join(found[start:]), _VALUES)
    return text.encode("utf-8", "surrogateescape")


def check(data: bytes) -> str:
    """What is made of a text is the same after it was written and read."""
    with tempfile.NamedTemporaryFile(prefix="modfs-fuzz-") as file:
        path = Path(file.name)
        path.write_bytes(data)
        try:
            made = recording_of(path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1, "a message is one line"
            return "UserError"
        path.write_bytes(b"".join(lines(made.header, made.texts, made.items, 0)))
        again = Recording.read(path)
    counted = account(made)
    assert again == made
    assert stats(account(again).snapshot()) == stats(counted.snapshot())
    return "not all seen" if counted.gaps else "ok"


def make_recording(chance: Chance) -> bytes:
    made = recording_of(chance.choice(_SEEDS))
    written = b"".join(lines(made.header, made.texts, made.items, 0)).decode()
    return damaged_text(chance, written, _VALUES).encode("utf-8", "surrogateescape")


def check_recording(data: bytes) -> str:
    with tempfile.NamedTemporaryFile(prefix="modfs-fuzz-") as file:
        path = Path(file.name)
        path.write_bytes(data)
        try:
            stats(account(Recording.read(path)).snapshot())
        except UserError as error:
            assert len(str(error).splitlines()) == 1, "a message is one line"
            return "UserError"
    return "ok"


TARGETS = (
    Target("trace", make, check, 100),
    Target("recording", make_recording, check_recording, 100),
)
