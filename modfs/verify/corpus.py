"""The files and modules that transcripts name."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zstandard

from loader.config import BuiltFor, Config
from loader.errors import UserError
from loader.image.built_for import learn_built_for
from loader.image.module_image import read_image
from loader.packings import read_module
from loader.tree.tree import Tree
from loader.words import module_name

_SAMPLE = 100  # modules of a tree that tell what it was built for
_RECORDED_ROOT = "/t"  # where the recording machines kept their files


# -- files and modules ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files that transcripts name: ``files/X`` and ``modules/X`` below ``root``."""

    root: Path
    tree: Tree | None
    exporters: dict[str, str]
    built_for: BuiltFor

    def path(self, name: str) -> Path:
        """Where a transcript's file is. UserError: it is not there."""
        if name.startswith("/"):
            is_root = name == _RECORDED_ROOT or not Path(name).exists()
            return self.root if is_root else Path(name)
        path = self.find(name)
        if path is None:
            raise UserError(f"no file {name}: give it with --files or --modules")
        return path

    def find(self, name: str) -> Path | None:
        """Where ``files/X`` or ``modules/X`` is; None: nowhere."""
        path = self.root / name
        if not path.exists() and self.tree and name.startswith("modules/"):
            path = self.tree.path(module_name(name)) or path  # a tree has folders
        return path if path.exists() else None

    def exporter(self, symbol: str) -> str | None:
        """The module that exports ``symbol``: by the tree, or by the files themselves."""
        found = self.tree.exporter(symbol) if self.tree else None
        return found or self.exporters.get(symbol)


@contextmanager
def corpus(files: Path | None, modules: Path | None) -> Iterator[Corpus]:
    """Both archives or folders in one temporary folder, removed at the end.

    What the kernel was built for (vermagic, sizeof(struct module), ...) is learned from the
    modules themselves.
    """
    with tempfile.TemporaryDirectory(prefix="modfs-verify-") as name:
        root = Path(name)
        for source, folder in ((files, "files"), (modules, "modules")):
            if source is not None:
                unpack(source, root / folder)
        tree = None
        if modules is not None:
            # Indexes may lie in the folder, or beside the archive.
            for index in ("modules.dep", "modules.symbols"):
                beside = modules.parent / index
                if modules.is_file() and beside.exists():
                    shutil.copy(beside, root / "modules" / index)
            tree = Tree.open(root / "modules")
        plain = sorted((root / "files").glob("*.ko"))
        known = sorted(tree.names()) if tree else []
        sample = [tree.path(name) for name in known[:: len(known) // _SAMPLE + 1]] if tree else []
        contents = (read_module(path) for path in (*plain, *sample) if path)
        yield Corpus(root, tree, _exporters(plain), learn_built_for(contents))


def unpack(source: Path, target: Path) -> None:
    """The files of a tar.zst archive, or of a folder, below ``target``. OSError, UserError."""
    if source.is_dir():
        target.symlink_to(source.resolve())
        return
    try:
        with (
            source.open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|") as archive,
        ):
            for member in archive:
                if member.isfile():
                    _write_member(archive, member, target)
    except (zstandard.ZstdError, tarfile.TarError):
        raise UserError(f"{source} is neither a folder nor a tar.zst archive") from None


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """One file of an archive; extractall's filters came only with Python 3.11.4."""
    path = (target / member.name).resolve()
    if not path.is_relative_to(target.resolve()):
        raise UserError(f"{member.name} would be written outside of its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    path.write_bytes(content.read() if content else b"")


def _exporters(paths: Iterable[Path]) -> dict[str, str]:
    """Symbol -> module, from the files themselves: no index lists those made for a test."""
    found: dict[str, str] = {}
    for path in paths:
        data = path.read_bytes()
        image = read_image(data, 0, Config(machine=int.from_bytes(data[18:20], "little")))
        if not image.becoming_failure:
            found.update({export.name: image.name for export in image.contents.exports})
    return found
