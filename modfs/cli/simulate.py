"""modfs simulate: what a described machine would show after its boot."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
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


Done = tuple[Run, "Outcome"]


@click.command(epilog=_EXAMPLE)
@click.argument("machine", type=FILE, metavar="MACHINE")
@kernels_option()
@without_option()
@compression_option("Of the module files, and the kernel's.")
@click.option("--cpus", metavar="N[,N...]", help="Processors, and memory in proportion.")
@modules_option("Take the modules that MACHINE does not describe from this tree.")
@click.option("--module-space", metavar="SIZE", help="Loads that pass it fail with ENOMEM.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another boot.")
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
    as_json: bool,
    events: Path | None,
    plot: Path | None,
) -> None:
    """Simulate the boot of a machine and print its stats, or a table for several.

    MACHINE is a TOML file; modfs schema machine describes it, and examples/ has some.
    The table tells how many loads failed, the memory these wasted, the most that was held at one
    moment, how long handling all devices took, and how long all callers together waited in the
    kernel for others' loads. The same seed gives the same result.
    """
    with ending_with(MISUSED):
        described = read_machine(machine)
        if module_space is not None:
            described = replace(described, module_space=_size(module_space))
        configs = _configs(described, kernels or (None,), without, compression)
        runs = list(_runs(described, configs, _processors(cpus, plot), modules))
        _check(machine, runs)
        if events is not None and len(runs) != 1:
            raise UserError("--events is for one boot: one kernel, one number of processors")
    done = list(_simulated(runs, seed, events))
    if plot:
        plot_wasted(_series(done), plot, f"{machine.stem}: modules loaded more than once")
    _print(done, seed, as_json)


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


def _simulated(runs: Sequence[Run], seed: int, events: Path | None) -> Iterator[Done]:
    from loader.simulate.udev import boot

    told = Told()
    listener = None if events is None else told.listener
    past = 0  # devices of the boots that are done
    with Progress("Handling devices", sum(run.machine.devices for run in runs)) as progress:
        for machine, config in runs:

            def within(handled: int, past: int = past) -> None:
                progress.reached(past + handled)

            yield (
                Run(machine, config),
                boot(
                    machine,
                    config,
                    seed=seed,
                    progress=within,
                    listener=listener,
                ),
            )
            past += machine.devices
    if events is not None:
        with ending_with(FAILED):
            told.write(events, runs[0].config.release)


# -- what came of it ------------------------------------------------------------------------------


def _series(done: Sequence[Done]) -> dict[str, list[tuple[int, int]]]:
    series: dict[str, list[tuple[int, int]]] = {}
    for run, outcome in sorted(done, key=lambda one: one[0].machine.processors):
        point = run.machine.processors, outcome.snapshot.wasted_bytes
        series.setdefault(run.kernel, []).append(point)
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
        "wasted_bytes": outcome.snapshot.wasted_bytes,
        "peak_bytes": outcome.peak,
        "out_of_memory": outcome.out_of_memory,
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


def _print(done: Sequence[Done], seed: int, as_json: bool) -> None:
    """JSON; or one boot's report, or a table of several."""
    if as_json:
        print(json.dumps([_as_json(run, outcome, seed) for run, outcome in done], indent=1))
    elif len(done) == 1:
        sys.stdout.write(stats(done[0][1].snapshot))
    else:
        rows = [[heading for heading, _ in _COLUMNS]]
        rows += [[value(run, outcome) for _, value in _COLUMNS] for run, outcome in done]
        print(*aligned(rows), sep="\n")
