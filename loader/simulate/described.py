"""Described modules as modprobe finds them: by their names, and by the aliases they are told to
have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from loader.tree.aliases import Aliases, normal_alias
from loader.tree.modprobe_config import ModprobeConfig
from loader.tree.probe_list import Found, Probe
from loader.words import canonical


class DescribedModules:
    """What stands for a module tree (loader.tree.modprobe.Modules). A module's file is its name."""

    config = ModprobeConfig()

    def __init__(
        self,
        aliases: Mapping[str, Iterable[str]],
        load_order: Callable[[str], Iterable[str]],
        builtin: Iterable[str] = (),
    ) -> None:
        """``aliases`` of all modules, by their names; ``load_order(name)``: all to insert, the
        module itself last; ``builtin``: strings that mean a part of the kernel."""
        self._names = aliases.keys()
        self._aliases = Aliases()
        for name, patterns in aliases.items():
            for pattern in patterns:
                self._aliases.add(pattern, name)
        self._load_order = load_order
        self._builtin = frozenset(builtin)

    def lookup(self, string: str) -> tuple[Found, ...]:
        name = canonical(string)
        if name in self._names:
            return (Found(name),)
        if string in self._builtin:
            return (Found(string),)
        alias = normal_alias(string)
        return tuple(Found(name, alias) for name in self._aliases.lookup(string))

    def probe_list(self, name: str) -> tuple[Probe, ...]:
        return tuple(Probe(Path(each), True) for each in self._load_order(name))

    def is_builtin(self, name: str) -> bool:
        return name in self._builtin
