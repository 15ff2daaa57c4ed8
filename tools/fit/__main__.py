"""Fit costs, and test them on machines that they were not fitted on.

    python -m tools.fit [--points N] [--seeds N] [--pictures FOLDER]
    python -m tools.fit describe RECORDING...

The first takes minutes. It needs SciPy (modfs[fit]), and matplotlib for pictures (modfs[plot]).
What is found is printed, the costs to be put into loader/simulate/costs.py; nothing is written but
the pictures. The second makes cases of what tools.boots recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import click

from loader.simulate.costs import Costs
from loader.simulate.machine import Machine
from loader.simulate.udev import boot, config_for
from tools.fit.cases import CASES, Case, read_cases, read_merged
from tools.fit.describe import describe
from tools.fit.measure import Prediction, predict
from tools.fit.search import BOUNDS, Found, search


@click.group(invoke_without_command=True, help=__doc__)
@click.option("--points", default=256, show_default=True, help="Costs to try: a power of two.")
@click.option("--seeds", default=40, show_default=True, help="Boots of each prediction.")
@click.option("--unknown", type=float, help="Instead of the usual: see Costs.")
@click.option("--kept", is_flag=True, help="Fit nothing: show how good the usual costs are.")
@click.option("--pictures", type=click.Path(path_type=Path), help="A folder for plots.")
@click.pass_context
def main(
    context: click.Context,
    points: int,
    seeds: int,
    unknown: float | None,
    kept: bool,
    pictures: Path | None,
) -> None:
    if context.invoked_subcommand:
        return
    cases = read_cases()
    unknown = Costs().unknown if unknown is None else unknown
    found = None if kept else _search([case for case in cases if not case.apart], points)
    with ProcessPoolExecutor() as pool:
        predict_one = partial(_predict, cases=cases, found=found, unknown=unknown, seeds=seeds)
        predictions = list(pool.map(predict_one, cases))
    print_table(predictions)
    print()
    print_merged(seeds)
    if found:
        print("\nbest for all:")
        best = found.best()
        for name in BOUNDS:
            print(f"  {name} = {getattr(best, name):.3g}")
    if pictures:
        from tools.fit.pictures import draw

        draw(predictions, pictures)


@main.command("describe")
@click.argument("recordings", nargs=-1, required=True, type=click.Path(path_type=Path))
def describe_command(recordings: Sequence[Path]) -> None:
    """Write machines, and what failed there, of recorded boots."""
    for recording in recordings:
        print(describe(recording, CASES))


def _search(cases: Sequence[Case], points: int) -> Found:
    def progress(done: int) -> None:
        if not done % 16:
            print(f"\r{done} of {points} points", end="", file=sys.stderr, flush=True)

    found = search(cases, points, 1, progress)
    print(file=sys.stderr)
    return found


def _predict(
    case: Case, cases: Sequence[Case], found: Found | None, unknown: float, seeds: int
) -> Prediction:
    """By the costs that are best for all other machines."""
    same = [one.name for one in cases if one.group == case.group]
    costs = found.best(without=same) if found else Costs()
    return predict(case, replace(costs, unknown=unknown), range(1, seeds + 1))


def print_table(predictions: Sequence[Prediction]) -> None:
    """Each case, and the measures of all but those that are apart."""
    print(
        f"{'machine':24}{'really':>8}{'baseline':>15}{'median':>15}{'5 to 95 %':>14}{'ranks':>12}"
    )
    for one in predictions:
        least, most = one.interval
        baseline = sum(one.case.baseline().values())
        ranks, baseline_ranks = one.ranks()
        print(
            f"{one.case.name:24}{one.case.total:8}{baseline:8} ({one.baseline_off:+4.0%})"
            f"{one.middle:8.0f} ({one.off:+4.0%}){least:7} - {most:<5}"
            f"{ranks:5.2f} /{baseline_ranks:5.2f}"
            f"{'' if one.inside else ' outside'}{' apart' if one.case.apart else ''}"
        )
    counted = [one for one in predictions if not one.case.apart]
    off = sorted(abs(one.off) for one in counted)
    off_baseline = sorted(abs(one.baseline_off) for one in counted)
    inside = sum(one.inside for one in counted)
    better = sum(abs(one.off) < abs(one.baseline_off) for one in counted)
    print(
        f"off by {off[len(off) // 2]:.0%} in the median, {off[-1]:.0%} at most "
        f"(baseline {off_baseline[len(off) // 2]:.0%}, {off_baseline[-1]:.0%}); "
        f"{inside} of {len(counted)} inside; better than the baseline: {better}"
    )


def print_merged(seeds: int) -> None:
    """Boots in which loads are shared: by what each machine is, and by what is known of the same
    machine from a boot with 6.1."""
    old = {case.group: case for case in reversed(read_cases())}
    heading = "by its own devices: failed, calls", "by its boot with 6.1"
    print(f"{'machine':24}{'failed':>8}{'calls':>8}{heading[0]:>36}{heading[1]:>24}")
    for case in read_merged():
        told = [_shared(case, case.machine, seeds)]
        before = old.get(f"6.1-{case.machine.processors}")
        if before:
            told.append(_shared(case, before.machine, seeds))
        print(f"{case.name:24}{0:8}{case.calls:8}" + "".join(f"{one:>30}" for one in told))


def _shared(case: Case, machine: Machine, seeds: int) -> str:
    config = config_for(machine, case.machine.kernel)
    outcomes = [boot(machine, config, seed=seed) for seed in range(1, seeds + 1)]
    failed = sorted(one.failed for one in outcomes)
    calls = median(one.requests for one in outcomes)
    return f"{median(failed):.0f} (most {failed[-1]}), {calls:.0f}"


if __name__ == "__main__":
    main()
