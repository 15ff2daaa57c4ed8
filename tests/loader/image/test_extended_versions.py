"""Extended symbol versions (6.14): behaviour.md 2.7 and 2.10, and the memory of section 4."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from loader.calls import MODULE_INIT_IGNORE_MODVERSIONS
from loader.config import EM_X86_64, BuiltFor, Config
from loader.image.elf_format import MODULE_NAME_OFFSET, SHF_ALLOC, SHF_WRITE, THIS_MODULE
from loader.image.module_image import ModuleImage, read_image
from loader.release import release
from loader.synthesize.elf_writer import Section, write

CRCS, NAMES = "__version_ext_crcs", "__version_ext_names"
MAGIC = "7.3.4 modversions "


def module(*more: Section) -> bytes:
    name = (bytes(MODULE_NAME_OFFSET) + b"made").ljust(256, b"\0")
    modinfo = Section(".modinfo", f"name=made\0vermagic={MAGIC}\0".encode(), SHF_ALLOC)
    this = Section(THIS_MODULE, name, SHF_ALLOC | SHF_WRITE, 64)
    return write(EM_X86_64, [this, modinfo, *more], [])


def crcs(*numbers: int) -> Section:
    return Section(CRCS, struct.pack(f"<{len(numbers)}I", *numbers), SHF_ALLOC, 4)


def names(text: bytes) -> Section:
    return Section(NAMES, text, SHF_ALLOC)


def loaded(data: bytes, flags: int = 0, running: str = "7.3", **config: object) -> ModuleImage:
    built = BuiltFor(MAGIC, module_layout_crc=7)
    known = Config(release=release(running), built_for=built, machine=EM_X86_64)
    return read_image(data, flags, replace(known, **config))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ((crcs(7),), "extended version crc+name presence does not match"),
        ((names(b"module_layout\0"),), "extended version crc+name presence does not match"),
        ((crcs(7, 8), names(b"module_layout\0")), "more extended version crcs than names"),
        ((crcs(7), names(b"module_layout")), "more extended version crcs than names"),
        ((crcs(8), names(b"module_layout\0")), "disagrees about version of symbol module_layout"),
    ],
)
def test_what_ends_a_load(sections: tuple[Section, ...], told: str) -> None:
    failure = loaded(module(*sections)).becoming_failure
    assert failure is not None and told in failure.log[0]
    assert loaded(module(*sections), running="6.13", force_load=True).becoming_failure is None


@pytest.mark.parametrize("text", [b"module_layout\0", b"other\0", b"module_layout\0more\0"])
def test_what_is_accepted(text: bytes) -> None:
    """A symbol that has no version there is only told of."""
    image = loaded(module(crcs(7), names(text)))
    assert image.becoming_failure is None and image.forced == ()
    assert image.contents.extended_versions == {text.split(b"\0")[0].decode(): 7}


def test_flag_1_does_not_look_and_gives_them_memory() -> None:
    data = module(crcs(7, 8), names(b"x" * 8192))
    image = loaded(data, MODULE_INIT_IGNORE_MODVERSIONS, force_load=True)
    assert image.becoming_failure is None
    assert image.forced == ("module_layout",)
    assert image.layout.rodata == 12288
    assert loaded(module(crcs(7), names(b"a\0" + b"x" * 8192))).layout.rodata == 0
