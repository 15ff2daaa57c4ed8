"""modfs record: what is loaded, by whom, when, and how it ended."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from loader.errors import UserError
from modfs.cli.buffer import buffer_option, parse_buffer
from modfs.cli.incomplete import told
from modfs.cli.options import FILE
from modfs.cli.statuses import DONE, FAILED, MISUSED, complain, ending_with

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from loader.observe.recording import Recording

_EXAMPLE = """
\b
Examples:
  modfs record -o boot.jsonl -- udevadm trigger --settle
  modfs record --seconds 60 -o minute.jsonl
  modfs record --from trace.txt -o boot.jsonl; modfs replay boot.jsonl
  modfs record --conformance -o this-kernel; modfs verify this-kernel
"""


@click.command(epilog=_EXAMPLE, context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option(
    "--from",
    "trace",
    type=FILE,
    metavar="TRACE",
    help="Not this machine, but a text of tracefs (trace or trace_pipe), packed by zstd or not.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to; else to standard output.",
)
@click.option("--seconds", type=click.FloatRange(0, 1e9), help="End after that time.")
@buffer_option()
@click.option(
    "--conformance",
    is_flag=True,
    help="Ask this machine's own kernel the harmless scenarios and compare; -o is a new folder.",
)
@click.option("--hook", is_flag=True, help="Print the script that begins it in an initramfs.")
@click.option(
    "--kernel",
    metavar="RELEASE",
    help="The release of the kernel that was traced, where the text does not say it.",
)
def command(
    words: tuple[str, ...],
    trace: Path | None,
    output: Path | None,
    seconds: float | None,
    buffer: str | None,
    conformance: bool,
    hook: bool,
    kernel: str | None,
) -> int:
    """Record module loads as JSON lines, for modfs replay and modfs verify.

    Without --from the loads of this machine's own kernel, by its event tracing: until Ctrl-C, for
    some seconds, or while COMMAND runs. That needs root. The exit status is 1 if the recording is
    made, but not all is known: standard error has a table of what was not seen and which numbers
    that makes uncertain; or if COMMAND failed.

    With --conformance this kernel is asked to load and remove tiny modules of modfs' own, good and
    bad ones, and each answer is compared with the engine's, as modfs verify does: the status is 1
    if any differs. It needs root and a kernel that loads unsigned modules; the modules are removed,
    the taint E stays until the next boot.
    """
    if hook:
        from modfs.tracing.hook import hook as script

        sys.stdout.write(script())
        return DONE
    if conformance:
        if trace or words or seconds is not None or kernel:
            raise UserError("--conformance goes with -o alone", status=MISUSED)
        from modfs.cli.conformance import conformance as ask

        return ask(output)
    if trace is None:
        if kernel is not None:
            raise UserError("--kernel is for --from; this machine's is known", status=MISUSED)
        return _record_host(output, seconds, words, buffer)
    if words or seconds is not None or buffer is not None:
        raise UserError("--from has no COMMAND, no --seconds and no --buffer", status=MISUSED)
    from modfs.tracing.record import recording_of

    with ending_with(MISUSED):
        recording = recording_of(trace, kernel)
    with ending_with(FAILED):
        _write(recording, output)
    return told(recording)


def _write(recording: Recording, output: Path | None) -> None:
    from loader.observe.recording_write import lines

    with _opened(output) as file:
        file.writelines(
            lines(recording.header, [*recording.before, *recording.texts], recording.items, 0)
        )
        file.flush()


def _opened(output: Path | None) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdout.buffer) if output is None else output.open("wb")


def _record_host(
    output: Path | None, seconds: float | None, words: tuple[str, ...], buffer: str | None
) -> int:
    from modfs.cli.incomplete import told_of
    from modfs.host.record import record

    size = parse_buffer(buffer)
    with ending_with(FAILED):
        recorded = record(lambda: _opened(output), seconds, words, size)
    for line in recorded.missing:
        complain(line)
    status = told_of(recorded.account)
    if recorded.status:
        complain(f"{words[0]}: ended with {recorded.status}")
    return status or (FAILED if recorded.status else status)
