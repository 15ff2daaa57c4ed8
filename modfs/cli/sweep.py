"""modfs sweep: many boots of described machines, and how their results are spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from loader.simulate.machine_file import read_machine
from modfs.cli.options import (
    FILE,
    compression_option,
    kernels_option,
    modules_option,
    without_option,
)
from modfs.cli.progress import Progress
from modfs.cli.statuses import DONE, FAILED, MISUSED, ending_with
from modfs.cli.table import aligned
from modfs.sweep.plan import Key, Point, check, configs, read_processors, read_seeds, runs
from modfs.sweep.results import Results, open_results
from modfs.sweep.summary import Summary
from modfs.sweep.work import processors, rows

_EXAMPLE = """
\b
Examples:
  modfs sweep examples/255-vcpu.toml --seeds 1-50
  modfs sweep examples/8-vcpu.toml examples/255-vcpu.toml --kernel 6.4 --kernel 6.12 \\
      --cpus 8,64 --seeds 1-200 --out results.parquet
"""


@click.command(epilog=_EXAMPLE)
@click.argument("machines", type=FILE, nargs=-1, required=True, metavar="MACHINE...")
@click.option(
    "--seeds",
    default="20",
    show_default=True,
    metavar="N|A-B[,...]",
    help="How many boots of each, or which.",
)
@kernels_option()
@without_option()
@compression_option("Of the module files, and the kernel's.")
@click.option("--cpus", metavar="N[,N...]", help="Processors, and memory in proportion.")
@modules_option("Take the modules that machines do not describe from this tree.")
@click.option("--jobs", type=click.IntRange(1, 4096), metavar="N",
              help="Boots at a time. Default: as many as there are processors.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep a row of each boot: .jsonl or .parquet. What is in it is not done again."
              )  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="Let a cluster of dask's do it.")
def command(
    machines: tuple[Path, ...],
    seeds: str,
    kernels: tuple[str, ...],
    without: tuple[str, ...],
    compression: str | None,
    cpus: str | None,
    modules: Path | None,
    jobs: int | None,
    out: Path | None,
    scheduler: str | None,
) -> int:
    """Simulate many boots and print how what came of them is spread.

    Each MACHINE is booted with each kernel, each number of processors and each seed. The table has
    the median over the seeds, and what 5 to 95 % of them came to. The same seed gives the same row
    as modfs simulate --json, whoever does it. A sweep that was stopped is gone on with by the same
    command.
    """
    with ending_with(MISUSED):
        wanted = read_seeds(seeds)
        sizes = read_processors(cpus) if cpus is not None else (None,)
        points = list(_points(machines, kernels or (None,), without, compression, sizes, modules))
        results = open_results(out)
    summary = Summary(points)
    try:
        done = _in_file(results, points, wanted, summary)
        left = ((p, s) for p in points for s in wanted if Key(p.digest, s) not in done)
        total = len(points) * len(wanted)
        with Progress("Simulating boots", total) as progress, ending_with(FAILED):
            for count, row in enumerate(rows(left, jobs or processors(), scheduler), len(done) + 1):
                results.add(row)
                summary.add(row)
                progress.reached(count)
    finally:
        results.close()
    print(*aligned(list(summary.table()), left=(0, 1)), sep="\n")
    return DONE


def _points(
    machines: Sequence[Path],
    kernels: Sequence[str | None],
    without: tuple[str, ...],
    compression: str | None,
    sizes: Sequence[int | None],
    modules: Path | None,
) -> Iterator[Point]:
    """Each once. UserError, OSError: a machine is none, or cannot be booted."""
    found: set[str] = set()
    for file in machines:
        machine = read_machine(file)
        each = list(runs(machine, configs(machine, kernels, without, compression), sizes, modules))
        check(file, each)
        for run in each:
            point = Point(file.stem, run)
            if point.digest not in found:
                found.add(point.digest)
                yield point


def _in_file(
    results: Results, points: Sequence[Point], seeds: Sequence[int], summary: Summary
) -> set[Key]:
    """Those that need not be done again; the summary has them as well."""
    digests, wanted = {point.digest for point in points}, set(seeds)
    found: set[Key] = set()
    for row in results.rows():
        key = Key(row["digest"], row["seed"])
        if key.digest in digests and key.seed in wanted and key not in found:
            found.add(key)
            summary.add(row)
    return found
