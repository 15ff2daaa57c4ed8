"""Takes what a machine's description leaves out from a module tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loader.config import Config
from loader.errors import UserError
from loader.image.module_image import read_image
from loader.packings import read_module
from loader.simulate.machine import DescribedModule, Devices, Machine
from loader.tree.tree import Tree
from loader.words import module_name


def from_tree(made: Machine, root: Path) -> Machine:
    """``made`` with the modules that it asks for and does not describe taken from a tree.

    ``root``: a /lib/modules/RELEASE folder. What devices ask for may be modaliases then, which the
    tree resolves. OSError: no tree, or a file cannot be read. UserError: the tree has no such
    module, or the kernel would not take its file.
    """
    tree = Tree.open(root)
    config = Config()
    modules = dict(made.modules)

    def add(name: str) -> None:
        if name in modules or tree.is_builtin(name):
            return
        path = tree.path(name)
        if path is None:
            raise UserError(f"{root}: no module {name!r}")
        needed = tuple(module_name(path) for path in tree.dependencies(name))
        modules[name] = _module_of(name, path, needed, config)
        for needs in needed:
            add(needs)

    def resolved(asked: str) -> tuple[str, ...]:
        if asked in modules:
            return (asked,)
        names = tuple(name for name in tree.resolve(asked) if not tree.is_builtin(name))
        for name in names:
            add(name)
        if not names and ":" not in asked:
            raise UserError(f"{root}: no module {asked!r}")
        return names

    def of_tree(devices: Devices) -> Devices:
        names = dict.fromkeys(name for asked in devices.modules for name in resolved(asked))
        return replace(devices, modules=tuple(names))

    coldplug = tuple(
        replace(coldplug, devices=tuple(map(of_tree, coldplug.devices)))
        for coldplug in made.coldplug
    )
    return replace(made, modules=modules, coldplug=coldplug)


def _module_of(name: str, path: Path, depends: tuple[str, ...], config: Config) -> DescribedModule:
    image = read_image(read_module(path), 0, config)
    if image.becoming_failure:
        raise UserError(f"{path}: the kernel would not take it: {image.becoming_failure}")
    compressed = None if path.suffix == ".ko" else path.stat().st_size
    return DescribedModule(name, image.len, image.layout, compressed, depends)
