"""modfs replay: a list of requests with times and actors, and the statistics that come of it."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path

import click

from loader.calls import FinitModule, RequestModule
from loader.engine.kmod import as_text
from loader.engine.state import Listener
from loader.engine.threads import LiveKernel
from loader.errors import UserError
from loader.observe.call import ModuleRequest, ObservedCall
from loader.observe.recording import Recording, is_recording
from loader.observe.replay import account, rules_of
from loader.release import choose_release
from loader.simulate.real_time import replay_in_real_time
from loader.simulate.scenario import Scenario, TimedCall
from modfs import observed
from modfs.blame.events import Told
from modfs.cli.incomplete import told_of
from modfs.cli.options import FILE, FOLDER, events_option, kernel_option, without_option
from modfs.cli.statuses import DONE, FAILED, MISUSED, complain, ending_with
from modfs.control.grammar import format_request
from modfs.control.remote import RemoteKernel
from modfs.texts import stats

_EXAMPLE = """
\b
Examples:
  modfs replay examples/255-vcpu-report.jsonl
  modfs replay --kernel 6.12 examples/255-vcpu-report.jsonl
  modfs replay boot.jsonl --until settled
  modfs replay boot.jsonl --kernel 6.4
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
@click.option("--until", metavar="MARK", help="Of a recording: up to that moment.")
@click.option("--inits", is_flag=True, help="Of a recording: loads whose init failed, instead.")
@kernel_option()
@without_option()
@events_option("Of a scenario.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each request and its answer on stderr.")
def command(
    file: Path,
    in_real_time: bool,
    mount: Path | None,
    until: str | None,
    inits: bool,
    kernel: str | None,
    without: tuple[str, ...],
    events: Path | None,
    verbose: bool,
) -> int:
    """Run the requests of a scenario and print the stats text that the kernel then shows.

    FILE has a JSON object a line: which kernel, which modules, who asks for what when
    (modfs schema scenario describes them). Without --live or --mount no real time passes,
    and the same scenario always gives the same text. In real time, how long the steps of a load
    take is the machine's matter, and with --mount the kernel and its init routines are the
    mount's.

    FILE may also be a recording (modfs record): then what its kernel did is accounted again, and
    the text is what that kernel's stats would be. Loads whose init failed are counted there
    nowhere: --inits shows them. What was not seen is told on standard error, and the exit status
    is 1. With --kernel or --without the same requests are decided anew by such a kernel, on modules
    of the same sizes: times and sizes are then as near as the recording has them.
    """
    with ending_with(MISUSED):
        is_observed = is_recording(file)
    if events is not None and (is_observed or mount):
        raise UserError("--events is for a scenario, and not with --mount: a mount has events")
    if is_observed:
        if in_real_time or mount:
            raise UserError("a recording is accounted, not run: neither --live nor --mount")
        if kernel is not None or without:
            if until is not None or inits:
                raise UserError("--until and --inits are for what was seen, not for another kernel")
            return _anew(file, kernel, without)
        return _account(file, until, inits, verbose)
    if until is not None or inits:
        raise UserError("--until and --inits are for recordings, and this is a scenario")
    if in_real_time and mount:
        raise UserError("--live and --mount exclude each other")
    if mount and (kernel or without):
        raise UserError("with --mount the kernel is the mount's")
    with ending_with(MISUSED):
        scenario = _with_kernel(Scenario.read(file), kernel, without)
    if not scenario.calls:
        complain(f"{file}: there is no request in this scenario")
    told = Told()
    text, answers = _replay(scenario, in_real_time, mount, told.listener if events else None)
    if events is not None:
        with ending_with(FAILED):
            told.write(events, scenario.config.release)
    if verbose:
        for request, number in answers:
            print(_told(request, number), file=sys.stderr)
    sys.stdout.write(text)
    return DONE


def _anew(file: Path, kernel: str | None, without: tuple[str, ...]) -> int:
    """What another kernel makes of a recording's requests; the exit status."""
    from modfs.anew import decide_anew

    with ending_with(MISUSED):
        recording = Recording.read(file)
        own = rules_of(recording.header)
        made = decide_anew(recording, choose_release(kernel, without, own.name, own.without))
    sys.stdout.write(stats(made.snapshot))
    complain(
        f"{made.decided} requests decided anew, {made.kept} kept as they were,"
        f" {made.unknown} left out for want of what they were about"
    )
    return DONE


def _account(file: Path, until: str | None, inits: bool, verbose: bool) -> int:
    """What a recording amounts to; the exit status."""
    with ending_with(MISUSED):
        recording = Recording.read(file)
        counted = account(recording, until)
    if verbose:
        for item in recording.items:
            if isinstance(item, ObservedCall):
                sys.stderr.write(observed.call(item))
            elif isinstance(item, ModuleRequest):
                sys.stderr.write(observed.request(item))
    if inits:
        sys.stdout.write(observed.failed_inits(counted.failed_inits.values()))
    else:
        sys.stdout.write(stats(counted.snapshot()))
    return told_of(counted)


def _with_kernel(scenario: Scenario, kernel: str | None, without: tuple[str, ...]) -> Scenario:
    """The scenario with the kernel that was asked for. UserError."""
    chosen = choose_release(kernel, without, scenario.kernel, scenario.without)
    return replace(scenario, kernel=chosen.name, without=chosen.without)


def _replay(
    scenario: Scenario, in_real_time: bool, mount: Path | None, listener: Listener | None
) -> tuple[str, list[tuple[TimedCall, int]]]:
    """The stats text at the end, and the answers."""
    if mount:
        remote = RemoteKernel(mount)
        answers = replay_in_real_time(scenario, remote)
        return remote.stats(), answers
    if in_real_time:
        live = LiveKernel(scenario.config, init_routines=scenario.init_routines)
        live.kernel.listener = listener
        answers = replay_in_real_time(scenario, live)
        return stats(live.statistics()), answers
    from loader.simulate.replay import replay_virtual  # SimPy's, which not every package has

    snapshot, answers = replay_virtual(scenario, listener)
    return stats(snapshot), answers


def _told(timed: TimedCall, number: int) -> str:
    call = timed.call
    if isinstance(call, RequestModule):
        return f"{timed.at:.6f} {timed.actor} {format_request(call)}: {as_text(number)}"
    what = f"load {call.file}" if isinstance(call, FinitModule) else f"unload {call.name}"
    answer = errno.errorcode.get(number, str(number)) if number else "ok"
    return f"{timed.at:.6f} {timed.actor} {what}: {answer}"
