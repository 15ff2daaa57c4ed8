#!/usr/bin/env python3
"""Fit the costs that loader/simulate/costs.py marks with * on the report of 255 processors.

    tools/fit_costs.py REPORT [--minutes N] [--seed N]

REPORT is the stats text of that boot. Only its rows of duplicates are looked at, and of these the
twelve that every processor asks for: how many times each. The constants, and how many workers the
initrd has left running, are moved by evolution (CMA-ES, after Hansen's tutorial, arXiv:1604.00772)
on the logarithmic scale, so that the mean over several boots of

    sum of |log((simulated + 1.5) / (published + 1.5))|, each at most 2,
    and 3 for each unit of log by which a count passes the one that should be above it

becomes least. What is found is printed, to be rounded by hand; nothing is written. It takes hours:
the committed values come from such runs with a twin of the simulator in C++.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from loader.simulate.machine import Machine  # noqa: E402
from loader.simulate.machine_file import read_machine  # noqa: E402
from loader.simulate.udev import boot  # noqa: E402

FITTED = ("dispatch", "fork", "shared_read", "self_test", "settle", "shootdown")
LEAST, MOST = 1 / 8, 8  # times the present value
BOOTS = 4  # seeds that a set of constants is tried with


def published(report: Path) -> dict[str, int]:
    """The rows of a report: module and how many times."""
    rows = report.read_text().partition("Reason\n")[2].splitlines()
    return {row.split()[0]: int(row.split()[1]) for row in rows}


class Fit:
    """What is fitted, on what, and how well it does."""

    def __init__(self, machine: Machine, wanted: dict[str, int]) -> None:
        self.machine = machine
        asked = (name for part in machine.coldplug for d in part.devices if not d.count
                 for target in d.modules for name in machine.load_order(target))  # fmt: skip
        self.wanted = {name: wanted[name] for name in dict.fromkeys(asked)}
        self.ranked = sorted(self.wanted, key=lambda name: -self.wanted[name])
        self.start = [getattr(machine.costs, name) for name in FITTED]
        self.start.append(machine.coldplug[0].idle_workers)

    def values(self, point: np.ndarray) -> list[float]:
        """The constants at a point: 0 is the present value, -1 the least, 1 the most."""
        bounded = 2 * np.abs((point + 1) / 2 % 2 - 1) - 1  # mirrored at the bounds
        return [value * MOST**-step for value, step in zip(self.start, bounded, strict=True)]

    def moved(self, point: np.ndarray) -> Machine:
        """The machine with the constants at a point."""
        *costs, idle = self.values(point)
        initrd, *others = self.machine.coldplug
        return replace(
            self.machine,
            costs=replace(self.machine.costs, **dict(zip(FITTED, costs, strict=True))),
            coldplug=(replace(initrd, idle_workers=round(idle)), *others),
        )

    def counts(self, point: np.ndarray, seed: int) -> dict[str, int]:
        """How many times each module failed in one boot."""
        rows = boot(self.moved(point), seed=seed).snapshot.duplicates
        found = {row.name: row.count for row in rows}
        return {name: found.get(name, 0) for name in self.wanted}

    def badness(self, point: np.ndarray) -> float:
        """The mean that is to become least."""
        total = 0.0
        for seed in range(1, BOOTS + 1):
            found = self.counts(point, seed)
            logs = {name: math.log(count + 1.5) for name, count in found.items()}
            for name, count in self.wanted.items():
                total += min(2.0, abs(logs[name] - math.log(count + 1.5)))
            for above, below in zip(self.ranked, self.ranked[1:], strict=False):
                total += 3 * max(0.0, logs[below] - logs[above])
        return total / BOOTS

    def show(self, point: np.ndarray) -> None:
        """Print constants and counts."""
        for name, value in zip((*FITTED, "idle_workers"), self.values(point), strict=True):
            print(f"  {name} = {value:.4g}")
        boots = [self.counts(point, seed) for seed in range(1, 13)]
        for name in self.ranked:
            found = [counts[name] for counts in boots]
            print(f"  {name}: {np.mean(found):.0f} ± {np.std(found):.0f} ({self.wanted[name]})")


def evolve(fit: Fit, minutes: float, seed: int) -> None:
    """CMA-ES; the best point so far is shown whenever there is a better one."""
    rng = np.random.default_rng(seed)
    size = len(fit.start)
    children, parents = 14, 7
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    weights /= weights.sum()
    mass = 1 / (weights**2).sum()
    c_path = (mass + 2) / (size + mass + 5)
    c_one = 2 / ((size + 1.3) ** 2 + mass)
    c_all = min(1 - c_one, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
    expected = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
    mean, step, covariance = np.zeros(size), 0.1, np.eye(size)
    path_step, path_covariance = np.zeros(size), np.zeros(size)
    best, end = fit.badness(mean), time.monotonic() + 60 * minutes
    print(f"now: {best:.3f}")
    while time.monotonic() < end:
        scales, axes = np.linalg.eigh(covariance)
        scales = np.sqrt(np.maximum(scales, 1e-12))
        moves = rng.standard_normal((children, size)) * scales @ axes.T
        badness = np.array([fit.badness(mean + step * move) for move in moves])
        order = np.argsort(badness)
        if badness[order[0]] < best:
            best = badness[order[0]]
            print(f"{best:.3f}:")
            fit.show(mean + step * moves[order[0]])
        chosen = moves[order[:parents]]
        move = weights @ chosen
        mean = mean + step * move
        pull = math.sqrt(c_path * (2 - c_path) * mass)
        path_step = (1 - c_path) * path_step + pull * (axes @ ((axes.T @ move) / scales))
        path_covariance = (1 - c_path) * path_covariance + pull * move
        covariance = (1 - c_one - c_all) * covariance
        covariance += c_one * np.outer(path_covariance, path_covariance)
        covariance += c_all * (chosen.T * weights) @ chosen
        step *= math.exp(c_path / 2 * (float(np.linalg.norm(path_step)) / expected - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    machine = read_machine(PROJECT / "examples" / "255-vcpu.toml")
    evolve(Fit(machine, published(options.report)), options.minutes, options.seed)


if __name__ == "__main__":
    main()
