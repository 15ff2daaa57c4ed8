"""modfs replay: a list of requests with times and actors, and the statistics that come of it."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path

import click

from loader.calls import FinitModule, RequestModule
from loader.engine.kmod import as_text
from loader.engine.threads import LiveKernel
from loader.errors import UserError
from loader.release import choose_release
from loader.simulate.real_time import replay_in_real_time
from loader.simulate.replay import replay_virtual
from loader.simulate.scenario import Scenario, TimedCall
from modfs.cli.options import FILE, FOLDER, kernel_option, without_option
from modfs.cli.statuses import MISUSED, ending_with
from modfs.control.grammar import format_request
from modfs.control.remote import RemoteKernel
from modfs.texts import stats

_EXAMPLE = """
\b
Examples:
  modfs replay examples/255-vcpu-report.jsonl
  modfs replay --kernel 6.12 examples/255-vcpu-report.jsonl
"""


@click.command(epilog=_EXAMPLE)
@click.argument("file", type=FILE)
@click.option("--live", "in_real_time", is_flag=True, help="On threads and in real time.")
@click.option(
    "--mount",
    type=FOLDER,
    metavar="DIR",
    help="Ask a mounted modfs, in real time.",
)
@kernel_option()
@without_option()
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
        raise UserError("--live and --mount exclude each other")
    if mount and (kernel or without):
        raise UserError("with --mount the kernel is the mount's")
    with ending_with(MISUSED):
        scenario = _with_kernel(Scenario.read(file), kernel, without)
    text, answers = _replay(scenario, in_real_time, mount)
    if verbose:
        for request, number in answers:
            print(_told(request, number), file=sys.stderr)
    sys.stdout.write(text)


def _with_kernel(scenario: Scenario, kernel: str | None, without: tuple[str, ...]) -> Scenario:
    """The scenario with the kernel that was asked for. UserError."""
    chosen = choose_release(kernel, without, scenario.kernel, scenario.without)
    return replace(scenario, kernel=chosen.name, without=chosen.without)


def _replay(
    scenario: Scenario, in_real_time: bool, mount: Path | None
) -> tuple[str, list[tuple[TimedCall, int]]]:
    """The stats text at the end, and the answers."""
    if mount:
        remote = RemoteKernel(mount)
        answers = replay_in_real_time(scenario, remote)
        return remote.stats(), answers
    if in_real_time:
        live = LiveKernel(scenario.config, init_routines=scenario.init_routines)
        answers = replay_in_real_time(scenario, live)
        return stats(live.statistics()), answers
    snapshot, answers = replay_virtual(scenario)
    return stats(snapshot), answers


def _told(timed: TimedCall, number: int) -> str:
    call = timed.call
    if isinstance(call, RequestModule):
        return f"{timed.at:.6f} {timed.actor} {format_request(call)}: {as_text(number)}"
    what = f"load {call.file}" if isinstance(call, FinitModule) else f"unload {call.name}"
    answer = errno.errorcode.get(number, str(number)) if number else "ok"
    return f"{timed.at:.6f} {timed.actor} {what}: {answer}"
