"""Module files as pyelftools reads them; and the kernel's checks, one damage each.

What recorded kernels said to damaged files is in tests/oracle; here each check of behaviour.md
section 2.7 has a file that fails it and no earlier one.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from loader.config import EM_X86_64, Config
from loader.image.elf import ElfError, ElfModule, Symbol
from loader.image.elf_format import SHDR
from loader.image.module_image import read_image
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import STRUCT_MODULE_SIZE, ModuleSpec
from modfs.verify.corpus import Corpus

FIFTEEN = slice(None, None, 8)  # of the 117 recorded modules


class Both(NamedTuple):
    """One file as we read it and as pyelftools does."""

    ours: ElfModule
    theirs: ELFFile
    sections: list[Section]


@pytest.fixture(scope="module")
def read_twice(recorded: Corpus) -> list[Both]:
    assert recorded.tree
    found = []
    for name in sorted(recorded.tree.names())[FIFTEEN]:
        data = Path(recorded.tree.path(name) or "").read_bytes()
        ours, theirs = ElfModule(data, EM_X86_64), ELFFile(io.BytesIO(data))
        ours.cache_indices(None)
        found.append(Both(ours, theirs, list(theirs.iter_sections())))
    assert len(found) == 15
    return found


def test_section_headers(read_twice: list[Both]) -> None:
    for ours, theirs, sections in read_twice:
        assert ours.e_shnum == theirs.num_sections()
        for column in ("flags", "offset", "size", "addralign", "link", "info"):
            wanted = [section[f"sh_{column}"] for section in sections]
            assert list(getattr(ours, f"sh_{column}")) == wanted


def test_section_names(read_twice: list[Both]) -> None:
    for ours, _, sections in read_twice:
        names = [section.name for section in sections]
        assert [ours.name(index) for index in range(ours.e_shnum)] == names
        for name in {*names[1:], ".none", "text"}:
            assert ours.named(name) == [i for i, other in enumerate(names) if i and other == name]
        assert all(ours.name_starts_with(i, name[:3].encode()) for i, name in enumerate(names))


def test_contents(read_twice: list[Both]) -> None:
    for ours, _, sections in read_twice:
        for index, section in enumerate(sections):
            start, end = ours.extent(index)
            in_file = section["sh_type"] not in ("SHT_NULL", "SHT_NOBITS")
            assert ours.data[start:end] == (section.data() if in_file else b"")


def test_modinfo(read_twice: list[Both]) -> None:
    for ours, theirs, _ in read_twice:
        section = theirs.get_section_by_name(".modinfo")
        assert section is not None
        pairs = [
            entry.decode().partition("=")[::2]
            for entry in section.data().split(b"\0")
            if b"=" in entry
        ]
        assert len(pairs) > 5
        for tag in {tag for tag, _ in pairs}:
            values = [value for other, value in pairs if other == tag]
            assert list(ours.values(tag)) == values
            assert ours.tag(tag) == values[0]
        assert (ours.tag("nosuch"), list(ours.values("nosuch"))) == (None, [])


def test_symbols(read_twice: list[Both]) -> None:
    for ours, theirs, sections in read_twice:
        table = theirs.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        assert ours.symbol_count() == table.num_symbols()
        for index, entry in itertools.islice(enumerate(table.iter_symbols()), 0, None, 7):
            symbol = ours.symbol(index)
            if ours.string(symbol.st_name):  # pyelftools names a section's symbol by the section
                assert ours.string(symbol.st_name) == entry.name
            assert (symbol.st_name, symbol.value) == (entry["st_name"], entry["st_value"])
        columns = list(ours.symbol_columns())
        assert [first for first, _, _ in columns] == [0]
        assert list(ours.symbol_sections()) == columns[0][2]
        indices = {section.name: number for number, section in enumerate(sections)}
        assert indices[".symtab"] == ours.index_sym and indices[".strtab"] == ours.index_str


def test_relocations(read_twice: list[Both]) -> None:
    for ours, _, sections in read_twice:
        wanted: dict[int, bytes] = {}
        for section in sections:
            if section["sh_type"] == "SHT_RELA":
                wanted[section["sh_info"]] = wanted.get(section["sh_info"], b"") + section.data()
        found = {index: b"".join(tables) for index, tables in ours.relocations.items()}
        assert found == wanted


def test_names_of_modules(read_twice: list[Both]) -> None:
    for ours, theirs, _ in read_twice:
        section = theirs.get_section_by_name(".modinfo")
        assert section is not None
        assert f"\0name={ours.modinfo_name}\0".encode() in section.data()
        assert ours.module_name == ours.log_name == ours.modinfo_name


# -- the kernel's checks, behaviour.md section 2.7 ------------------------------------------------

SPEC = ModuleSpec("made", machine="x86_64")
EHDR_FIELDS = {
    "e_type": (16, "<H"),
    "e_machine": (18, "<H"),
    "e_shoff": (40, "<Q"),
    "e_shentsize": (58, "<H"),
    "e_shnum": (60, "<H"),
    "e_shstrndx": (62, "<H"),
}
SHDR_FIELDS = {
    "sh_name": (0, "<I"),
    "sh_type": (4, "<I"),
    "sh_flags": (8, "<Q"),
    "sh_addr": (16, "<Q"),
    "sh_offset": (24, "<Q"),
    "sh_size": (32, "<Q"),
    "sh_link": (40, "<I"),
}


@cache
def built() -> bytes:
    return build_module(SPEC)


def header(field: str, value: int) -> bytes:
    """The module with another number in its header."""
    data = bytearray(built())
    place, form = EHDR_FIELDS[field]
    struct.pack_into(form, data, place, value)
    return bytes(data)


def section(name: str, **fields: int) -> bytes:
    """The module with other numbers in one section's header."""
    data, elf = bytearray(built()), ELFFile(io.BytesIO(built()))
    index = elf.get_section_index(name) if name else 0
    assert index is not None
    for field, value in fields.items():
        place, form = SHDR_FIELDS[field]
        struct.pack_into(form, data, elf["e_shoff"] + index * SHDR.size + place, value)
    return bytes(data)


def byte(name: str, offset: int, value: int) -> bytes:
    """The module with another byte in a section; a negative offset counts from its end."""
    data, found = bytearray(built()), ELFFile(io.BytesIO(built())).get_section_by_name(name)
    assert found is not None
    place = found["sh_offset"] + (offset if offset >= 0 else found["sh_size"] + offset)
    data[place] = value
    return bytes(data)


def name_of(section_name: str) -> int:
    """Where a section's name is in the table of names."""
    found = ELFFile(io.BytesIO(built())).get_section_by_name(section_name)
    assert found is not None
    return int(found["sh_name"])


THIS_MODULE, LENGTH = ".gnu.linkonce.this_module", len(built())

# (part of the line, file): one for each check, in the kernel's order
DAMAGED = [
    ("header len 63", built()[:63]),
    ("header magic", b"\x7fELG" + built()[4:]),
    ("header type: 2 != 1", header("e_type", 2)),
    ("architecture in ELF header: 183", header("e_machine", 183)),
    ("section header size", header("e_shentsize", 63)),
    ("section header overflow", header("e_shoff", LENGTH)),
    ("section header overflow", header("e_shnum", 0xFFFF)),
    ("section 0 type(1)", section("", sh_type=1)),
    ("section 0 type(0)", section("", sh_size=1)),
    ("section 0 type(0)", section("", sh_addr=1)),
    ("ELF section in module", section(".text", sh_size=LENGTH)),
    ("section name index: 0", header("e_shstrndx", 0)),
    ("section name index: 999", header("e_shstrndx", 999)),
    ("section name table type: 1", section(".shstrtab", sh_type=1)),
    ("empty section name table", section(".shstrtab", sh_size=0)),
    ("name table isn't null terminated", byte(".shstrtab", -1, 1)),
    ("ELF section name in module", section(".text", sh_name=LENGTH)),
    ("Only one .modinfo", section(".text", sh_name=name_of(".modinfo"))),
    ("Exactly one .gnu.linkonce", section(".text", sh_name=name_of(THIS_MODULE))),
    ("Exactly one .gnu.linkonce", section(THIS_MODULE, sh_name=name_of(".text"))),
    ("must have a size set", section(THIS_MODULE, sh_type=8)),
    ("must occupy memory", section(THIS_MODULE, sh_flags=0)),
    ("struct module size at run time", section(THIS_MODULE, sh_size=STRUCT_MODULE_SIZE - 1)),
    ("no symbols", section(".symtab", sh_type=1)),
    ("no symbols", section(".text", sh_type=2)),
    ("sh_link!=SHN_UNDEF(0)", section(".symtab", sh_link=0)),
    ("sh_link!=SHN_UNDEF(-1)", section(".symtab", sh_link=0xFFFFFFFF)),
    ("string table type: 1", section(".strtab", sh_type=1)),
]


def check(data: bytes, symbol_names: bool = True) -> ElfModule:
    elf = ElfModule(data, EM_X86_64)
    elf.cache_indices(STRUCT_MODULE_SIZE)
    if symbol_names:
        elf.check_symbol_names()
    return elf


def test_the_module_itself_passes() -> None:
    assert check(built()).module_name == "made"


@pytest.mark.parametrize(("said", "data"), DAMAGED, ids=[said for said, _ in DAMAGED])
def test_each_check(said: str, data: bytes) -> None:
    with pytest.raises(ElfError) as caught:
        check(data)
    assert caught.value.failure.name == "ENOEXEC"
    assert said in caught.value.failure.message


def test_a_name_table_past_the_file_before_its_type_was_looked_at() -> None:
    """One without content may lie anywhere, and a kernel finds whatever is there in memory."""
    data = section(".shstrtab", sh_type=8, sh_offset=LENGTH)  # SHT_NOBITS
    with pytest.raises(ElfError, match="isn't null terminated"):
        ElfModule(data, EM_X86_64, typed_strings=False)


@pytest.mark.parametrize(
    "data",
    [
        section(".strtab", sh_size=0),
        byte(".strtab", 0, 1),
        byte(".strtab", -1, 1),
        section(".strtab", sh_size=1),  # all names but the empty one are then outside
    ],
)
def test_names_of_symbols_are_looked_at_since_6_13(data: bytes) -> None:
    check(data, symbol_names=False)
    with pytest.raises(ElfError):
        check(data)


@pytest.mark.parametrize(("place", "value"), [(4, 1), (5, 2), (6, 0), (7, 99), (20, 7)])
def test_what_the_kernel_does_not_look_at(place: int, value: int) -> None:
    """The ELF class, the byte order, both versions, the ABI."""
    data = bytearray(built())
    data[place] = value
    check(bytes(data))


def test_a_section_without_content_may_lie_anywhere() -> None:
    data = section(".bss", sh_offset=1 << 40) if _has(".bss") else built()
    check(data)


def _has(name: str) -> bool:
    return ELFFile(io.BytesIO(built())).get_section_by_name(name) is not None


def test_only_the_module_counts_and_what_is_appended_does_not() -> None:
    signed = built() + b"signature"
    elf = ElfModule(signed, EM_X86_64, LENGTH)
    elf.cache_indices(STRUCT_MODULE_SIZE)
    assert elf.size == LENGTH
    with pytest.raises(ElfError, match=r"overflow|section in module"):
        ElfModule(signed, EM_X86_64, LENGTH // 2)


def test_a_module_without_a_name_of_its_own() -> None:
    data = built().replace(b"name=made\0", b"nome=made\0")
    elf = check(data)
    assert (elf.modinfo_name, elf.module_name, elf.log_name) == ("", "made", "made")
    found = ELFFile(io.BytesIO(built())).get_section_by_name(THIS_MODULE)
    assert found is not None
    start = found["sh_offset"] + 24
    blank = bytearray(built())
    blank[start : start + 56] = bytes(56)
    assert check(bytes(blank)).module_name == "made"


def test_a_symbol_is_what_was_packed() -> None:
    elf = check(built())

    def named(name: str) -> Iterator[Symbol]:
        symbols = map(elf.symbol, range(elf.symbol_count()))
        return (symbol for symbol in symbols if elf.string(symbol.st_name) == name)

    symbol = next(named("init_module"))
    assert elf.name(symbol.shndx) in (".init.text", ".text")
    assert symbol.info & 0xF in (0, 2)  # STT_NOTYPE, STT_FUNC
    assert list(named("nosuch")) == []


@pytest.mark.parametrize(
    ("kernel", "fails"), [("6.12", True), ("6.16", False), ("6.18", False), ("7.2", True)]
)
@pytest.mark.parametrize("table", [".strtab", ".shstrtab"])
def test_types_of_string_tables(kernel: str, fails: bool, table: str) -> None:
    """As Debian's 6.12.117, 6.16, 6.18 and 7.2 answered to make record (files/strtab_type.ko)."""
    data = bytearray(build_module(ModuleSpec("m")))
    elf = ELFFile(io.BytesIO(bytes(data)))
    index = next(i for i, s in enumerate(elf.iter_sections()) if s.name == table)
    struct.pack_into("<I", data, elf["e_shoff"] + index * elf["e_shentsize"] + 4, 1)  # SHT_PROGBITS
    image = read_image(bytes(data), 0, Config(release(kernel)))
    assert (image.becoming_failure is not None) is fails
