"""A machine's module tree and its modprobe.d, copied to where nothing leads out of them.

What reads trees (loader.tree) follows paths and links; the files may be a stranger's. So their
texts are copied from a Folder first, and module files when they are wanted.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

from loader.tree.tree import Tree
from loader.words import canonical
from modfs.machine.folder import Folder

_INDEXES = (
    "modules.dep", "modules.alias", "modules.symbols", "modules.softdep", "modules.builtin",
    "modules.builtin.modinfo", "modules.order",
)  # fmt: skip
_INDEX_MOST = 64 << 20  # bytes; Debian's largest has 1.5 MB
_MODULE_MOST = 1 << 30
_CONFIG_MOST = 8 << 20
_TREES = ("lib/modules", "usr/lib/modules")
_MODPROBE = ("etc", "run", "usr/local/lib", "usr/lib", "lib")


class Stage:
    """The tree of ``release`` and all of modprobe.d in ``root``, copied below ``to``."""

    def __init__(self, root: Folder, release: str, to: Path) -> None:
        self._root = root
        self._from = next(
            (f"{place}/{release}" for place in _TREES if root.is_folder(f"{place}/{release}")), ""
        )
        self.folder = to / "lib/modules" / release
        self.folder.mkdir(parents=True)
        self._copy_indexes(release)
        for place in _MODPROBE:
            self._copy_modprobe(f"{place}/modprobe.d", to)
        self._to = to

    def _copy_indexes(self, release: str) -> None:
        for name in _INDEXES:
            self._copy(f"{self._from}/{name}", self.folder / name, _INDEX_MOST)
        for name in (f"{self._from}/config", f"boot/config-{release}"):
            if not (self.folder / "config").exists():
                self._copy(name, self.folder / "config", _CONFIG_MOST)

    def _copy_modprobe(self, folder: str, to: Path) -> None:
        for name in self._root.names(folder):
            if name.endswith(".conf"):
                self._copy(f"{folder}/{name}", to / folder / name, _INDEX_MOST)

    def _copy(self, path: str, to: Path, most: int) -> bool:
        content = self._root.read_bytes(path, most)
        if content is not None:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content)
        return content is not None

    def blacklist(self, names: tuple[str, ...]) -> None:
        """As if a file of modprobe.d had these lines."""
        folder = self._to / "etc/modprobe.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "~command-line.conf").write_text("".join(f"blacklist {n}\n" for n in names))

    def add_aliases(self, modinfo: str) -> None:
        """modules.alias and modules.softdep, where they are not there, by what modinfo printed of
        modules; in the order of modules.dep, as depmod writes them."""
        aliases, softdeps = _of_modinfo(modinfo)
        order = {name: place for place, name in enumerate(Tree.open(self.folder).names())}
        names = sorted(aliases, key=lambda name: order.get(name, len(order)))
        lines = [f"alias {alias} {name}\n" for name in names for alias in aliases[name]]
        for index, text in (("modules.alias", lines), ("modules.softdep", softdeps)):
            if not (self.folder / index).exists():
                (self.folder / index).write_text("".join(text), "utf-8", "surrogateescape")

    @property
    def has_indexes(self) -> bool:
        """Are modules.dep and modules.alias there?"""
        return all((self.folder / name).exists() for name in ("modules.dep", "modules.alias"))

    def fetch(self, path: Path) -> bool:
        """Bring the module file that is to be at ``path``. Is it there now?"""
        try:
            name = path.relative_to(self.folder).as_posix()
        except ValueError:
            return False
        if posixpath.normpath(name) != name or name.startswith(".."):
            return False
        return path.exists() or self._copy(f"{self._from}/{name}", path, _MODULE_MOST)


def _of_modinfo(text: str) -> tuple[dict[str, list[str]], list[str]]:
    """The aliases of each module, and lines as in modules.softdep."""
    aliases: dict[str, list[str]] = {}
    softdeps: list[str] = []
    name, pending = "", list[str]()
    for line in text.split("\n"):
        key, _, value = line.partition(":")
        value = value.strip()
        if key == "filename":
            name, pending = canonical(posixpath.basename(value).partition(".")[0]), []
            aliases.setdefault(name, pending)
        elif key == "alias" and name and value and len(value.split()) == 1:
            pending.append(value)
        elif key == "softdep" and name:
            softdeps.append(f"softdep {name} {value}\n")
    return aliases, softdeps
