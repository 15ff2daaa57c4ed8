"""The kernel's texts, read: those of real kernels, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.engine.stats import Counters, Duplicate, Snapshot, UnloadedTainted
from loader.errors import UserError
from loader.observe.recording import KernelText
from modfs.texts import stats
from modfs.texts_read import read_stats, read_unloaded_tainted
from modfs.tracing.record import recording_of
from tests.recordings import SEEDS, TRACES

REPORTS = sorted(SEEDS.glob("*.stats"))


@pytest.fixture(scope="module")
def kernels() -> list[KernelText]:
    """Texts as booted kernels printed them."""
    return [text for path in TRACES for text in recording_of(path).texts]


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_published_reports(path: Path) -> None:
    text = path.read_text()
    read = read_stats(text, path.name)
    assert stats(read.snapshot) == text and not read.is_cut


def test_booted_kernels(kernels: list[KernelText]) -> None:
    texts = [text for text in kernels if text.file == "stats"]
    assert len(texts) > 50
    for text in texts:
        read = read_stats(text.text, "stats")
        assert stats(read.snapshot) == text.text and not read.is_cut


def test_some_numbers_of_a_published_report() -> None:
    """By eye, of the report of 255 virtual processors."""
    read = read_stats(SEEDS.joinpath("255-vcpu-without-early-check.stats").read_text(), "x")
    assert read.snapshot.modcount == 67
    assert read.snapshot.failed_load_modules == 1411
    assert read.snapshot.wasted_bytes == 14588526272
    assert Duplicate("kvm_intel", 249, False, True) in read.snapshot.duplicates


def test_unloaded_tainted(kernels: list[KernelText]) -> None:
    texts = [text.text for text in kernels if text.file == "unloaded_tainted" and text.text]
    assert texts
    for text in texts:
        rows = read_unloaded_tainted(text, "unloaded_tainted")
        assert "".join(f"{row.name} ({row.taints}) {row.count}\n" for row in rows) == text
    assert read_unloaded_tainted("a b (OE) 3\n", "x") == (UnloadedTainted("a b", "OE", 3),)
    assert read_unloaded_tainted("", "x") == ()
    with pytest.raises(UserError, match="x, line 2: NAME"):
        read_unloaded_tainted("a (E) 1\nb E 1\n", "x")


def test_where_the_kernels_buffer_ended() -> None:
    """Long names fill it: the last row is half a row, and is left out."""
    rows = tuple(Duplicate(f"{n:055}", 1, True, False) for n in range(20))
    whole = Snapshot.of(Counters(failed_becoming=1), rows)
    text = stats(whole)
    assert not text.endswith("\n")
    read = read_stats(text, "x")
    assert read.is_cut and read.snapshot.duplicates == rows[: len(read.snapshot.duplicates)]
    assert text.count("Becoming\n") == len(read.snapshot.duplicates) > 0


@pytest.mark.parametrize("line", range(20))
@pytest.mark.parametrize(
    "change", ["", "x", "         Mods ever loaded\t1x", "  kvm\t-1\tLoad", "\t\t\t"]
)
def test_what_is_no_such_text(line: int, change: str) -> None:
    lines = REPORTS[0].read_text().split("\n")
    lines[line] = change
    with pytest.raises(UserError, match=r"x, line \d+: .* needed, not "):
        read_stats("\n".join(lines), "x")


def test_what_is_cut_elsewhere() -> None:
    text = REPORTS[0].read_text()
    preamble = text[: text.index("Duplicate failed")]
    for end in range(0, len(preamble) - 1, 7):
        if preamble[:end].count("\n") < 12 or not preamble[:end].endswith("\n"):
            with pytest.raises(UserError):
                read_stats(preamble[:end], "x")


def test_numbers_that_do_not_add_up() -> None:
    text = REPORTS[0].read_text().replace("mem wasted bytes\t1", "mem wasted bytes\t2")
    with pytest.raises(UserError, match="x, line 12: 14588526272, the sum of the bytes above,"):
        read_stats(text, "x")
    with pytest.raises(UserError, match="line 1: a number of 64 bits"):
        read_stats(REPORTS[0].read_text().replace("\t67", "\t99999999999999999999"), "x")
