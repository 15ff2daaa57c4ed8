"""modfs simulate: what a described machine would show after its boot."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from loader.config import Config
from loader.engine.kmod import as_text
from loader.errors import UserError
from loader.simulate.from_tree import TreeModules, from_tree
from loader.simulate.machine import PROCESSORS_MOST, Machine, check_names
from loader.simulate.machine_file import read_machine
from loader.words import parse_size, readable_size, shown
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


class Run(NamedTuple):
    """One boot to simulate."""

    machine: Machine
    config: Config

    @property
    def kernel(self) -> str:
        """The kernel as people are told of it."""
        return self.config.release.title

    @property
    def baseline(self) -> int:
        """The simplest prediction of failed loads: of those who ask for a module, all but one
        fail; none where one load answers them all."""
        if self.config.release.idempotent:
            return 0
        return sum(count - 1 for count in self.machine.asked().values())


class Done(NamedTuple):
    """A boot with each of some seeds, by their order."""

    run: Run
    outcomes: Mapping[int, Outcome]

    @property
    def first(self) -> Outcome:
        """The one of the first seed."""
        return next(iter(self.outcomes.values()))

    def spread(self, value: Callable[[Outcome], int]) -> tuple[int, int, int]:
        """The median of all seeds' values, and what 5 and 95 % of them are below."""
        values = sorted(map(value, self.outcomes.values()))
        last = len(values) - 1
        return round(median(values)), values[round(0.05 * last)], values[round(0.95 * last)]

    @property
    def wasted(self) -> tuple[int, int, int]:
        return self.spread(lambda outcome: outcome.snapshot.wasted_bytes)


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
        configs = _configs(described, kernels or (None,), without, compression)
        runs = list(_runs(described, configs, _processors(cpus, plot), modules))
        _check(machine, runs)
        if events is not None and (len(runs) != 1 or seeds != 1):
            raise UserError("--events is for one boot: one kernel, one number of processors")
    done = list(_simulated(runs, range(seed, seed + seeds), events))
    if plot:
        plot_wasted(_series(done), plot, f"{machine.stem}: modules loaded more than once")
    _print(done, as_json)


# -- what to simulate -----------------------------------------------------------------------------


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except UserError as error:
        raise UserError(f"--module-space: {error}") from None


def _check(file: Path, runs: Sequence[Run]) -> None:
    """UserError: a machine asks for modules that nobody describes."""
    try:
        for run in runs[:1]:  # the others differ in no module
            check_names(run.machine)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _processors(cpus: str | None, plot: Path | None) -> Sequence[int | None]:
    """How many processors each boot is to have; None: as many as the machine."""
    if cpus is None:
        return _PLOTTED if plot else (None,)
    try:
        wanted = [int(text) for text in cpus.split(",")]
    except ValueError:
        wanted = [0]
    if min(wanted) < 1:
        raise UserError(f"--cpus: numbers such as 8,64,255 are needed, not {shown(cpus)}")
    if max(wanted) > PROCESSORS_MOST:
        most = PROCESSORS_MOST
        raise UserError(f"--cpus: Linux has at most {most} processors, not {max(wanted)}")
    return wanted


def _configs(
    machine: Machine,
    kernels: Sequence[str | None],
    without: tuple[str, ...],
    compression: str | None,
) -> list[Config]:
    """The kernels to boot ``machine`` with; None: its own. UserError."""
    from loader.simulate.udev import config_for  # SimPy's, which not every package of modfs has

    return [config_for(machine, kernel, without, compression) for kernel in kernels]


def _runs(
    machine: Machine,
    configs: Sequence[Config],
    processors: Sequence[int | None],
    tree: Path | None,
) -> Iterator[Run]:
    """All sizes of the machine, for each of the kernels. UserError, OSError: of the tree."""
    modules = TreeModules(tree) if tree else None
    for config in configs:
        filled = from_tree(machine, modules, config) if modules else machine
        for count in processors:
            yield Run(filled.with_processors(count) if count else filled, config)


def _simulated(runs: Sequence[Run], seeds: Sequence[int], events: Path | None) -> Iterator[Done]:
    from loader.simulate.udev import boot

    told = Told()
    listener = None if events is None else told.listener
    past = 0  # devices of the boots that are done
    total = len(seeds) * sum(run.machine.devices for run in runs)
    with Progress("Handling devices", total) as progress:
        for machine, config in runs:
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
            told.write(events, runs[0].config.release)


# -- what came of it ------------------------------------------------------------------------------


def _series(done: Sequence[Done]) -> dict[str, list[tuple[int, int]]]:
    series: dict[str, list[tuple[int, int]]] = {}
    for one in sorted(done, key=lambda one: one.run.machine.processors):
        point = one.run.machine.processors, one.wasted[0]
        series.setdefault(one.run.kernel, []).append(point)
    return series


def _as_json(run: Run, outcome: Outcome, seed: int) -> dict[str, Any]:
    snapshot = asdict(outcome.snapshot)
    del snapshot["unloaded_tainted"], snapshot["modules"]
    return {
        "kernel": run.kernel,
        "compression": run.config.compression,
        "processors": run.machine.processors,
        "memory": run.machine.memory,
        "workers": run.machine.workers,
        "seed": seed,
        "failed": outcome.failed,
        "baseline": run.baseline,
        "wasted_bytes": outcome.snapshot.wasted_bytes,
        "peak_bytes": outcome.peak,
        "out_of_memory": outcome.out_of_memory,
        "killed": outcome.killed,
        "requests": outcome.requests,
        "boot_seconds": round(outcome.boot, 6),
        "waiting_seconds": round(outcome.waiting, 6),
        **_autoload_json(outcome),
        **snapshot,
    }


def _autoload_json(outcome: Outcome) -> dict[str, Any]:
    """How the requests of the kernel's own ended, if there were any."""
    if not outcome.autoload:
        return {}
    slot_waits = [request.slot_wait for request in outcome.autoload]
    return {
        "autoload_results": dict(Counter(as_text(one.result) for one in outcome.autoload)),
        "autoload_slot_wait_seconds": round(sum(slot_waits), 6),
        "autoload_slot_wait_longest": round(max(slot_waits), 6),
    }


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
    ("FAILED", lambda done: str(done.spread(lambda outcome: outcome.failed)[0])),
    ("5%", lambda done: str(done.spread(lambda outcome: outcome.failed)[1])),
    ("95%", lambda done: str(done.spread(lambda outcome: outcome.failed)[2])),
    ("ALL-BUT-ONE", lambda done: str(done.run.baseline)),
    ("WASTED", lambda done: readable_size(done.wasted[0])),
    ("5%", lambda done: readable_size(done.wasted[1])),
    ("95%", lambda done: readable_size(done.wasted[2])),
)


def _print(done: Sequence[Done], as_json: bool) -> None:
    """JSON; or one boot's report, or a table of several."""
    if as_json:
        told = [_as_json(run, boot, seed) for run, boots in done for seed, boot in boots.items()]
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
