"""What the modules of a tree tell of their kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.config import BuiltFor
from loader.image.built_for import learn_built_for
from loader.synthesize.builder import build_module
from loader.synthesize.spec import MODULE_LAYOUT_CRC, ModuleSpec
from loader.synthesize.trees import write_tree
from loader.tree.tree import Tree


@pytest.mark.parametrize("compression", [None, "zst", "xz", "gz"])
def test_a_tree(tmp_path: Path, compression: str | None) -> None:
    specs = [ModuleSpec(f"m{n}", vermagic="6.12.9 SMP modversions ") for n in range(12)]
    write_tree(tmp_path, specs, compression=compression)
    assert learn_built_for(Tree.open(tmp_path).sample()) == BuiltFor(
        "6.12.9 SMP modversions ", specs[0].struct_module_size, MODULE_LAYOUT_CRC
    )


def test_most_count_and_what_is_no_module_is_passed_over() -> None:
    right = build_module(ModuleSpec("a", vermagic="1.0 x "))
    wrong = build_module(ModuleSpec("b", vermagic="2.0 x "))
    assert learn_built_for([right, wrong, right, b"", b"\x7fELF" * 40]).vermagic == "1.0 x "
    assert learn_built_for([]) == BuiltFor()
