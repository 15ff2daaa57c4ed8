"""How well simulated boots predict what really failed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import mean, median

from loader.simulate.costs import Costs
from loader.simulate.udev import boot
from tools.fit.cases import Case

_MANY = 4  # devices that ask for a module, at least


@dataclass(frozen=True, slots=True)
class Prediction:
    """A case simulated with several seeds. ``totals``: failed loads of each, in order of size;
    ``rows``: the median of each module's."""

    case: Case
    totals: tuple[int, ...]
    rows: Mapping[str, float]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.totals)

    @property
    def interval(self) -> tuple[int, int]:
        """5 and 95 % of the seeds are below."""
        return quantile(self.totals, 0.05), quantile(self.totals, 0.95)

    @property
    def off(self) -> float:
        """How far the median is off what really failed; 0.1 is ten per cent too many."""
        return self.middle / self.case.total - 1

    @property
    def inside(self) -> bool:
        """Is the real count in the interval?"""
        least, most = self.interval
        return least <= self.case.total <= most

    @property
    def baseline_off(self) -> float:
        """The same of the simplest prediction."""
        return sum(self.case.baseline().values()) / self.case.total - 1

    def ranks(self) -> tuple[float, float]:
        """Spearman's rank correlation over the modules that many ask for: of the simulated boots,
        and of the simplest prediction. NaN: all counts are equal."""
        baseline = self.case.baseline()
        many = [name for name, count in baseline.items() if count + 1 >= _MANY]
        real = [self.case.failed.get(name, 0) for name in many]
        return (
            spearman(real, [self.rows[name] for name in many]),
            spearman(real, [baseline[name] for name in many]),
        )


def predict(case: Case, costs: Costs, seeds: Iterable[int]) -> Prediction:
    """``case`` simulated with other costs, but for those that its file gives."""
    usual, given = Costs(), case.machine.costs
    own = {
        field.name: getattr(given, field.name)
        for field in fields(Costs)
        if getattr(given, field.name) != getattr(usual, field.name)
    }
    machine = replace(case.machine, costs=replace(costs, **own))
    asked = case.machine.asked()
    counts: dict[str, list[int]] = {name: [] for name in asked}
    totals = []
    for seed in seeds:
        outcome = boot(machine, seed=seed)
        totals.append(outcome.failed)
        found = {row.name: row.count for row in outcome.snapshot.duplicates}
        for name, rows in counts.items():
            rows.append(found.get(name, 0))
    middle = {name: float(median(found)) for name, found in counts.items()}
    return Prediction(case, tuple(sorted(totals)), middle)


def badness(predicted: Prediction) -> float:
    """What fitting makes least: how far the total is off, and the modules' rows, by logarithms."""
    case = predicted.case
    total = abs(math.log((mean(predicted.totals) + 1) / (case.total + 1)))
    rows = [
        min(2.0, abs(math.log((predicted.rows[name] + 1.5) / (case.failed.get(name, 0) + 1.5))))
        for name, count in case.machine.asked().items()
        if count >= _MANY
    ]
    return 4 * total + mean(rows)


def quantile(ordered: Sequence[int], part: float) -> int:
    """The one below which that part of them is."""
    return ordered[min(len(ordered) - 1, max(0, round(part * (len(ordered) - 1))))]


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation; NaN if one has no ranks."""
    return _pearson(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    """Those of equal values are the mean of theirs."""
    order = sorted(values)
    last = {value: place for place, value in enumerate(order)}
    return [(order.index(value) + last[value]) / 2 for value in values]


def _pearson(one: Sequence[float], other: Sequence[float]) -> float:
    first, second = mean(one), mean(other)
    together = sum((a - first) * (b - second) for a, b in zip(one, other, strict=True))
    apart = math.sqrt(sum((a - first) ** 2 for a in one) * sum((b - second) ** 2 for b in other))
    return together / apart if apart else math.nan
