"""tools.fit: its measures, worked out by hand, and the cases that it has."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from loader.simulate.costs import Costs
from loader.simulate.machine_file import machine_from
from tests.recordings import SEEDS
from tools.fit.cases import Case, read_cases, read_merged
from tools.fit.measure import Prediction, badness, predict, quantile, spearman
from tools.fit.search import BOUNDS, Found, costs_at, search

MACHINE = """
processors = 8
kernel = "6.4"
[modules.one]
size = 100000
depends = ["two"]
[modules.two]
size = 100000
[[coldplug]]
[[coldplug.devices]]
modules = ["two"]
count = 3
[[coldplug]]
[[coldplug.devices]]
modules = ["one"]
count = "processors"
"""


def case(**failed: int) -> Case:
    return Case("some", machine_from(tomllib.loads(MACHINE)), failed, "nowhere")


def test_who_asks_for_what_is_there_already_does_not_count() -> None:
    """Two is there when the second coldplug begins."""
    assert case().machine.asked() == {"two": 3, "one": 8}
    assert case().baseline() == {"two": 2, "one": 7}


def test_ranks() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3: 4.5 / sqrt(4.5 * 5)
    assert spearman([1, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(22.5))
    assert math.isnan(spearman([7, 7, 7], [1, 2, 3]))


def test_bounds_of_an_interval() -> None:
    assert quantile(range(41), 0.05) == 2 and quantile(range(41), 0.95) == 38
    assert quantile([5], 0.05) == quantile([5], 0.95) == 5


def test_a_prediction_is_held_against_what_was_real() -> None:
    one = Prediction(case(one=6, two=2), (6, 8, 10), {"one": 6.0, "two": 2.0})
    assert one.off == 0 and one.inside
    assert one.baseline_off == pytest.approx(9 / 8 - 1)
    assert badness(one) == 0
    assert badness(replace(one, rows={"one": 0.0, "two": 2.0})) == pytest.approx(
        math.log(7.5 / 1.5)
    )


def test_what_a_machines_file_gives_is_kept() -> None:
    """Its rules take a second; those of the costs that are tried do not."""
    slow = machine_from(tomllib.loads(MACHINE + "[costs]\nrules = 1.0\n"))
    named = replace(case(one=7), machine=slow)
    quick = predict(case(one=7), Costs(), (1,))
    late = predict(named, Costs(), (1,))
    assert quick.totals != late.totals or quick.rows != late.rows


def test_the_best_of_others_is_told_without_the_one_left_out() -> None:
    names = [*BOUNDS]
    points = [tuple(float(value) for _ in names) for value in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)]
    falling = [float(10 - at) for at in range(10)]
    found = Found(points, {"falls": falling, "rises": [10 * value for value in range(10)]})
    best_of_falls, best_of_all = found.best(without=["rises"]), found.best()
    assert getattr(best_of_falls, names[0]) == pytest.approx((6 * 7 * 8 * 9 * 10) ** 0.2)
    assert getattr(best_of_all, names[0]) == pytest.approx(120**0.2)


def test_points_are_within_bounds() -> None:
    found = search([case(one=5)], 4, 1)
    assert len(found.points) == len(found.badness["some"]) == 4
    for point in found.points:
        costs = costs_at(point)
        for name, (least, most) in BOUNDS.items():
            assert least <= getattr(costs, name) <= most


def test_the_cases_are_what_was_published_and_recorded() -> None:
    cases = {one.name: one for one in read_cases()}
    assert [cases[f"published-{name}"].total for name in ("8", "255", "448", "448-kasan")] == [
        99, 1411, 8583, 4096,
    ]  # fmt: skip
    text = (Path(SEEDS) / "255-vcpu-without-early-check.stats").read_text()
    for name, count in cases["published-255"].failed.items():
        assert f"{name}\t{count:15}" in text
    assert cases["6.1-8-children8-1"].group == cases["6.1-8-2"].group == "6.1-8"
    assert cases["published-448-kasan"].group == "published-448"
    assert all(one.calls and one.machine.kernel in ("6.12", "7.3") for one in read_merged())
