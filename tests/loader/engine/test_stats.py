"""Counters at one moment: their widths, and what they add up to (behaviour.md section 1)."""

from __future__ import annotations

import pytest

from loader.engine.stats import Counters, Duplicate, Snapshot

STEPS = ("kreads", "decompress", "becoming", "load_modules")
COUNTS = ("modcount", *(f"failed_{step}" for step in STEPS))
LOST = tuple(f"invalid_{step}_bytes" for step in ("kread", "decompress", "becoming", "mod"))
BYTES = ("total_mod_size", "total_text_size", *LOST)


def test_all_start_at_nothing() -> None:
    snapshot = Snapshot.of(Counters())
    assert {getattr(snapshot, name) for name in (*COUNTS, *BYTES, "wasted_bytes")} == {0}
    assert not (snapshot.duplicates or snapshot.unloaded_tainted or snapshot.modules)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_wrap_at_32_bits(name: str) -> None:
    assert getattr(Snapshot.of(Counters(**{name: 2**32 - 1})), name) == 4294967295
    assert getattr(Snapshot.of(Counters(**{name: 2**32 + 5})), name) == 5


@pytest.mark.parametrize("name", BYTES)
def test_bytes_wrap_at_64_bits(name: str) -> None:
    assert getattr(Snapshot.of(Counters(**{name: 2**64 + 5})), name) == 5
    assert getattr(Snapshot.of(Counters(**{name: -22})), name) == 18446744073709551594


def test_what_was_wasted_is_the_four_added_modulo_2_to_the_64() -> None:
    each = dict(zip(LOST, (1, 20, 300, 4000), strict=True))
    assert Snapshot.of(Counters(**each, total_mod_size=7)).wasted_bytes == 4321
    each["invalid_mod_bytes"] = 2**64 - 300
    assert Snapshot.of(Counters(**each)).wasted_bytes == 21


def test_a_snapshot_does_not_change() -> None:
    counters = Counters(modcount=1)
    row = Duplicate("m", 1, True, False)
    snapshot = Snapshot.of(counters, (row,))
    counters.modcount = 2
    assert (snapshot.modcount, snapshot.duplicates) == (1, (row,))
    with pytest.raises(AttributeError):
        snapshot.modcount = 3  # type: ignore[misc]
