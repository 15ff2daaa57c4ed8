"""Why a module is asked for: what a tree, /sys and a machine's files say, and what was seen."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from loader.documents.document import Table, about, schema
from loader.observe.stream import Line
from loader.observe.wasted import wasted
from loader.release import Release
from loader.tree.modprobe_config import files_beside
from loader.tree.tree import Tree
from loader.words import canonical, module_name

_KINDS = ("modprobe.d", "modules-load.d")
_MOST_CALLS = 100_000  # that are kept, each with who made it


class DeviceTable(Table):
    """A device that asks for it."""

    path: Annotated[str, about("In /sys/devices.")]
    modalias: Annotated[str, about("By what.")]


class PlaceTable(Table):
    """A line of a file that names it."""

    file: Annotated[str, about("The file.")]
    line: Annotated[int, about("From 1.")]
    text: Annotated[str, about("The line.")]


class AskerTable(Table):
    """Who asked for it."""

    who: Annotated[str, about("The program; the kernel, and for what.")]
    unit: Annotated[str | None, about("Its unit.")]
    alias: Annotated[str | None, about("By what it was asked for, if not by its name.")]
    calls: Annotated[int, about("How often.")]
    failed: Annotated[int, about("Of these.")]
    wasted_bytes: Annotated[int, about("As the kernel counts them.")]
    seconds: Annotated[float, about("That the calls took.")]


class CallTable(Table):
    """One call."""

    at: Annotated[float | None, about("Seconds by the clock.")]
    who: Annotated[str, about("The task's name.")]
    tid: Annotated[int, about("Its number.")]
    outcome: Annotated[str, about("What it came to.")]
    result: Annotated[str | int | None, about("OK, or the errno's name.")]
    seconds: Annotated[float | None, about("How long it took.")]
    wasted_bytes: Annotated[int, about("As the kernel counts them.")]


class ExplanationTable(Table):
    """All that is known of a module's being asked for."""

    module: Annotated[str, about("Its name.")]
    file: Annotated[str | None, about("Below the tree; null: none.")]
    builtin: Annotated[bool, about("It is part of the kernel: nothing loads it.")]
    aliases: Annotated[tuple[str, ...], about("By which it is found.")]
    devices: Annotated[tuple[DeviceTable, ...], about("That have one of them.")]
    needs: Annotated[tuple[str, ...], about("What is loaded before it.")]
    needed_by: Annotated[tuple[str, ...], about("Modules that have it loaded before them.")]
    softdeps: Annotated[tuple[str, ...], about("Modules that have it tried before or after them.")]
    places: Annotated[tuple[PlaceTable, ...], about("Lines of modprobe.d and modules-load.d.")]
    askers: Annotated[tuple[AskerTable, ...], about("Who asked, the most frequent first.")] = ()
    calls: Annotated[tuple[CallTable, ...], about("Each call, in order.")] = ()


def explain(name: str, tree: Tree | None, devices: Path | None) -> ExplanationTable:
    """What a tree and the folder of devices say of the module. OSError: a file cannot be read."""
    name = canonical(name)
    if tree is None:
        return ExplanationTable(
            module=name, file=None, builtin=False, aliases=(), devices=(), needs=(), needed_by=(),
            softdeps=(), places=(),
        )  # fmt: skip
    path = tree.path(name)
    return ExplanationTable(
        module=name,
        file=None if path is None else os.path.relpath(path, tree.root),
        builtin=tree.is_builtin(name),
        aliases=tree.aliases_of(name),
        devices=tuple(_devices(name, tree, devices)) if devices is not None else (),
        needs=tuple(map(module_name, tree.dependencies(name))),
        needed_by=tuple(other for other in tree.names() if _needs(tree, other, name)),
        softdeps=tuple(_soft(name, tree)),
        places=tuple(_places(name, tree.root)),
    )


def _needs(tree: Tree, other: str, name: str) -> bool:
    return any(module_name(path) == name for path in tree.dependencies(other))


def _soft(name: str, tree: Tree) -> Iterator[str]:
    for other in tree.names():
        before, after = tree.softdeps(other)
        if other != name and any(name in tree.resolve(one) for one in (*before, *after)):
            yield other


def _devices(name: str, tree: Tree, folder: Path) -> Iterator[DeviceTable]:
    """Devices that udev asks for it for: it resolves what their modalias says."""
    known: dict[str, bool] = {}
    for place, folders, files in os.walk(folder):
        folders.sort()
        if "modalias" not in files:
            continue
        try:
            alias = Path(place, "modalias").read_text("utf-8", "surrogateescape").strip()
        except OSError:
            continue  # it has gone, or tells nobody
        if alias not in known:
            known[alias] = bool(alias) and name in tree.resolve(alias)
        if known[alias]:
            yield DeviceTable(path=os.path.relpath(place, folder), modalias=alias)


def _places(name: str, root: Path) -> Iterator[PlaceTable]:
    named = re.compile(rf"(?<![\w-]){re.escape(name).replace('_', '[-_]')}(?![\w-])")
    for kind in _KINDS:
        for file in files_beside(root, kind):
            text = file.read_text("utf-8", "replace")
            for number, line in enumerate(text.splitlines(), 1):
                if named.search(line) and not line.lstrip().startswith(("#", ";")):
                    yield PlaceTable(file=str(file), line=number, text=line.strip())


# -- what was seen --------------------------------------------------------------------------------


def seen(
    name: str, lines: Iterable[Line], release: Release
) -> tuple[tuple[AskerTable, ...], tuple[CallTable, ...]]:
    """Who asked for the module, and each call."""
    askers: dict[tuple[str, str | None, str | None], AskerTable] = {}
    calls: list[CallTable] = []
    for line in lines:
        if line.call is None or line.call == "delete_module" or line.module != name:
            continue
        lost = wasted(line, release).total
        took = line.end - line.begin if line.end is not None and line.begin is not None else None
        task = line.task
        who = task.name if task is not None else "?"
        label = f"the kernel, for {line.asked_by}" if line.asked_by else who
        key = label, task.unit if task is not None else None, line.alias
        row = askers.get(key)
        if row is None:
            row = askers[key] = AskerTable(
                who=label, unit=key[1], alias=line.alias, calls=0, failed=0, wasted_bytes=0,
                seconds=0.0,
            )  # fmt: skip
        row.calls += 1
        row.failed += line.told not in ("OK", None)
        row.wasted_bytes += lost
        row.seconds += took or 0.0
        if len(calls) < _MOST_CALLS:
            calls.append(
                CallTable(
                    at=line.begin,
                    who=who,
                    tid=task.tid if task else 0,
                    outcome=line.outcome,
                    result=line.told,
                    seconds=took,
                    wasted_bytes=lost,
                )
            )
    rows = sorted(askers.values(), key=lambda row: (-row.calls, row.who))
    return tuple(rows), tuple(calls)


def explain_schema() -> dict[str, Any]:
    """The JSON Schema of it."""
    return schema("explain", "What modfs explain --json prints.", ExplanationTable)
