"""modfs replay: a list of requests with times and actors, and the statistics that come of it."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path

import click

from loader.calls import FinitModule
from loader.simulate.replay import replay_virtual
from loader.simulate.scenario import Scenario, TimedCall
from modfs.replay import replay_live, replay_mount
from modfs.texts import stats

_EXAMPLE = """
\b
Examples:
  modfs replay examples/255-vcpu-report.jsonl
  modfs replay --kernel 6.12 examples/255-vcpu-report.jsonl
"""


@click.command(epilog=_EXAMPLE)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--live", "in_real_time", is_flag=True, help="On threads and in real time.")
@click.option(
    "--mount",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Ask a mounted modfs, in real time.",
)
@click.option("--kernel", metavar="RELEASE", help="Instead of the scenario's.")
@click.option("--without", multiple=True, metavar="FEATURE", help="Instead of what it takes away.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each request and its answer on stderr.")
def command(
    file: Path,
    in_real_time: bool,
    mount: Path | None,
    kernel: str | None,
    without: tuple[str, ...],
    verbose: bool,
) -> None:
    """Run the requests of a scenario and print the stats text that the kernel then shows.

    FILE has a JSON object a line: which kernel, which modules, who asks for what when
    (modfs schema scenario describes them). Without --live or --mount no real time passes,
    and the same scenario always gives the same text. In real time, how long the steps of a load
    take is the machine's matter, and with --mount the kernel and its init routines are the
    mount's.
    """
    if in_real_time and mount:
        raise click.UsageError("--live and --mount exclude each other")
    if mount and (kernel or without):
        raise click.UsageError("with --mount the kernel is the mount's")
    try:
        scenario = Scenario.read(file)
        if kernel or without:
            scenario = replace(scenario, kernel=kernel or scenario.kernel, without=without)
            _ = scenario.config
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    try:
        text, answers = _replay(scenario, in_real_time, mount)
    except (OSError, ValueError) as error:
        print(f"modfs replay: {error}", file=sys.stderr)
        sys.exit(1)
    if verbose:
        for request, number in answers:
            print(_told(request, number), file=sys.stderr)
    sys.stdout.write(text)


def _replay(
    scenario: Scenario, in_real_time: bool, mount: Path | None
) -> tuple[str, list[tuple[TimedCall, int]]]:
    if mount:
        return replay_mount(scenario, mount)
    snapshot, answers = (replay_live if in_real_time else replay_virtual)(scenario)
    return stats(snapshot), answers


def _told(timed: TimedCall, number: int) -> str:
    call = timed.call
    what = f"load {call.file}" if isinstance(call, FinitModule) else f"unload {call.name}"
    answer = errno.errorcode.get(number, str(number)) if number else "ok"
    return f"{timed.at:.6f} {timed.actor} {what}: {answer}"
