"""A machine's module tree and its modprobe.d, copied to where nothing leads out of them.

What reads trees (loader.tree) follows paths and links; the files may be a stranger's. So their
texts are copied from a Folder first, and module files when they are wanted.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Iterable
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
_MODPROBE = ("etc", "run", "usr/local/lib", "usr/lib", "lib")


def tree_below(root: Folder, release: str) -> str:
    """Where the tree of a release is in a machine's /; "lib/modules/RELEASE" if it is not there."""
    places = [f"{place}/{release}" for place in ("lib/modules", "usr/lib/modules")]
    return next(filter(root.is_folder, places), places[0])


class Stage:
    """The tree of ``release`` and a modprobe.d, copied below ``to``."""

    def __init__(self, release: str, to: Path, tree: Folder, below: str) -> None:
        """``below``: where the tree is in the folder ``tree``."""
        self._tree = tree
        self._below = below
        self._to = to
        self.folder = to / "lib/modules" / release
        self.folder.mkdir(parents=True)
        for name in (*_INDEXES, "config"):
            self._copy(tree, f"{below}/{name}", self.folder / name)

    def take_settings(self, root: Folder) -> None:
        """All of the modprobe.d of a machine's /, and the kernel's configuration."""
        for place in _MODPROBE:
            for name in root.names(f"{place}/modprobe.d"):
                if name.endswith(".conf"):
                    path = f"{place}/modprobe.d/{name}"
                    self._copy(root, path, self._to / path)
        if not (self.folder / "config").exists():
            self._copy(root, f"boot/config-{self.folder.name}", self.folder / "config")

    def take_modprobe(self, files: Iterable[Path]) -> None:
        """These files of a modprobe.d. OSError."""
        for file in files:
            (self._settings / file.name).write_bytes(file.read_bytes())

    @property
    def _settings(self) -> Path:
        folder = self._to / "etc/modprobe.d"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _copy(self, source: Folder, path: str, to: Path, most: int = _INDEX_MOST) -> bool:
        content = source.read_bytes(path, most)
        if content is not None:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content)
        return content is not None

    def blacklist(self, names: tuple[str, ...]) -> None:
        """As if a file of modprobe.d had these lines."""
        lines = "".join(f"blacklist {name}\n" for name in names)
        (self._settings / "~told.conf").write_text(lines, "utf-8", "surrogateescape")

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
        try:
            return path.exists() or self._copy(
                self._tree, f"{self._below}/{name}", path, _MODULE_MOST
            )
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # no file has such a name
                raise
            return False


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
