"""Boots in virtual time: how long they take, and that they grow in proportion."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

from loader.simulate.machine import Machine
from loader.simulate.machine_file import read_machine
from loader.simulate.udev import boot
from tests.bench.harness import HERE, Row, readable, timed

_EXAMPLE = HERE.parent.parent / "examples" / "448-cpu.toml"
_SMALL, _LARGE = 10_000, 100_000  # processors


def rows() -> Iterable[Row]:
    machine = read_machine(_EXAMPLE)
    seconds = min(timed(lambda: boot(machine)) for _ in range(3))
    yield Row("boot of 448 processors", "a limit", seconds, 1.0, "s")
    small, large = (_taken(machine.with_processors(count)) for count in (_SMALL, _LARGE))
    for what, index, detail in (
        ("time", 0, f"{readable(large[0])} : {readable(small[0])}"),
        ("memory", 1, f"{large[1] >> 10} KiB : {small[1] >> 10} KiB"),
    ):
        yield Row(
            f"boot of {_LARGE:,} processors, {what} for each",
            f"of {_SMALL:,}",
            large[index] / small[index] * _SMALL / _LARGE,
            1.2,
            detail=detail,
        )


def _taken(machine: Machine) -> tuple[float, int]:
    """Seconds, and bytes of Python objects at most."""
    seconds = timed(lambda: boot(machine))
    tracemalloc.start()
    boot(machine)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds, peak
