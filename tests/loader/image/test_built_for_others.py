"""Modules for architectures that are not followed are told from those that are."""

from __future__ import annotations

import struct

import pytest

from loader.image.built_for import foreign_machine, learn_built_for
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec


def headed(bits: int, order: str, machine: int) -> bytes:
    """The header of some architecture's module, before one of x86-64."""
    ident = b"\x7fELF" + bytes((bits // 32, 1 if order == "little" else 2, 1))
    return ident.ljust(16, b"\0") + struct.pack("<>"[order == "big"] + "HH", 1, machine) + bytes(44)


@pytest.mark.parametrize(
    ("bits", "order", "machine", "told"),
    [  # e_machine as include/uapi/linux/elf-em.h has it
        (64, "little", 243, "RISC-V (64 bits, little-endian)"),
        (64, "big", 22, "IBM S/390 (64 bits, big-endian)"),
        (64, "little", 21, "PowerPC64 (64 bits, little-endian)"),
        (32, "little", 40, "ARM (32 bits, little-endian)"),
        (32, "little", 62, "Advanced Micro Devices X86-64 (32 bits, little-endian)"),
        (64, "big", 183, "AArch64 (64 bits, big-endian)"),
        (64, "little", 64999, "64999 (64 bits, little-endian)"),
    ],
)
def test_other_architectures(bits: int, order: str, machine: int, told: str) -> None:
    modules = [headed(bits, order, machine)] * 3 + [build_module(ModuleSpec("one"))]
    assert foreign_machine(modules) == told


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_followed_architectures(machine: str) -> None:
    modules = [build_module(ModuleSpec("one", machine=machine)), headed(64, "little", 243), b"junk"]
    assert foreign_machine(modules) is None
    assert learn_built_for(modules).machine in (62, 183)


@pytest.mark.parametrize("modules", [[], [b""], [b"\x7fELF"], [b"junk" * 10]])
def test_nothing_is_no_architecture(modules: list[bytes]) -> None:
    assert foreign_machine(modules) is None
