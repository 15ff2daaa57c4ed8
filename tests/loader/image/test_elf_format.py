"""The numbers of ELF are those of pyelftools' tables and of the machine's headers."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from elftools.elf import enums
from elftools.elf.constants import SH_FLAGS, SHN_INDICES

from loader import config
from loader.image import elf_format
from tests.headers import numbers

# Linux's own, which pyelftools does not have: include/linux/elf.h, include/uapi/linux/elf.h.
LINUX = {
    "SHF_RO_AFTER_INIT": 0x00200000,
    "SHF_RELA_LIVEPATCH": 0x00100000,
    "SHN_LIVEPATCH": 0xFF20,
}

TABLES: dict[str, Any] = {
    "ET_": enums.ENUM_E_TYPE,
    "EV_": enums.ENUM_E_VERSION,
    "EM_": enums.ENUM_E_MACHINE,
    "SHT_": enums.ENUM_SH_TYPE_BASE,
    "SHF_": vars(SH_FLAGS),
    "SHN_": vars(SHN_INDICES),
    "STB_": enums.ENUM_ST_INFO_BIND,
    "STT_": enums.ENUM_ST_INFO_TYPE,
}
OURS = {
    name: value
    for room in (elf_format, config)
    for name, value in vars(room).items()
    if name[: name.find("_") + 1] in TABLES
}


def test_there_is_something_to_compare() -> None:
    assert len(OURS) >= 25 and {"EM_X86_64", "EM_AARCH64", "SHT_RELA", "STT_FUNC"} <= set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_pyelftools_has_the_same(name: str) -> None:
    theirs = LINUX | TABLES[name[: name.find("_") + 1]]
    assert OURS[name] == theirs[name]


def test_the_c_librarys_header_has_the_same() -> None:
    theirs = numbers("elf.h", *OURS)
    assert len(theirs) >= len(OURS) - len(LINUX)
    assert {name: OURS[name] for name in theirs} == theirs


STRUCTURES = {
    "Elf64_Ehdr": (elf_format.EHDR, 14),
    "Elf64_Shdr": (elf_format.SHDR, 10),
    "Elf64_Sym": (elf_format.SYM, 6),
    "Elf64_Rela": (elf_format.RELA, 3),
}


def test_structures_are_as_long() -> None:
    theirs = numbers("elf.h", *(f"sizeof({name})" for name in STRUCTURES))
    ours = {f"sizeof({name})": form.size for name, (form, _) in STRUCTURES.items()}
    assert ours == theirs


@pytest.mark.parametrize(
    ("structure", "fields"),
    [
        ("Elf64_Ehdr", "e_ident e_type e_machine e_version e_entry e_phoff e_shoff e_flags e_ehsize"
         " e_phentsize e_phnum e_shentsize e_shnum e_shstrndx"),
        ("Elf64_Shdr", "sh_name sh_type sh_flags sh_addr sh_offset sh_size sh_link sh_info"
         " sh_addralign sh_entsize"),
        ("Elf64_Sym", "st_name st_info st_other st_shndx st_value st_size"),
        ("Elf64_Rela", "r_offset r_info r_addend"),
    ],
)  # fmt: skip
def test_fields_are_where_the_header_has_them(structure: str, fields: str) -> None:
    """The format up to a field is as long as the field's offset."""
    form, count = STRUCTURES[structure]
    asked = [f"offsetof({structure}, {field})" for field in fields.split()]
    codes = form.format.lstrip("<").replace("16s", "s")
    assert len(asked) == len(codes) == count
    whole = [code.replace("s", "16s") for code in codes]
    ours = [struct.calcsize("<" + "".join(whole[:index])) for index in range(count)]
    assert ours == list(numbers("elf.h", *asked).values())


def test_the_name_in_struct_module() -> None:
    """enum module_state, struct list_head, char name[] (include/linux/module.h)."""
    state, list_head = 4, 16
    assert -(-state // 8) * 8 + list_head == elf_format.MODULE_NAME_OFFSET
