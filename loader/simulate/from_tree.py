"""Takes what a machine's description leaves out from a module tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from loader.config import Config
from loader.errors import UserError
from loader.image.module_image import read_image
from loader.packings import read_module
from loader.simulate.machine import Coldplug, DescribedModule, Devices, Machine
from loader.tree.tree import Tree
from loader.words import module_name


class TreeModules:
    """The modules of a tree, for several machines and kernels: each file is read once."""

    def __init__(self, root: Path) -> None:
        """``root``: a /lib/modules/RELEASE folder. OSError: there is none."""
        self.tree = Tree.open(root)
        self.contents = cache(read_module)

    def described(self, name: str, path: Path, config: Config) -> DescribedModule:
        """What a kernel of this ``config`` finds in a module's file. UserError: no module."""
        image = read_image(self.contents(path), 0, config)
        if failure := image.becoming_failure or image.layout_failure:
            raise UserError(f"{path}: the kernel would not take it: {failure.message}")
        compressed = None if path.suffix == ".ko" else path.stat().st_size
        depends = tuple(map(module_name, self.tree.dependencies(name)))
        return DescribedModule(name, image.len, image.layout, compressed, depends)


def from_tree(made: Machine, modules: TreeModules, config: Config) -> Machine:
    """``made`` with the modules that it asks for and does not describe taken from a tree.

    They take the memory that a kernel of this ``config`` gives them. What devices ask for may be
    modaliases then, which the tree resolves. OSError: a file cannot be read. UserError: the tree
    has no such module, or the kernel would not take its file.
    """
    filling = _Filling(made, modules, config)
    coldplug = tuple(map(filling.coldplug, made.coldplug))
    builtin = tuple(filter(filling.request, {requests.string for requests in made.requests}))
    return replace(made, modules=filling.modules, coldplug=coldplug, builtin=builtin)


class _Filling:
    """One machine, its ``modules`` so far, and the tree that has the others."""

    def __init__(self, made: Machine, source: TreeModules, config: Config) -> None:
        self.modules = dict(made.modules)
        self._source = source
        self._tree = source.tree
        self._config = config

    def coldplug(self, coldplug: Coldplug) -> Coldplug:
        """With the modules' names in place of what its devices ask for."""
        return replace(coldplug, devices=tuple(map(self._devices, coldplug.devices)))

    def request(self, string: str) -> bool:
        """Add what a request means. Does it mean a part of the kernel? Others may mean nothing."""
        if string in self.modules:
            return False
        names = tuple(self._in_files(string))
        for name in names:
            self._add(name)
            module = self.modules[name]
            if string not in (name, *module.aliases):
                self.modules[name] = replace(module, aliases=(*module.aliases, string))
        return not names and bool(self._tree.resolve(string))

    def _devices(self, devices: Devices) -> Devices:
        wanted = devices.modules or ((devices.alias,) if devices.alias else ())
        names = dict.fromkeys(name for asked in wanted for name in self._resolved(asked))
        alias = next((asked for asked in devices.modules if ":" in asked), devices.alias)
        return replace(devices, modules=tuple(names), alias=alias)

    def _resolved(self, asked: str) -> tuple[str, ...]:
        """Names of the modules that ``asked`` means; none for a device that needs none."""
        if asked in self.modules:
            return (asked,)
        names = tuple(self._in_files(asked))
        for name in names:
            self._add(name)
        if not names and ":" not in asked:
            raise self._missing(asked)
        return names

    def _in_files(self, asked: str) -> Iterator[str]:
        return (name for name in self._tree.resolve(asked) if not self._tree.is_builtin(name))

    def _add(self, name: str) -> None:
        """A module, and what it needs."""
        if name in self.modules or self._tree.is_builtin(name):
            return
        path = self._tree.path(name)
        if path is None:
            raise self._missing(name)
        module = self.modules[name] = self._source.described(name, path, self._config)
        for needed in module.depends:
            self._add(needed)

    def _missing(self, name: str) -> UserError:
        return UserError(f"{self._tree.root}: no module {name!r}")
