"""modfs simulate: what a described machine would show after its boot."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loader import packings
from loader.config import Config
from loader.errors import UserError
from loader.simulate.from_tree import from_tree
from loader.simulate.machine import Machine, check_names
from loader.simulate.machine_file import read_machine
from loader.simulate.udev import Outcome, boot, config_for
from loader.words import parse_size
from modfs.plot import FORMATS, PlotError, plot_wasted
from modfs.texts import stats

if TYPE_CHECKING:
    from rich.progress import Progress


_PLOTTED = (8, 64, 255, 448, 1000)  # processors, if a plot is wanted and none are named

_EXAMPLE = """
\b
Examples:
  modfs simulate examples/255-vcpu.toml
  modfs simulate examples/255-vcpu.toml --cpus 8,64,255,448,1000 \\
      --kernel '6.4 without early-check' --kernel 6.4 --kernel 6.12 --plot waste.svg
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One boot to simulate; ``kernel`` as people are told of it."""

    kernel: str
    machine: Machine
    config: Config


Done = tuple[Run, Outcome]


@click.command(epilog=_EXAMPLE)
@click.argument(
    "machine", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="MACHINE"
)
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    metavar="RELEASE",
    help='Instead of the machine\'s; "6.4 without early-check" will do. May be repeated.',
)
@click.option("--without", multiple=True, metavar="FEATURE", help="From each of the kernels.")
@click.option(
    "--compression",
    type=click.Choice(packings.NAMES),
    help="Of the module files, and the kernel's.",
)
@click.option("--cpus", metavar="N[,N...]", help="Processors, and memory in proportion.")
@click.option(
    "--modules",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Take the modules that MACHINE does not describe from this tree.",
)
@click.option("--module-space", metavar="SIZE", help="Loads that pass it fail with ENOMEM.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another boot.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
    plot: Path | None,
) -> None:
    """Simulate the boot of a machine and print its stats, or a table for several.

    MACHINE is a TOML file; modfs schema machine describes it, and examples/ has some.
    The table tells how many loads failed, the memory these wasted, the most that was held at one
    moment, how long handling all devices took, and how long all callers together waited in the
    kernel for others' loads. The same seed gives the same result.
    """
    try:
        described = read_machine(machine)
        if module_space is not None:
            described = replace(described, module_space=_size(module_space))
        runs = list(_runs(described, kernels, without, compression, _processors(cpus, plot)))
        if modules:
            runs = [replace(run, machine=from_tree(run.machine, modules)) for run in runs]
        _check(machine, runs)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from None
    try:
        done = list(_simulated(runs, seed))
        if plot:
            plot_wasted(_series(done), plot, f"{machine.stem}: modules loaded more than once")
    except PlotError as error:
        print(f"modfs simulate: {error}", file=sys.stderr)
        sys.exit(1)
    if as_json:
        print(json.dumps([_as_json(run, outcome, seed) for run, outcome in done], indent=1))
    elif len(done) == 1:
        sys.stdout.write(stats(done[0][1].snapshot))
    else:
        _print_table(done)


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
        raise ValueError(f"--cpus: numbers such as 8,64,255 are needed, not {cpus!r}")
    return wanted


def _runs(
    machine: Machine,
    kernels: Sequence[str],
    without: tuple[str, ...],
    compression: str | None,
    processors: Sequence[int | None],
) -> Iterator[Run]:
    for kernel in kernels or (None,):
        name, _, taken = (kernel or "").partition(" without ")
        features = (*(word.strip() for word in taken.split(",") if word.strip()), *without)
        config = config_for(machine, name.strip() or None, features, compression)
        label = config.release.name
        lacks = features if kernel else (*machine.without, *without)
        if lacks:
            label += f" without {', '.join(lacks)}"
        for count in processors:
            sized = machine if count is None else machine.with_processors(count)
            yield Run(label, sized, config)


def _simulated(runs: Sequence[Run], seed: int) -> Iterator[Done]:
    with _Progress(sum(run.machine.devices for run in runs)) as progress:
        for run in runs:
            yield run, boot(run.machine, run.config, seed=seed, progress=progress.within)
            progress.past(run.machine.devices)


class _Progress:
    """A bar on standard error, once it has taken longer than a second."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self._past = 0
        self._start = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def past(self, devices: int) -> None:
        """A whole boot is done."""
        self._past += devices

    def within(self, handled: int) -> None:
        """``handled`` devices of the boot under way are done."""
        if self._bar is None:
            if time.monotonic() - self._start < 1:
                return
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.add_task("devices", total=self._devices)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._past + handled)


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
        **snapshot,
    }


_COLUMNS: tuple[tuple[str, Callable[[Run, Outcome], str]], ...] = (
    ("KERNEL", lambda run, outcome: run.kernel),
    ("CPUS", lambda run, outcome: str(run.machine.processors)),
    ("FAILED", lambda run, outcome: str(outcome.failed)),
    ("WASTED", lambda run, outcome: _readable(outcome.snapshot.wasted_bytes)),
    ("PEAK", lambda run, outcome: _readable(outcome.peak)),
    ("ENOMEM", lambda run, outcome: str(outcome.out_of_memory)),
    ("BOOT", lambda run, outcome: f"{outcome.boot:.2f} s"),
    ("WAITING", lambda run, outcome: f"{outcome.waiting:.1f} s"),
)


def _print_table(done: Sequence[Done]) -> None:
    rows = [[heading for heading, _ in _COLUMNS]]
    rows += [[value(run, outcome) for _, value in _COLUMNS] for run, outcome in done]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *cells]))


def _readable(size: int) -> str:
    """Bytes as a person says them."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size} B"
