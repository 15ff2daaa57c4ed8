"""Addresses by a list like /proc/kallsyms."""

from __future__ import annotations

from pathlib import Path

import pytest

from modfs.tracing.symbols import Symbols

KERNEL = """\
0000000000000000 A fixed_percpu_data
0000000000001000 A cpu_debug_store
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000100 t get_fs_type
ffffffff81000200 T __request_module
ffffffff82000000 D init_task
"""
MODULES = """\
ffffffffc0402000 t lo_open\t[loop]
ffffffffc0401000 T dummy_setup\t[dummy]
ffffffffc0401080 d numdummies\t[dummy]
"""


@pytest.mark.parametrize("modules", ["", MODULES])
@pytest.mark.parametrize(
    "address, name",
    [
        (0xFFFFFFFF81000000, "_text"),  # the first of several
        (0xFFFFFFFF810000FF, "_text"),
        (0xFFFFFFFF81000100, "get_fs_type"),
        (0xFFFFFFFF81000177, "get_fs_type"),
        (0xFFFFFFFF81000201, "__request_module"),
        (0x1008, "cpu_debug_store"),
    ],
)
def test_the_kernels_own(modules: str, address: int, name: str, tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(KERNEL + modules)
    assert Symbols(tmp_path / "kallsyms")(address) == name


def test_modules(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(KERNEL + MODULES)
    symbols = Symbols(tmp_path / "kallsyms")
    assert symbols(0xFFFFFFFFC0401090) == "dummy_setup"
    assert symbols(0xFFFFFFFFC0402001) == "lo_open"


@pytest.mark.parametrize("text", ["", "x", "0000000000000000 T a\n" * 3, "g y z\n", "12\n"])
def test_nobody_tells(text: str, tmp_path: Path) -> None:
    """kptr_restrict, or no such file: the address stands for it."""
    (tmp_path / "kallsyms").write_text(text)
    assert Symbols(tmp_path / "kallsyms")(0xFFFFFFFF81000100) == "0xffffffff81000100"
    assert Symbols(tmp_path / "none")(5) == "0x5"
