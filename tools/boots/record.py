"""Boots made recordings: one file each, and for each kernel what its tree says of modules."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import zstandard

from loader.config import Config
from loader.image.module_image import read_image
from loader.observe.replay import rules
from loader.tree.tree import Tree
from tools.boots.guest import COMMAND_LINE, Booted, Guest, qemu_release
from tools.boots.plan import Spec
from tools.boots.reading import FOLDER, read_boot
from tools.boots.root import udev_release
from tools.record.debian import fetch

_INDEXES = ("modules.dep", "modules.alias", "modules.softdep", "modules.builtin",
            "modules.builtin.modinfo", "modules.order", "modules.symbols")  # fmt: skip
_LEVEL = 19  # of zstd


def record(specs: Iterable[Spec], folder: Path = FOLDER) -> int:
    """Make those that are not there; a line tells of each. Returns how many failed."""
    folder.mkdir(exist_ok=True)
    guests: dict[str, Guest] = {}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="modfs-boots-") as scratch:
        for spec in specs:
            path = folder / f"{spec.name}.txt.zst"
            if path.exists():
                continue
            if spec.kernel not in guests:
                guest = Guest(fetch(spec.kernel), Path(scratch) / spec.kernel)
                guests[spec.kernel] = guest
                _write_tree(spec.kernel, guest.tree, folder)
            failed += not _recorded(spec, guests[spec.kernel], path)
    return failed


def _recorded(spec: Spec, guest: Guest, path: Path) -> bool:
    try:
        booted = guest.boot(spec.processors, spec.memory, spec.command_line, spec.blacklist)
    except RuntimeError as error:
        print(f"{spec.name}: {error}", flush=True)
        return False
    text = f"@HEAD\n{json.dumps(_head(spec, guest, booted))}\n@END\n{booted.printed}"
    whole = path.with_suffix(".part")
    whole.write_bytes(zstandard.compress(text.encode("utf-8", "replace"), _LEVEL))
    boot = read_boot(whole)
    if boot.lost:
        print(f"{spec.name}: not kept, of its trace is lost: {boot.lost}", flush=True)
        return False
    whole.rename(path)
    settled = "" if boot.in_time else ", not settled"
    print(f"{spec.name}: {booted.seconds:.0f} s, {boot.failed} failed{settled}", flush=True)
    return True


def _head(spec: Spec, guest: Guest, booted: Booted) -> dict[str, object]:
    return {
        **asdict(spec),
        "name": spec.name,
        "release": guest.kernel.release,
        "command_line": f"{COMMAND_LINE} {spec.command_line}".strip(),
        "udev": udev_release(),
        "qemu": qemu_release(),
        "host_processors": len(os.sched_getaffinity(0)),
        "host_loads": booted.loads,
        "seconds": round(booted.seconds, 1),
        "processor_seconds": round(booted.used, 1),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


# -- what the tree says ---------------------------------------------------------------------------


def _write_tree(kernel: str, tree: Path, folder: Path) -> None:
    """The indexes of the tree, and a table of its modules' sizes; both are made once."""
    indexes, table = folder / f"tree-{kernel}.tar.zst", folder / f"modules-{kernel}.tsv"
    if not indexes.exists():
        indexes.write_bytes(zstandard.compress(_archive(tree), _LEVEL))
    if not table.exists():
        table.write_text(_sizes(tree))


def _archive(tree: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in _INDEXES:
            data = (tree / name).read_bytes()
            member = tarfile.TarInfo(f"{tree.name}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def _sizes(tree: Path) -> str:
    """Bytes of each module: its file, what load_module sees without signature, the memory of all
    its parts, what remains after init, and its text."""
    rows = ["module\tfile\tlength\tmemory\tcore\ttext"]
    opened, config = Tree.open(tree), Config(release=rules(tree.name))
    for name in sorted(opened.names()):
        path = opened.path(name)
        assert path
        data = path.read_bytes()
        image = read_image(data, 0, config)
        layout = image.layout
        sizes = (len(data), image.len, layout.total, layout.core, layout.text_total)
        rows.append("\t".join(map(str, (name, *sizes))))
    return "\n".join(rows) + "\n"
