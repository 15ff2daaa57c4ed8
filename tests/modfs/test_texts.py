"""The texts, byte for byte: the published reports, and the rules of behaviour.md section 1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loader.engine.stats import Counters, Duplicate, LoadedModule, Snapshot, UnloadedTainted
from modfs import texts
from tests.recordings import SEEDS

EMPTY = Snapshot.of(Counters())
MODULE = LoadedModule("m", "live", 8192, 0, 0, (), False, "", True, ())


def snapshot_of(report: str) -> Snapshot:
    """The numbers of a published report, to be written again."""
    rows = [line.split("\t") for line in report.splitlines()]
    values = {row[0].strip(): int(row[1]) for row in rows if len(row) == 2}
    table = [[cell.strip() for cell in row] for row in rows if len(row) == 3][1:]
    duplicates = tuple(
        Duplicate(name, int(count), "Becoming" in reason, "Load" in reason)
        for name, count, reason in table
    )
    labels = {
        "modcount": "Mods ever loaded",
        "failed_becoming": "Mods failed on becoming",
        "failed_load_modules": "Mods failed on load",
        "total_mod_size": "Total module size",
        "total_text_size": "Total mod text size",
        "invalid_becoming_bytes": "Failed becoming bytes",
        "invalid_mod_bytes": "Failed kmod bytes",
    }
    counters = Counters(**{field: values[label] for field, label in labels.items()})
    return Snapshot.of(counters, duplicates)


@pytest.mark.parametrize("path", sorted(SEEDS.glob("*.stats")), ids=lambda path: path.stem)
def test_published_reports(path: Path) -> None:
    report = path.read_text()
    assert texts.stats(snapshot_of(report)) == report


def test_averages_need_both_numbers_and_round_up() -> None:
    snapshot = replace(EMPTY, failed_kreads=3, invalid_kread_bytes=10)
    assert "     Avg fail kread bytes\t4\n" in texts.stats(snapshot)
    for half in (replace(EMPTY, failed_kreads=3), replace(EMPTY, invalid_kread_bytes=10)):
        assert "Avg" not in texts.stats(half) and "Average" not in texts.stats(half)


def test_counters_wrap() -> None:
    counters = Counters(failed_kreads=(1 << 32) + 5, invalid_kread_bytes=-9, invalid_mod_bytes=10)
    snapshot = Snapshot.of(counters)
    assert (snapshot.failed_kreads, snapshot.invalid_kread_bytes) == (5, (1 << 64) - 9)
    assert snapshot.wasted_bytes == 1
    big = Snapshot.of(Counters(failed_kreads=1 << 31))
    assert texts.FILES["failed_kreads"].text(big) == "-2147483648\n"  # a signed number
    assert "Mods failed on kread\t2147483648\n" in texts.stats(big)  # an unsigned one


def test_the_text_ends_with_the_kernel_s_buffer() -> None:
    for length, count, is_cut in (
        (10, 60, False),
        (50, 10, False),
        (50, 40, True),
        (50, 111, True),
    ):
        rows = tuple(Duplicate("x" * length, 1, True, False) for _ in range(count))
        snapshot = replace(EMPTY, failed_becoming=count, duplicates=rows)
        text, size = texts.stats(snapshot), 1024 + 64 * count
        assert (len(text) == size - 1) == is_cut
        assert len(text) < size
        assert text.endswith("Becoming\n") != is_cut


def test_no_more_than_111_rows() -> None:
    rows = tuple(Duplicate("m", 1, True, False) for _ in range(150))
    text = texts.stats(replace(EMPTY, failed_becoming=150, duplicates=rows))
    assert text.count("                        m\t") == 111


def test_files() -> None:
    """behaviour.md section 1."""
    private = (
        *("stats", "total_mod_size", "total_text_size", "invalid_kread_bytes"),
        *("invalid_decompress_bytes", "invalid_becoming_bytes", "invalid_mod_bytes", "modcount"),
        *("failed_kreads", "failed_decompress", "failed_becoming", "failed_load_modules"),
    )
    modes = {name: file.mode for name, file in texts.FILES.items()}
    assert modes == {**dict.fromkeys(private, 0o400), "unloaded_tainted": 0o444}
    for name, file in texts.FILES.items():
        if name not in ("stats", "unloaded_tainted"):
            assert file.text(EMPTY) == "0\n"


def test_unloaded_tainted() -> None:
    rows = (UnloadedTainted("b", "POE", 2), UnloadedTainted("a", "O", 1))
    assert texts.unloaded_tainted(replace(EMPTY, unloaded_tainted=rows)) == "b (POE) 2\na (O) 1\n"


@pytest.mark.parametrize(
    ("module", "row"),
    [
        (MODULE, "m 8192 0 - Live 0x0000000000000000\n"),
        (replace(MODULE, permanent=True), "m 8192 0 [permanent], Live 0x0000000000000000\n"),
        (
            replace(MODULE, refcount=2, users=("b", "a"), taints="OE"),
            "m 8192 2 b,a, Live 0x0000000000000000 (OE)\n",
        ),
        (
            replace(MODULE, state="coming", init_size=4096, refcount=1, taints="O"),
            "m 12288 1 - Loading 0x0000000000000000 (O+)\n",
        ),
    ],
)
def test_proc_modules(module: LoadedModule, row: str) -> None:
    assert texts.proc_modules(replace(EMPTY, modules=(module,))) == row


def test_sys_module() -> None:
    module = replace(MODULE, users=("u",), taints="OE", parameters=(("n", "5", 0o644),))
    hidden = replace(MODULE, name="early", in_sysfs=False)
    assert texts.sys_module(replace(EMPTY, modules=(module, hidden))) == {
        "m": {
            "initstate": "live\n",
            "refcnt": "0\n",
            "coresize": "8192\n",
            "initsize": "0\n",
            "taint": "OE\n",
            "parameters/n": "5\n",
            "holders/u": "",
        }
    }
