"""modfs simulate: what a described machine would show after its boot."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from loader.errors import UserError
from loader.simulate.machine_file import read_machine
from loader.words import parse_size, readable_size
from modfs.blame.events import Told
from modfs.cli.options import (
    FILE,
    compression_option,
    events_option,
    kernels_option,
    modules_option,
    without_option,
)
from modfs.cli.progress import Progress
from modfs.cli.statuses import FAILED, MISUSED, ending_with
from modfs.cli.table import aligned
from modfs.plot import FORMATS, plot_wasted
from modfs.sweep.plan import Run, check, configs, read_processors, runs
from modfs.sweep.rows import as_row
from modfs.sweep.summary import Spread
from modfs.texts import stats

if TYPE_CHECKING:
    from loader.simulate.udev import Outcome

_PLOTTED = (8, 64, 255, 448, 1000)  # processors, if a plot is wanted and none are named

_EXAMPLE = """
\b
Examples:
  modfs simulate examples/255-vcpu.toml
  modfs simulate examples/448-cpu.toml --seeds 40
  modfs simulate examples/255-vcpu.toml --cpus 8,64,255,448,1000 \\
      --kernel '6.4 without early-check' --kernel 6.4 --kernel 6.12 --plot waste.svg
"""


class Done(NamedTuple):
    """A boot with each of some seeds, by their order."""

    run: Run
    outcomes: Mapping[int, Outcome]

    @property
    def first(self) -> Outcome:
        """The one of the first seed."""
        return next(iter(self.outcomes.values()))

    @property
    def failed(self) -> Spread:
        return Spread.of([outcome.failed for outcome in self.outcomes.values()])

    @property
    def wasted(self) -> Spread:
        return Spread.of([one.snapshot.wasted_bytes for one in self.outcomes.values()])


@click.command(epilog=_EXAMPLE)
@click.argument("machine", type=FILE, metavar="MACHINE")
@kernels_option()
@without_option()
@compression_option("Of the module files, and the kernel's.")
@click.option("--cpus", metavar="N[,N...]", help="Processors, and memory in proportion.")
@modules_option("Take the modules that MACHINE does not describe from this tree.")
@click.option("--module-space", metavar="SIZE", help="Loads that pass it fail with ENOMEM.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another boot.")
@click.option(
    "--seeds",
    type=click.IntRange(1, 10_000),
    default=1,
    metavar="N",
    help="That many boots, with the seeds from --seed on: their median, 5 and 95 %.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@events_option("Of one boot.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Draw wasted memory against processors ({' or '.join(FORMATS)}).",
)
def command(
    machine: Path,
    kernels: tuple[str, ...],
    without: tuple[str, ...],
    compression: str | None,
    cpus: str | None,
    modules: Path | None,
    module_space: str | None,
    seed: int,
    seeds: int,
    as_json: bool,
    events: Path | None,
    plot: Path | None,
) -> None:
    """Simulate the boot of a machine and print its stats, or a table for several.

    MACHINE is a TOML file; modfs schema machine describes it, and examples/ has some.
    The table tells how many loads failed, the memory these wasted, the most that was held at one
    moment, how long handling all devices took, and how long all callers together waited in the
    kernel for others' loads. The same seed gives the same result; what is not known of a machine
    differs between seeds. With --seeds the table tells the median of the boots, the bounds that 5
    and 95 % of them are below, and the simplest prediction: all but one of those who ask fail.
    """
    with ending_with(MISUSED):
        described = read_machine(machine)
        if module_space is not None:
            described = replace(described, module_space=_size(module_space))
        kernel_configs = configs(described, kernels or (None,), without, compression)
        boots = list(runs(described, kernel_configs, _processors(cpus, plot), modules))
        check(machine, boots)
        if events is not None and (len(boots) != 1 or seeds != 1):
            raise UserError("--events is for one boot: one kernel, one number of processors")
    done = list(_simulated(boots, range(seed, seed + seeds), events))
    if plot:
        plot_wasted(_series(done), plot, f"{machine.stem}: modules loaded more than once")
    _print(done, as_json)


# -- what to simulate -----------------------------------------------------------------------------


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except UserError as error:
        raise UserError(f"--module-space: {error}") from None


def _processors(cpus: str | None, plot: Path | None) -> Sequence[int | None]:
    """How many processors each boot is to have; None: as many as the machine."""
    if cpus is None:
        return _PLOTTED if plot else (None,)
    return read_processors(cpus)


def _simulated(boots: Sequence[Run], seeds: Sequence[int], events: Path | None) -> Iterator[Done]:
    from loader.simulate.udev import boot

    told = Told()
    listener = None if events is None else told.listener
    past = 0  # devices of the boots that are done
    total = len(seeds) * sum(run.machine.devices for run in boots)
    with Progress("Handling devices", total) as progress:
        for machine, config in boots:
            outcomes = {}
            for seed in seeds:

                def within(handled: int, past: int = past) -> None:
                    progress.reached(past + handled)

                outcomes[seed] = boot(
                    machine,
                    config,
                    seed=seed,
                    progress=within,
                    listener=listener,
                )
                past += machine.devices
            yield Done(Run(machine, config), outcomes)
    if events is not None:
        with ending_with(FAILED):
            told.write(events, boots[0].config.release)


# -- what came of it ------------------------------------------------------------------------------


def _series(done: Sequence[Done]) -> dict[str, list[tuple[int, int]]]:
    series: dict[str, list[tuple[int, int]]] = {}
    for one in sorted(done, key=lambda one: one.run.machine.processors):
        point = one.run.machine.processors, round(one.wasted.median)
        series.setdefault(one.run.kernel, []).append(point)
    return series


_COLUMNS: tuple[tuple[str, Callable[[Run, Outcome], str]], ...] = (
    ("KERNEL", lambda run, outcome: run.kernel),
    ("CPUS", lambda run, outcome: str(run.machine.processors)),
    ("FAILED", lambda run, outcome: str(outcome.failed)),
    ("WASTED", lambda run, outcome: readable_size(outcome.snapshot.wasted_bytes)),
    ("PEAK", lambda run, outcome: readable_size(outcome.peak)),
    ("ENOMEM", lambda run, outcome: str(outcome.out_of_memory)),
    ("BOOT", lambda run, outcome: f"{outcome.boot:.2f} s"),
    ("WAITING", lambda run, outcome: f"{outcome.waiting:.1f} s"),
)


_SPREAD_COLUMNS: tuple[tuple[str, Callable[[Done], str]], ...] = (
    ("KERNEL", lambda done: done.run.kernel),
    ("CPUS", lambda done: str(done.run.machine.processors)),
    ("FAILED", lambda done: f"{done.failed.median:.0f}"),
    ("5%", lambda done: f"{done.failed.low:.0f}"),
    ("95%", lambda done: f"{done.failed.high:.0f}"),
    ("ALL-BUT-ONE", lambda done: str(done.run.baseline)),
    ("WASTED", lambda done: readable_size(round(done.wasted.median))),
    ("5%", lambda done: readable_size(round(done.wasted.low))),
    ("95%", lambda done: readable_size(round(done.wasted.high))),
)


def _print(done: Sequence[Done], as_json: bool) -> None:
    """JSON; or one boot's report, or a table of several."""
    if as_json:
        told = [as_row(run, boot, seed) for run, boots in done for seed, boot in boots.items()]
        print(json.dumps(told, indent=1))
    elif len(done[0].outcomes) > 1:
        rows = [[heading for heading, _ in _SPREAD_COLUMNS]]
        rows += [[value(one) for _, value in _SPREAD_COLUMNS] for one in done]
        print(*aligned(rows), sep="\n")
    elif len(done) == 1:
        sys.stdout.write(stats(done[0].first.snapshot))
    else:
        rows = [[heading for heading, _ in _COLUMNS]]
        rows += [[value(one.run, one.first) for _, value in _COLUMNS] for one in done]
        print(*aligned(rows), sep="\n")
