"""The modules that kmod.sh wants, and a file system."""

from __future__ import annotations

from pathlib import Path

from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree

SPECS = (
    ModuleSpec("test_kmod"),
    ModuleSpec("test_module"),
    ModuleSpec("libcrc32c", exports=("crc32c",)),
    ModuleSpec("xfs", depends=("libcrc32c",), aliases=("fs-xfs",)),
)


def write_kmod_tree(root: Path) -> None:
    write_tree(root, SPECS)
