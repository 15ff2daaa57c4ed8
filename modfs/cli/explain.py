"""modfs explain: why a module is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from loader.errors import UserError
from loader.words import canonical, readable_size
from modfs.cli.engine import EngineOptions
from modfs.cli.options import FOLDER, modules_option
from modfs.cli.statuses import DONE, MISUSED, ending_with
from modfs.cli.table import put

if TYPE_CHECKING:
    from modfs.blame.explain import ExplanationTable

_EXAMPLE = """
\b
Examples:
  modfs explain kvm_intel
  modfs explain acpi_cpufreq boot.jsonl --top 5
  modfs explain xfs --modules tree
"""


@click.command(epilog=_EXAMPLE)
@click.argument("module")
@click.argument("source", required=False, type=click.Path(exists=True, path_type=Path))
@modules_option("A /lib/modules/RELEASE tree. Default: the running kernel's, if it is there.")
@click.option(
    "--devices",
    type=FOLDER,
    metavar="DIR",
    default=Path("/sys/devices"),
    show_default=True,
    help="Where devices are.",
)
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Of each list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (modfs schema explain).")
def command(
    module: str,
    source: Path | None,
    modules: Path | None,
    devices: Path,
    top: int,
    as_json: bool,
) -> int:
    """Tell why MODULE is asked for: by its tree, this machine's devices and its files.

    These are the aliases that lead to it, the devices that have one of them, the modules that need
    it, and lines of modprobe.d and modules-load.d. With SOURCE, as modfs blame takes it, also how
    often it was asked for there, by whom, and what each call cost.
    """
    from loader.observe.replay import rules_of
    from loader.observe.stream import stream
    from modfs.blame.explain import explain, seen
    from modfs.blame.sources import source_of

    with ending_with(MISUSED):
        tree = EngineOptions(modules=modules).tree()
        if tree is None and source is None:
            raise UserError("there is no module tree to look into; --modules names one")
        told = explain(module, tree, devices)
        if source is not None:
            header, lines = stream(source_of(source).lines, str(source))
            askers, calls = seen(canonical(module), lines, rules_of(header))
            told = msgspec.structs.replace(told, askers=askers, calls=calls)
        elif told.file is None and not told.builtin:
            raise UserError(f"no module {module!r} in the tree")
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    else:
        put(_text(told, tree is not None, source is not None, top))
    return DONE


def _text(told: ExplanationTable, has_tree: bool, has_source: bool, top: int) -> Iterator[str]:
    if has_tree:
        where = "part of the kernel" if told.builtin else told.file or "not in the tree"
        yield f"{told.module}: {where}"
        yield from _list("aliases that lead to it", told.aliases, top)
        rows = [f"{device.path}  {device.modalias}" for device in told.devices]
        yield from _list("devices that ask for it", rows, top)
        yield from _list("it needs", told.needs, top)
        yield from _list("modules that need it", told.needed_by, top)
        yield from _list("modules that want it before or after them", told.softdeps, top)
        rows = [f"{place.file}:{place.line}: {place.text}" for place in told.places]
        yield from _list("files that name it", rows, top)
    if has_source:
        yield from _seen(told, top)


def _seen(told: ExplanationTable, top: int) -> Iterator[str]:
    failed = sum(asker.failed for asker in told.askers)
    calls = sum(asker.calls for asker in told.askers)
    yield f"asked for {calls} times, {failed} of them in vain"
    rows = [
        f"{asker.who}{f' ({asker.unit})' if asker.unit else ''}"
        f"{f', for {asker.alias}' if asker.alias else ''}: {asker.calls} times, {asker.failed}"
        f" in vain, {readable_size(asker.wasted_bytes)} wasted, {asker.seconds:.2f} s"
        for asker in told.askers
    ]
    yield from _list("by", rows, top)
    rows = [
        f"{'?' if call.at is None else f'{call.at:.6f}'} {call.who}-{call.tid}"
        f" {call.outcome} {call.result}: {readable_size(call.wasted_bytes)}"
        f"{'' if call.seconds is None else f', {call.seconds:.6f} s'}"
        for call in told.calls
    ]
    yield from _list("calls", rows, top)


def _list(what: str, rows: Sequence[str], top: int) -> Iterator[str]:
    if not rows:
        return
    yield f"{what}: {len(rows)}"
    yield from (f"  {row}"[:200] for row in rows[:top])
    if len(rows) > top:
        yield f"  … and {len(rows) - top} more"
