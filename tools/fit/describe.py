"""Recorded boots (tools.boots) as machines that can be simulated, with what really failed."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from loader.tree.tree import Tree
from loader.words import module_name
from tools.boots import asked, reading

_BEFORE_STATISTICS = ("6.1",)
SPEED = 0.03
"""Of the processors that QEMU emulates here: a signature's check takes 1.7 ms, not 50 µs."""


def describe(recording: Path, cases: Path) -> Path:
    """Write the recorded boot's machine into the folder ``cases``, and beside it what failed in it;
    where the machine is. OSError."""
    boot = reading.read_boot(recording)
    with TemporaryDirectory() as folder:
        tree = asked.unpack_tree(boot.machine.kernel, Path(folder), recording.parent)
        sizes = _sizes(recording.parent / f"modules-{boot.machine.kernel}.tsv")
        text = "\n".join(_machine(boot, tree, sizes)) + "\n"
    file = cases / f"{boot.name}.toml"
    file.write_text(text)
    failed = Counter(load.module for load in boot.loads if load.outcome in ("load", "becoming"))
    told = {
        "source": f"tools/boots/recordings/{recording.name}",
        "failed": dict(failed),
        "calls": len(boot.loads),
    }
    file.with_suffix(".json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    return file


def _sizes(table: Path) -> Mapping[str, Mapping[str, int]]:
    heading, *rows = (line.split("\t") for line in table.read_text().splitlines())
    return {row[0]: dict(zip(heading[1:], map(int, row[1:]), strict=True)) for row in rows}


def _machine(boot: Any, tree: Tree, sizes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    machine = boot.machine
    yield f"# {boot.name}: from its recording, by python -m tools.fit describe"
    yield f"processors = {machine.processors}"
    yield f"host_processors = {machine.host_processors}"
    yield f"speed = {SPEED}"
    yield f"memory = {machine.memory}"
    if machine.kernel in _BEFORE_STATISTICS:
        yield 'kernel = "6.4" # the first that counts; this one loads as it does without the check'
        yield 'without = ["early-check"]'
    else:
        yield f'kernel = "{machine.kernel}"'
    if machine.children_max:
        yield f"\n[userspace]\nworkers = {machine.children_max}"
    rules = median(one.ruled - one.begin for one in boot.uevents if one.begin and one.ruled)
    yield f"\n[costs]\nrules = {rules * SPEED:.3g} # measured, at speed 1"
    yield '\n[[coldplug]]\nname = "initrd"\nfrom_memory = true'
    there = {*machine.blacklist, *boot.before}  # udev leaves these alone, or finds them there
    events = sorted(boot.uevents, key=lambda one: one.seqnum)
    asked = [_asked(one, tree, there) for one in events]
    for modules, run in groupby(asked):
        count = len(list(run))
        yield f"\n[[coldplug.devices]]\nmodules = {json.dumps(modules)}"
        if count > 1:
            yield f"count = {count}"
    yield ""
    failing = {load.module: load.errno for load in boot.loads if load.init_failed}
    needed = sorted(
        {name for modules in asked for top in modules for name in _needed(tree, top)} - there
    )
    for name in needed:
        yield f"[modules.{name}]"
        yield from _module(name, tree, sizes[name], there)
        if name in failing:
            yield f'fails = "{errno.errorcode[failing[name]]}"'


def _asked(event: Any, tree: Tree, there: set[str]) -> list[str]:
    if event.action != "add" or not event.modalias:
        return []
    found = tree.resolve(event.modalias)
    return [name for name in found if name not in there and not tree.is_builtin(name)]


def _needed(tree: Tree, name: str) -> Iterator[str]:
    yield name
    for path in tree.dependencies(name):
        yield from _needed(tree, module_name(path))


def _module(name: str, tree: Tree, sizes: Mapping[str, int], there: set[str]) -> Iterator[str]:
    yield f"size = {sizes['length']}"
    yield f"memory = {sizes['memory']}"
    yield f"text = {sizes['text']}"
    yield f"init_memory = {sizes['memory'] - sizes['core']}"
    needed = (module_name(path) for path in tree.dependencies(name))
    if depends := [one for one in needed if one not in there]:
        yield f"depends = {json.dumps(depends)}"
