"""What a machine's tree makes of modaliases: which modules are loaded, and what these take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from loader.config import MACHINES, PAGE_SIZE, Config
from loader.errors import UserError
from loader.image.layout import Layout, page_align
from loader.kconfig import find_kconfig, read_kconfig
from loader.packings import by_suffix
from loader.release import release
from loader.simulate.from_tree import TreeModules
from loader.simulate.machine import DescribedModule
from loader.tree.modprobe import modprobe
from loader.words import module_name
from modfs.machine.seen import Load, Seen

# Of 89 modules of Debian's 6.12, medians: bytes of the file for each byte of memory without init;
# bytes of init for each of those; code of them.
_FILE, _INIT, _TEXT = 1.66, 0.5, 0.33


class Loaded(NamedTuple):
    """``modules``: by their names. ``sources``: how it is known what those
    take whose files were not there. ``missing``:
    those of which nothing is known. ``compression``: of the files."""

    modules: dict[str, DescribedModule]
    sources: dict[str, str]
    missing: dict[str, str]
    compression: str


class Lookup:
    """One tree, asked with modaliases."""

    def __init__(self, root: Path, fetch: Callable[[Path], bool]) -> None:
        """``fetch`` brings a module's file to its path, and says whether it is there. OSError."""
        self._source = TreeModules(root)
        self._tree = self._source.tree
        self._fetch = fetch
        self.asked_for = cache(self._asked_for)

    def _asked_for(self, alias: str) -> tuple[str, ...]:
        """The modules that `kmod load ALIAS` of udev's inserts, in order, without those that others
        of them need: soft dependencies, install lines and the blacklist are followed."""
        inserted: dict[str, Path] = {}
        run = modprobe(self._tree, alias, inserted.__contains__)
        try:
            step = next(run)
            while True:
                inserted.setdefault(module_name(step.path), step.path)
                step = run.send(0)
        except StopIteration:
            pass
        needed = {need for name in inserted for need in self._needs(name)}
        return tuple(name for name in inserted if name not in needed)

    def _needs(self, name: str) -> tuple[str, ...]:
        return tuple(map(module_name, self._tree.dependencies(name)))

    def loaded(self, names: Iterable[str], seen: Seen) -> Loaded:
        """All that ``names`` are and need."""
        config = self._config(seen)
        found = Loaded({}, {}, {}, "none")
        left = list(names)
        while left:
            name = left.pop()
            if name in found.modules or name in found.missing or self._tree.is_builtin(name):
                continue
            path = self._tree.path(name)
            if path is not None and (packing := by_suffix(path)) is not None:
                found = found._replace(compression=packing.name)
            self._describe(name, path, config, seen, found)
            left += self._needs(name)
        return found

    def _describe(
        self, name: str, path: Path | None, config: Config, seen: Seen, found: Loaded
    ) -> None:
        """Put the module ``name`` into ``found``."""
        if path is not None and self._fetch(path):
            try:
                found.modules[name] = self._source.described(name, path, config)
            except UserError as error:
                found.missing[name] = str(error).rpartition(": ")[2]
        elif name in seen.loads:
            load, core = seen.loads[name], seen.core.get(name)
            found.modules[name] = _recorded(name, load, core, self._needs(name))
            found.sources[name] = "recorded"
        elif name in seen.core:
            found.modules[name] = _estimated(name, seen.core[name], self._needs(name))
            found.sources[name] = "estimated"
        else:
            found.missing[name] = "its file was not there, and it was not loaded"

    def _config(self, seen: Seen) -> Config:
        kernel = seen.kernel()
        config = Config(release=release(*kernel) if kernel else release())
        if seen.architecture in MACHINES:
            config = Config(release=config.release, machine=MACHINES[seen.architecture])
        path = find_kconfig(self._tree.root)
        try:
            return read_kconfig(path).applied(config) if path else config
        except (UserError, OSError) as error:
            seen.notes.append(f"kernel configuration: {error}")
            return config

    def unpacks(self) -> str | None:
        """What the kernel itself unpacks, by its configuration; None: not known."""
        path = find_kconfig(self._tree.root)
        try:
            return read_kconfig(path).compression if path else None
        except (UserError, OSError):
            return None


def _recorded(name: str, load: Load, core: int | None, needs: tuple[str, ...]) -> DescribedModule:
    memory = page_align(load.memory)
    if core is None or not core <= memory:
        core = round(memory / (1 + _INIT))
    init = memory - page_align(core)
    text = page_align(round(core * _TEXT)) if load.text is None else page_align(load.text)
    text = min(text, memory - init)
    layout = Layout(text=text, data=memory - init - text, init_data=init)
    return DescribedModule(name, load.size, layout, None, needs)


def _estimated(name: str, core: int, needs: tuple[str, ...]) -> DescribedModule:
    init = page_align(round(core * _INIT))
    text = min(page_align(round(core * _TEXT)), page_align(core))
    layout = Layout(text=text, data=page_align(core) - text, init_data=init)
    return DescribedModule(name, max(PAGE_SIZE, round(core * _FILE)), layout, None, needs)
