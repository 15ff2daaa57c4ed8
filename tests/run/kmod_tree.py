"""The modules that kmod.sh wants: signed, for a kernel without a key trusts them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from tests.loader.image.test_signature import appended, message

SPECS = (
    ModuleSpec("test_kmod"),
    ModuleSpec("test_module"),
    ModuleSpec("libcrc32c", exports=("crc32c",)),
    ModuleSpec("xfs", depends=("libcrc32c",), aliases=("fs-xfs",)),
)


def write_kmod_tree(root: Path) -> None:
    """Write them to ``root``, with depmod's binary indexes."""
    write_tree(root, SPECS)
    for path in root.rglob("*.ko"):
        data = path.read_bytes()
        path.write_bytes(appended(data, message(data)))
    folder = root / "lib/modules"
    folder.mkdir(parents=True)
    (folder / "1.0").symlink_to(root)
    try:
        subprocess.run(["depmod", "-b", root, "1.0"], check=True, capture_output=True)
    finally:
        (folder / "1.0").unlink()
