"""What a boot's devices ask for, by the kernel's tree of modules; and the simplest prediction."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from loader.tree.tree import Tree
from loader.words import canonical, module_name
from modfs.verify.corpus import unpack
from tools.boots.facts import Boot
from tools.boots.reading import FOLDER


def unpack_tree(kernel: str, into: Path, folder: Path = FOLDER) -> Tree:
    """The indexes of the tree that the guests of ``kernel``, such as 6.1, had; no module's file is
    there. OSError."""
    target = into / kernel
    unpack(folder / f"tree-{kernel}.tar.zst", target)
    (root,) = target.iterdir()
    return Tree.open(root)


def wanted(tree: Tree, modalias: str, blacklist: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The modules that kmod would load for it, in its order, those that they need before them."""
    found: dict[str, None] = {}
    black = set(map(canonical, blacklist))
    for name in tree.resolve(modalias):
        if name not in black:
            found |= {module_name(probe.path): None for probe in tree.probe_list(name)}
    return tuple(found)


def askers(boot: Boot, tree: Tree) -> Counter[str]:
    """How many of the boot's events ask for each module that is not there before."""
    counted: Counter[str] = Counter()
    for event in boot.uevents:
        if event.action == "add" and event.modalias:
            counted.update(wanted(tree, event.modalias, boot.machine.blacklist))
    for name in boot.before:
        counted.pop(name, None)
    return counted


def baseline(boot: Boot, tree: Tree) -> dict[str, int]:
    """Failed loads by module, if all who ask but one failed."""
    return {name: count - 1 for name, count in askers(boot, tree).items() if count > 1}
