"""Traces of booted kernels that had the statistics too: both must say the same, to the byte."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from loader.observe.account import Account
from loader.observe.call import INIT_FAILED, ObservedCall
from loader.observe.recording import Recording
from loader.observe.replay import account
from modfs.texts import stats, unloaded_tainted
from modfs.tracing.record import recording_of
from tests.recordings import STOCK, TRACES

IDS = [path.name.removesuffix(".txt.zst") for path in TRACES]


@cache
def recording(path: Path) -> Recording:
    return recording_of(path)


def named(name: str) -> Recording:
    return recording(next(path for path in TRACES if path.name.startswith(name)))


def kinds(counted: Account) -> list[tuple[int, str]]:
    return [(times, affects) for times, _, affects in counted.gaps.rows()]


def test_all_are_there() -> None:
    assert (len(TRACES), len(STOCK)) == (9, 3)
    moments = sum(text.file == "stats" for path in TRACES for text in recording(path).texts)
    assert moments == 73


@pytest.mark.parametrize("path", TRACES, ids=IDS)
def test_every_text_is_the_kernels(path: Path) -> None:
    observed = recording(path)
    assert len(observed.texts) > 3
    for text in observed.texts:
        snapshot = account(observed, text.moment).snapshot()
        made = stats if text.file == "stats" else unloaded_tainted
        assert made(snapshot) == text.text, text.moment


@pytest.mark.parametrize("path", TRACES, ids=IDS)
def test_all_is_known_but_what_was_missed(path: Path) -> None:
    counted = account(recording(path))
    assert bool(counted.gaps) == path.name.startswith("missed")


def test_what_was_missed_is_counted() -> None:
    """The probe on load_module's return had a bound: 16 of 294 loads are without it."""
    observed = named("missed")
    loads = [item for item in observed.items if isinstance(item, ObservedCall)]
    missed = [call for call in loads if "returns" in call.gaps]
    assert len(missed) == 16
    assert kinds(account(observed)) == [(16, "-"), (16, "-")]
    assert not account(observed, "r6").gaps  # before the first of them
    assert account(observed, "copies1").gaps


@pytest.mark.parametrize("path", TRACES, ids=IDS)
def test_init_that_failed(path: Path) -> None:
    """They are in no counter of the kernel's, but here; module_free tells of each too."""
    observed = recording(path)
    failed = [
        item
        for item in observed.items
        if isinstance(item, ObservedCall) and item.outcome == INIT_FAILED
    ]
    rows = account(observed).failed_inits.values()
    assert sum(row.count for row in rows) == len(failed)
    for call in failed:
        assert call.result and call.memory_size and call.module


def test_the_init_that_failed_in_a_coldplug() -> None:
    (row,) = account(named("udev8-early")).failed_inits.values()
    assert (row.module, row.error, row.count) == ("powernow_k8", "ENODEV", 2)
    assert row.tasks == {"(udev-worker)": 2}
    assert 0.05 < row.longest < row.seconds < 0.4


def test_debian_6_1_has_no_kinds_of_memory() -> None:
    """What that kernel does not tell is said, and what it tells is counted."""
    observed = recording(STOCK[0])
    assert observed.header.release == "6.1.0-56-cloud-amd64"
    counted = account(observed)
    assert counted.counters.modcount == 2
    assert counted.counters.failed_load_modules == 4  # 6.1 has no early check
    assert counted.counters.failed_becoming == 2
    assert counted.gaps.affected() == {
        "total_mod_size",
        "total_text_size",
        "invalid_becoming_bytes",
        "invalid_mod_bytes",
    }


@pytest.mark.parametrize("path", STOCK[1:], ids=["6.12", "7.3"])
def test_debian_since_6_12(path: Path) -> None:
    """Two probes on one function count once; a duplicate's name was not probed there."""
    counted = account(recording(path))
    counters = counted.counters
    assert (counters.modcount, counters.failed_becoming) == (2, 4)
    sizes = re.findall(r"insmod-.* alloc: .* size=(\d+) type=[04]\n", path.read_text())
    assert counters.total_mod_size == sum(map(int, sizes)) > 0
    assert counted.gaps.affected() <= {"duplicates"}
