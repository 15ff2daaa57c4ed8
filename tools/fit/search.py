"""Looks for the costs with which simulated boots come out as real ones.

Points are spread evenly (Sobol's sequence) over the possible values, on a logarithmic scale, and
each case is simulated at each point. Then costs that are best for some of the cases can be told
without another simulation: leaving out one case at a time is as cheap as leaving out none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from loader.simulate.costs import Costs
from tools.fit.cases import Case
from tools.fit.measure import badness, predict

# What is looked for, and the least and most that it may be. All other costs are measured, or matter
# little.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "fork": (50e-6, 400e-6),
    "rules": (1e-3, 8e-3),
    "form": (50e-6, 400e-6),
    "self_test": (300e-6, 3e-3),
    "broadcast": (0.03e-6, 0.3e-6),
    "jitter": (0.1, 0.5),
}
_BEST = 5  # points whose mean is taken: one alone may be lucky

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """``badness``: of each case, by its name, at each of the points."""

    points: Sequence[Point]
    badness: Mapping[str, Sequence[float]]

    def best(self, without: Collection[str] = ()) -> Costs:
        """The costs that are best for all cases but some."""
        fitted = [values for name, values in self.badness.items() if name not in without]
        totals = [sum(values) for values in zip(*fitted, strict=True)]
        order = sorted(range(len(totals)), key=totals.__getitem__)[:_BEST]
        middle = [
            math.exp(sum(math.log(self.points[at][axis]) for at in order) / len(order))
            for axis in range(len(BOUNDS))
        ]
        return costs_at(tuple(middle))


def costs_at(point: Point) -> Costs:
    """Nothing unknown is added: that is told by how well predictions are."""
    return replace(Costs(), **dict(zip(BOUNDS, point, strict=True)))


def search(
    cases: Sequence[Case],
    points: int,
    seeds: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Found:
    """Simulate all cases at so many points, a power of two, with so many seeds each."""
    from scipy.stats import qmc  # an extra: modfs[fit]

    unit = qmc.Sobol(len(BOUNDS), seed=1).random(points)
    spread = [
        tuple(
            least * (most / least) ** float(part)
            for (least, most), part in zip(BOUNDS.values(), row, strict=True)
        )
        for row in unit
    ]
    found: list[list[float]] = []
    with ProcessPoolExecutor() as pool:
        for values in pool.map(partial(_at, cases, seeds), spread, chunksize=4):
            found.append(values)
            progress(len(found))
    by_case = zip(*found, strict=True)
    return Found(spread, {c.name: v for c, v in zip(cases, by_case, strict=True)})


def _at(cases: Sequence[Case], seeds: int, point: Point) -> list[float]:
    costs = replace(costs_at(point), unknown=0.0)
    return [badness(predict(case, costs, range(1, seeds + 1))) for case in cases]
