"""modprobe.d(5): what a machine's own files say about modules, as kmod reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from loader.tree.aliases import Aliases, normal_alias
from loader.words import canonical

# Below the root of the machine; of files with one name, the first counts.
_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")


@dataclass(frozen=True, slots=True)
class ModprobeConfig:
    """The lines of all files. Patterns are as of fnmatch(3); the first that matches counts.

    ``options``: (module or alias, text), all of which count. ``softdeps``: (pattern, before,
    after). ``install``: (pattern, command).
    """

    aliases: Aliases | None = None
    blacklist: frozenset[str] = frozenset()
    options: tuple[tuple[str, str], ...] = ()
    softdeps: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()
    install: tuple[tuple[str, str], ...] = ()

    def options_of(self, name: str, alias: str = "") -> str:
        """Parameters of the module ``name``, which was found by ``alias``."""
        return " ".join(text for key, text in self.options if key in (name, alias or name))

    def install_of(self, name: str, alias: str = "") -> str | None:
        """The command to run instead of inserting it."""
        return next((text for key, text in self.install if _matches(key, name, alias)), None)

    def softdeps_of(
        self, name: str, alias: str = ""
    ) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """What to try before and after it; None if no file says."""
        found = (deps for key, *deps in self.softdeps if _matches(key, name, alias))
        before_and_after = next(found, None)
        return None if before_and_after is None else (before_and_after[0], before_and_after[1])


def _matches(pattern: str, name: str, alias: str) -> bool:
    return fnmatchcase(name, pattern) or (bool(alias) and fnmatchcase(alias, pattern))


def config_of_tree(root: Path) -> ModprobeConfig:
    """That of the machine whose modules are at ``root``.

    /lib/modules/RELEASE has the files of /etc/modprobe.d, /run/modprobe.d and so on beside it,
    wherever that / is. A folder that is not in such a place may have a modprobe.d in itself.
    OSError: a file cannot be read.
    """
    files = files_beside(root, "modprobe.d")
    return parse_config("\n".join(file.read_text("utf-8", "surrogateescape") for file in files))


def files_beside(root: Path, kind: str) -> list[Path]:
    """The files of a machine that are of a ``kind``, such as modprobe.d or modules-load.d, in their
    order; ``root``: see config_of_tree."""
    if root.parent.name == "modules" and root.parent.parent.name == "lib":
        top = root.parent.parent.parent
        top = top.parent if top.name == "usr" else top
        folders = [top / folder / kind for folder in _FOLDERS]
    else:
        folders = [root / kind]
    files: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.conf")) if folder.is_dir() else ():
            files.setdefault(file.name, file)
    return [files[name] for name in sorted(files)]


def parse_config(text: str) -> ModprobeConfig:
    """The lines of a file; those that make no sense are skipped."""
    aliases: Aliases | None = None
    blacklist: set[str] = set()
    options: list[tuple[str, str]] = []
    softdeps: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    install: list[tuple[str, str]] = []
    for command, words in _lines(text):
        name, rest = words if len(words) == 2 else (words[0], "")
        if command == "alias" and rest:
            aliases = aliases or Aliases()
            aliases.add(name, canonical(rest.split()[0]))
        elif command == "blacklist":
            blacklist.add(canonical(name))
        elif command == "options" and rest:
            options.append((normal_alias(name), rest))
        elif command == "install" and rest:
            install.append((normal_alias(name), rest))
        elif command == "softdep" and rest:
            softdeps.append((normal_alias(name), *_before_and_after(rest)))
    return ModprobeConfig(
        aliases, frozenset(blacklist), tuple(options), tuple(softdeps), tuple(install)
    )


def _lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """(command, [name, rest]) of each line that has a command and a name."""
    for line in text.replace("\\\n", "").split("\n"):
        words = line.split(None, 2)
        if len(words) > 1 and not words[0].startswith("#") and words[0] in _COMMANDS:
            yield words[0], [word.rstrip() for word in words[1:]]


_COMMANDS = frozenset(("alias", "blacklist", "options", "install", "softdep"))


def _before_and_after(rest: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    lists: dict[str, list[str]] = {"pre:": [], "post:": []}
    current: list[str] = []
    for word in rest.split():
        if word in lists:
            current = lists[word]
        else:
            current.append(word)
    return tuple(lists["pre:"]), tuple(lists["post:"])
