"""Which boots a sweep is of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loader.errors import UserError
from loader.simulate.machine import Coldplug, Machine
from loader.simulate.udev import config_for
from modfs.sweep.plan import Point, Run, read_seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1-5", [1, 2, 3, 4, 5]),
        ("3", [1, 2, 3]),
        ("7-7", [7]),
        ("9,7", [9, 7]),
        ("3,1-2,2-4", [3, 1, 2, 4]),
        ("-1", [-1]),
        ("0-0", [0]),
    ],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "5-1", "1-", "1-9999999", "1,,2", "1.5", "9" * 30, "9999999"]
)
def test_what_are_no_seeds(text: str) -> None:
    with pytest.raises(UserError, match="--seeds"):
        read_seeds(text)


def test_a_digest_is_of_all_that_decides_a_boot() -> None:
    machine = Machine(4, 1 << 30, (Coldplug(),))
    one = Point("a", Run(machine, config_for(machine)))
    assert one.digest == Point("b", Run(replace(machine), config_for(machine))).digest
    others = [
        Point("a", Run(replace(machine, processors=5), config_for(machine))),
        Point(
            "a", Run(replace(machine, costs=replace(machine.costs, fork=1.0)), config_for(machine))
        ),
        Point("a", Run(machine, config_for(machine, "6.4"))),
        Point("a", Run(machine, config_for(machine, "6.12 without idempotent"))),
    ]
    assert len({point.digest for point in (one, *others)}) == 5
