"""modfs export: statistics for Prometheus."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from loader.errors import UserError
from modfs.cli.options import SOURCE
from modfs.cli.statuses import DONE, FAILED, MISUSED, complain, ending_with

if TYPE_CHECKING:
    from modfs.export.measures import Measured

_EXAMPLE = """
\b
Examples:
  modfs export /sys/kernel/debug/modules
  modfs export /mnt/modules -o /var/lib/prometheus/node-exporter/modfs.prom
  modfs export boot.jsonl --format openmetrics
  modfs export /sys/kernel/debug/modules --listen 9101
"""


def _prometheus(measured: Measured) -> bytes:
    from modfs.export.write import prometheus

    return prometheus(measured)


def _openmetrics(measured: Measured) -> bytes:
    from modfs.export.write import openmetrics

    return openmetrics(measured)


def _json(measured: Measured) -> bytes:
    from modfs.export.write import as_json

    return as_json(measured)


_FORMATS: dict[str, Callable[[Measured], bytes]] = {
    "prometheus": _prometheus,
    "openmetrics": _openmetrics,
    "json": _json,
}


@click.command(epilog=_EXAMPLE)
@click.argument("source", type=SOURCE)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to, replaced as a whole; else to standard output.",
)
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), default="prometheus",
              show_default=True, help="Which text.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--listen", metavar="[ADDRESS:]PORT",
              help="Answer scrapes of http://ADDRESS:PORT/metrics; ADDRESS is 127.0.0.1 unless"
              " it is told.")  # fmt: skip
@click.option("--top", type=click.IntRange(1, 1000), default=20, show_default=True,
              help='So many modules have samples of their own; the rest is "other".')  # fmt: skip
def command(
    source: Path, output: Path | None, form: str, as_json: bool, listen: str | None, top: int
) -> int:
    """Tell module statistics to Prometheus, by its conventions for names and units.

    SOURCE is /sys/kernel/debug/modules of a real kernel, the mountpoint of a modfs, a file with the
    text of stats, a recording (modfs record) or a text of a trace.

    With -o the file is for node_exporter's textfile collector, made anew by a timer. With --listen
    the source is read whenever somebody asks, until Ctrl-C or SIGTERM.
    """
    if listen is not None:
        if output is not None or as_json or form != "prometheus":
            raise UserError("--listen answers in the form that is asked for: no -o, --format, "
                            "--json", status=MISUSED)  # fmt: skip
        return _listen(source, listen, top)
    from modfs.export.read import measure

    with ending_with(FAILED):
        measured = measure(source, top)
        content = _FORMATS["json" if as_json else form](measured)
        _write(content, output)
    return DONE


def _write(content: bytes, output: Path | None) -> None:
    from modfs.export.write import write_whole

    if output is not None:
        write_whole(output, content)
        return
    with nullcontext(sys.stdout.buffer) as out:
        out.write(content)
        out.flush()


def _listen(source: Path, where: str, top: int) -> int:
    """Answer until SIGTERM; the exit status."""
    from modfs.export.listen import Listener, Reader, parse_address

    with ending_with(MISUSED):
        address = parse_address(where)
    context = click.get_current_context().command_path
    reader = Reader(source, top, lambda told: complain(told, context))
    try:
        listener = Listener(address, reader.read)
    except OSError as error:
        raise UserError(f"{address}: {error.strerror}", status=FAILED) from None
    signal.signal(signal.SIGTERM, _end)
    with listener:
        print(f"http://{listener.address}/metrics", flush=True)
        try:
            listener.serve_forever(poll_interval=3600)
        except SystemExit:
            return DONE
    return DONE


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit
