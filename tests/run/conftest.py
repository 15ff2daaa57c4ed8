"""Programs run under ``modfs run``, with a tree of made modules."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.spec import ModuleSpec, ParameterSpec
from loader.synthesize.trees import write_tree

SPECS = (
    ModuleSpec("base", exports=("base_symbol",)),
    ModuleSpec("middle", depends=("base",), parameters=(ParameterSpec("n", "int", default=3),)),
    ModuleSpec("top", depends=("middle",), aliases=("pci:v00001234d*",), license="Proprietary"),
    ModuleSpec("slow"),
    ModuleSpec("stuck"),
    ModuleSpec("bad"),
)
ROUTINES = {"slow": {"seconds": 0.5}, "stuck": {"seconds": 3600}, "bad": {"returns": "ENODEV"}}

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session", autouse=True)
def needs_fuse() -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened here")


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same modules: plain, and compressed."""
    found = {}
    for compression in ("ko", "zst", "xz"):
        root = tmp_path_factory.mktemp(compression)
        write_tree(root, SPECS, compression=None if compression == "ko" else compression)
        # modprobe and busybox want the binary indexes too, as every installed tree has them.
        folder = root / "lib/modules"
        folder.mkdir(parents=True)
        (folder / "1.0").symlink_to(root)
        subprocess.run(["depmod", "-b", root, "1.0"], check=True, capture_output=True)
        (folder / "1.0").unlink()
        found[compression] = root
    return found


@pytest.fixture
def run(trees: dict[str, Path], environment: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """``run("shell script", tree="zst", options=[...])`` runs it in a sandbox."""
    routines = tmp_path / "environment.json"
    routines.write_text(json.dumps({"init": ROUTINES}))

    def run(
        script: str, tree: str = "ko", options: tuple[str, ...] = (), shell: str = "sh"
    ) -> Done:
        words = ["modfs", "run", "--modules", trees[tree], "--environment", routines, *options]
        return subprocess.run(
            [*map(str, words), "--", shell, "-c", script],
            env=environment | {"TREE": str(trees[tree])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def stats(text: str) -> dict[str, int]:
    """The numbers of a report, by label."""
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0].strip(): int(row[1]) for row in rows if len(row) == 2}
