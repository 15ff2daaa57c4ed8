"""A module tree: where a module's file is and what it needs, as modprobe would find out.

`Tree` answers from the text indexes that depmod writes into /lib/modules/RELEASE (modules.dep,
modules.alias, modules.symbols, modules.softdep, modules.builtin, modules.builtin.modinfo), or,
where there is no modules.dep, from the names of the files and the ``depends`` each of them carries.

A tree is a picture of the folder: each index is read at its first use, once, and kept. Lines that
make no sense are skipped. An index that is there and cannot be read raises its OSError; one that is
not there is empty. All methods may be called from any number of threads.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from loader.packings import read_module
from loader.tree.aliases import Aliases, normal_alias
from loader.tree.modprobe_config import ModprobeConfig, config_of_tree
from loader.tree.probe_list import Found, Probe
from loader.words import MODULE_FILE, canonical, module_name

T = TypeVar("T")


class _Once(Generic[T]):
    """The result of a function, computed at the first call and by one thread only."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._results: list[T] = []

    def __call__(self) -> T:
        if not self._results:
            with self._lock:
                if not self._results:
                    self._results.append(self._compute())
        return self._results[0]


class Tree:
    """A /lib/modules/RELEASE folder, or any folder of module files. Made by `Tree.open`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.release = root.name
        self._dep = _Once(self._read_dep)
        self._aliases = _Once(self._read_aliases)
        self._symbols = _Once(self._read_symbols)
        self._softdeps = _Once(self._read_softdeps)
        self._builtin = _Once(self._read_builtin)
        self._builtin_aliases = _Once(self._read_builtin_aliases)
        self._config = _Once(lambda: config_of_tree(root))

    @classmethod
    def open(cls, root: Path | str) -> Tree:
        """The tree at ``root``; symbolic links are followed once, here.

        OSError: ENOENT, ENOTDIR or EACCES, where there is no such folder.
        """
        path = Path(root).resolve(strict=True)
        os.scandir(path).close()
        return cls(path)

    def path(self, name: str) -> Path | None:
        """The file of the module ``name``, compressed or not; None if the tree has no such module.

        It comes from the index: whether the file is still there is not looked at.
        """
        entry = self._dep().get(canonical(name))
        return None if entry is None else self.root / entry.path

    def names(self) -> Iterator[str]:
        """The canonical names of all modules that have a file, in the index's order."""
        return iter(self._dep())

    def sample(self, count: int = 5) -> Iterator[bytes]:
        """The contents of some modules, unpacked: all of one tree were built for one kernel."""
        names = sorted(self.names())
        for name in names[:: max(1, len(names) // count)][:count]:
            if path := self.path(name):
                yield read_module(path)

    def dependencies(self, name: str) -> tuple[Path, ...]:
        """The files that modprobe inserts before ``name``, first one first.

        () if there are none, or no such module.
        """
        entry = self._dep().get(canonical(name))
        if entry is None:
            return ()
        if entry.needs is not None:
            return tuple(self.root / path for path in reversed(entry.needs.split()))
        return self._dependencies_by_modinfo(canonical(name))

    @property
    def config(self) -> ModprobeConfig:
        """What modprobe.d says: see loader.tree.modprobe_config.config_of_tree. OSError."""
        return self._config()

    def resolve(self, name_or_alias: str) -> tuple[str, ...]:
        """The canonical names of the modules meant: those of `lookup`."""
        return tuple(found.name for found in self.lookup(name_or_alias))

    def lookup(self, string: str) -> tuple[Found, ...]:
        """The modules that ``string`` means, looked up in modprobe's order.

        That is: an alias of modprobe.d; a module's own name; `symbol:NAME`; a name with an install
        line; every alias that matches, in the order of modules.alias; what is built into the
        kernel, by name or alias (then `is_builtin` is true of it and `path` None). () if nothing
        has that name.
        """
        name, config = canonical(string), self.config
        if config.aliases and (found := config.aliases.lookup(string)):
            return self._by_alias(found, string)
        if name in self._dep():
            return (Found(name),)
        kind, _, symbol = string.partition(":")
        exporter = self.exporter(symbol) if kind == "symbol" else None
        if exporter is not None:
            return (Found(exporter, normal_alias(string)),)
        if any(pattern == name for pattern, _ in config.install):
            return (Found(name),)
        if found := self._aliases().lookup(string):
            return self._by_alias(found, string)
        if self.is_builtin(name):
            return (Found(name),)
        return self._by_alias(self._builtin_aliases().lookup(string), string)

    def _by_alias(self, names: tuple[str, ...], alias: str) -> tuple[Found, ...]:
        return tuple(Found(name, normal_alias(alias)) for name in names)

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """The patterns by which the index modules.alias leads to the module ``name``."""
        lines = self._alias_lines("modules.alias")
        return tuple(pattern for pattern, module in lines if module == canonical(name))

    def is_builtin(self, name: str) -> bool:
        """Whether modules.builtin lists `name`: part of the kernel, so there is nothing to load."""
        return canonical(name) in self._builtin()

    def exporter(self, symbol: str) -> str | None:
        """The module that exports ``symbol``, by modules.symbols; None if none is listed there."""
        return self._symbols().get(symbol)

    def softdeps(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What modprobe tries to load before and after ``name``: (pre, post), as written.

        They may be aliases, and need not exist: modprobe goes on without them.
        """
        return self.config.softdeps_of(canonical(name)) or self._softdeps().get(
            canonical(name), ((), ())
        )

    def probe_list(self, name: str) -> tuple[Probe, ...]:
        """All the files that `modprobe name` tries, in its order, softdeps and ``name`` included.

        () if there is no such module. Mirrors kmod_module_get_probe_list of libkmod.
        """
        probes: dict[Path, Probe] = {}
        # By name and alias: what an alias leads to is another module to libkmod than the one of
        # that name, so it is visited once more.
        visited: set[tuple[str, str]] = set()

        def probe(name: str, required: bool, alias: str = "") -> None:
            path = self.path(name)
            if path is None or (name, alias) in visited:
                return
            visited.add((name, alias))
            for needed in (*self.dependencies(name), path):
                before, after = self.softdeps(module_name(needed))
                softly(before)
                if needed not in probes or required:
                    probes[needed] = Probe(needed, required)
                softly(after)

        def softly(aliases: tuple[str, ...]) -> None:
            for alias in aliases:
                by_name = canonical(alias) in self._dep()
                for module in self.resolve(alias):
                    probe(module, False, "" if by_name else normal_alias(alias))

        probe(canonical(name), True)
        return tuple(probes.values())

    def _text(self, index: str) -> str | None:
        try:
            return (self.root / index).read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None

    def _lines(self, index: str) -> list[str]:
        return (self._text(index) or "").split("\n")

    def _read_dep(self) -> dict[str, _Dep]:
        text = self._text("modules.dep")
        if text is None:
            return self._scan()
        found: dict[str, _Dep] = {}
        for line in text.split("\n"):
            path, colon, needs = line.partition(":")
            path = path.strip()
            if colon and "\0" not in line and MODULE_FILE.fullmatch(os.path.basename(path)):
                found.setdefault(module_name(path), _Dep(path, needs))
        return found

    def _scan(self) -> dict[str, _Dep]:
        """A folder without modules.dep: its own files by name, and those below its kernel/.

        Of several files with one name, `x.ko` comes before `x.ko.xz`, and that before `x.1.ko`.
        """
        files = [entry.name for entry in os.scandir(self.root) if entry.is_file()]
        for folder, _, names in os.walk(self.root / "kernel"):
            files += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        files = [file for file in files if MODULE_FILE.fullmatch(os.path.basename(file))]
        found: dict[str, _Dep] = {}

        def preference(file: str) -> tuple[bool, int, str]:
            name = os.path.basename(file)
            return "." in name.partition(".ko")[0], len(name), file

        for file in sorted(files, key=preference):
            found.setdefault(module_name(file), _Dep(file, None))
        return found

    def _dependencies_by_modinfo(self, name: str) -> tuple[Path, ...]:
        """Each module's own `depends`, deepest first; names that have no file here are left out."""
        order: dict[str, Path] = {}
        pending = [(name, False)]
        seen = set()
        while pending:
            current, done = pending.pop()
            path = self.path(current)
            if path is None:
                continue
            if done:
                order[current] = path
            elif current not in seen:
                seen.add(current)
                pending.append((current, True))
                pending += [(depend, False) for depend in reversed(_read_depends(path))]
        order.pop(name, None)
        return tuple(order.values())

    def _alias_lines(self, index: str) -> Iterator[tuple[str, str]]:
        for line in self._lines(index):
            words = line.split()
            if len(words) == 3 and words[0] == "alias":
                yield words[1], canonical(words[2])

    def _read_aliases(self) -> Aliases:
        aliases = Aliases()
        for pattern, module in self._alias_lines("modules.alias"):
            aliases.add(pattern, module)
        return aliases

    def _read_symbols(self) -> dict[str, str]:
        symbols: dict[str, str] = {}
        for alias, module in self._alias_lines("modules.symbols"):
            if alias.startswith("symbol:"):
                symbols.setdefault(alias.removeprefix("symbol:"), module)
        return symbols

    def _read_softdeps(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """`softdep NAME pre: A B post: C`; of a module's several lines modprobe takes the first."""
        softdeps: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for line in self._lines("modules.softdep"):
            words = line.split()
            if len(words) < 3 or words[0] != "softdep":
                continue
            lists: dict[str, list[str]] = {"pre:": [], "post:": []}
            current: list[str] = []
            for word in words[2:]:
                if word in lists:
                    current = lists[word]
                else:
                    current.append(word)
            softdeps.setdefault(canonical(words[1]), (tuple(lists["pre:"]), tuple(lists["post:"])))
        return softdeps

    def _read_builtin(self) -> frozenset[str]:
        lines = map(str.strip, self._lines("modules.builtin"))
        return frozenset(
            module_name(line) for line in lines if MODULE_FILE.fullmatch(os.path.basename(line))
        )

    def _read_builtin_aliases(self) -> Aliases:
        """modules.builtin.modinfo: NUL-terminated `NAME.KEY=VALUE` strings."""
        aliases = Aliases()
        for entry in (self._text("modules.builtin.modinfo") or "").split("\0"):
            key, equals, value = entry.partition("=")
            name, _, field = key.partition(".")
            if equals and field == "alias" and value:
                aliases.add(value, canonical(name))
        return aliases


class _Dep(NamedTuple):
    """A line of modules.dep: a module's path below the root, and the paths it needs, last first.

    ``needs`` is None in a folder without modules.dep: the module's own .modinfo tells.
    """

    path: str
    needs: str | None


def _read_depends(path: Path) -> tuple[str, ...]:
    """The canonical names after `depends=` in a module's .modinfo; () for what is no module."""
    for entry in _modinfo(read_module(path)).split(b"\0"):
        tag, equals, value = entry.partition(b"=")
        if equals and tag == b"depends":
            names = value.decode("utf-8", "surrogateescape").split(",")
            return tuple(canonical(name) for name in names if name)
    return ()


def _modinfo(module: bytes) -> bytes:
    """The section .modinfo; empty for what is no ELF file, or a damaged one."""
    import zlib

    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(module))
        if elf["e_shentsize"] != elf.structs.Elf_Shdr.sizeof():
            return b""  # headers of no length could be without end
        section = elf.get_section_by_name(".modinfo")
        if section is None or section["sh_type"] != "SHT_PROGBITS":
            return b""
        return section.data()
    except (ELFError, OverflowError, zlib.error):  # OverflowError: an offset of 2**63
        return b""
