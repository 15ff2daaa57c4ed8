"""What the modules of a tree tell of their kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.build import build_of, learn_build
from loader.config import Build
from loader.synthesize import MODULE_LAYOUT_CRC, ModuleSpec, write_tree
from loader.tree import Tree


@pytest.mark.parametrize("compression", [None, "zst", "xz", "gz"])
def test_a_tree(tmp_path: Path, compression: str | None) -> None:
    specs = [ModuleSpec(f"m{n}", vermagic="6.12.9 SMP modversions ") for n in range(12)]
    write_tree(tmp_path, specs, compression=compression)
    assert build_of(Tree.open(tmp_path)) == Build(
        "6.12.9 SMP modversions ", specs[0].struct_module_size, MODULE_LAYOUT_CRC
    )


def test_most_count_and_what_is_no_module_is_passed_over() -> None:
    right = ModuleSpec("a", vermagic="1.0 x ").build()
    wrong = ModuleSpec("b", vermagic="2.0 x ").build()
    assert learn_build([right, wrong, right, b"", b"\x7fELF" * 40]).vermagic == "1.0 x "
    assert learn_build([]) == Build()
