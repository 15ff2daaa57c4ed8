"""What a load needs of a module: against pyelftools and nm on recorded modules, and by hand."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from loader.config import EM_X86_64, MACHINES
from loader.image.contents import Contents, Need, read_contents, versions
from loader.image.elf import ElfModule
from loader.synthesize.builder import build_module, symbol_crc
from loader.synthesize.spec import MODULE_LAYOUT_CRC, ModuleSpec
from modfs.verify.corpus import Corpus
from tests.loader.image import symbols as made

SOME = slice(None, None, 8)  # of the 117 recorded modules


def contents_of(data: bytes, machine: int = EM_X86_64) -> Contents:
    elf = ElfModule(data, machine)
    elf.cache_indices(None)
    return read_contents(elf)


def built(**fields: object) -> Contents:
    spec = ModuleSpec("made", **fields)  # type: ignore[arg-type]
    return contents_of(build_module(spec), MACHINES[spec.machine])


@pytest.fixture(scope="module")
def paths(recorded: Corpus) -> list[Path]:
    assert recorded.tree
    return [Path(recorded.tree.path(name) or "") for name in sorted(recorded.tree.names())[SOME]]


# -- recorded modules -----------------------------------------------------------------------------


def test_undefined_symbols_are_those_of_nm(paths: list[Path]) -> None:
    for path in paths:
        command = ["nm", "--undefined-only", "--no-sort", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [line.split() for line in done.stdout.splitlines()]
        theirs = [(name, kind in "wv") for kind, name in rows]
        found = contents_of(path.read_bytes())
        assert [(need.name, need.weak) for need in found.needs] == theirs
        assert not any(need.problem for need in found.needs)


def test_init_and_exit_are_symbols(paths: list[Path]) -> None:
    for path in paths:
        data = path.read_bytes()
        table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        names = {one.name for one in table.iter_symbols() if one["st_shndx"] != "SHN_UNDEF"}
        found = contents_of(data)
        assert found.has_init is ("init_module" in names)
        assert found.has_exit is ("cleanup_module" in names)


def test_exports_are_those_that_depmod_found(paths: list[Path], recorded: Corpus) -> None:
    index = (recorded.root / "modules/modules.symbols").read_text()
    for path in paths:
        found = contents_of(path.read_bytes())
        name = path.name.partition(".")[0].replace("-", "_")
        theirs = set(re.findall(rf"^alias symbol:(\S+) {re.escape(name)}$", index, re.MULTILINE))
        assert {export.name for export in found.exports} == theirs


def test_modinfo_is_what_modinfo_prints(paths: list[Path]) -> None:
    for path in paths:
        found = contents_of(path.read_bytes())
        for tag in ("license", "vermagic", "depends", "intree", "version", "srcversion"):
            done = subprocess.run(
                ["/sbin/modinfo", "-F", tag, path], capture_output=True, text=True, check=True
            )
            assert done.stdout.splitlines()[:1] == [found.tag(tag)] * (found.tag(tag) is not None)
        assert list(found.depends) == [
            name.replace("-", "_") for name in (found.tag("depends") or "").split(",") if name
        ]


def test_percpu_is_the_section(paths: list[Path]) -> None:
    for path in paths:
        data = path.read_bytes()
        section = ELFFile(io.BytesIO(data)).get_section_by_name(".data..percpu")
        wanted = (0, 0) if section is None else (section["sh_size"], section["sh_addralign"])
        assert contents_of(data).percpu == wanted


# -- made modules ---------------------------------------------------------------------------------


def test_exports_and_what_they_are() -> None:
    found = built(exports=("a",), exports_gpl=("b",))
    assert {(export.name, export.gpl, export.crc) for export in found.exports} == {
        ("a", False, symbol_crc("a")),
        ("b", True, symbol_crc("b")),
    }
    assert not found.crcs_missing


def test_without_versions_exports_lack_them() -> None:
    found = built(exports=("a",), versions=False)
    assert [(export.name, export.crc) for export in found.exports] == [("a", None)]
    assert found.crcs_missing and found.versions is None
    assert not built(versions=False).crcs_missing  # nothing is exported


def test_versions_of_what_is_imported() -> None:
    assert built(imports=("printk",)).versions == {
        "module_layout": MODULE_LAYOUT_CRC,
        "printk": symbol_crc("printk"),
    }


def test_a_section_of_zeros_records_no_version() -> None:
    data = bytearray(build_module(ModuleSpec("made", machine="x86_64")))
    section = ELFFile(io.BytesIO(data)).get_section_by_name("__versions")
    assert section is not None and section["sh_size"]
    start = section["sh_offset"]
    data[start : start + section["sh_size"]] = bytes(section["sh_size"])
    elf = ElfModule(bytes(data), EM_X86_64)
    elf.cache_indices(None)
    assert versions(elf) is None


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize("exit_", [True, False])
def test_init_and_exit(init: bool, exit_: bool) -> None:
    found = built(has_init=init, has_exit=exit_)
    assert (found.has_init, found.has_exit) == (init, exit_)


def test_tags() -> None:
    found = built(depends=("a-b", "c"), modinfo=(("import_ns", "ONE"), ("import_ns", "TWO")))
    assert found.depends == ("a_b", "c")
    assert found.modinfo["import_ns"] == ["ONE", "TWO"]
    assert (found.tag("license"), found.tag("staging")) == ("GPL", None)
    assert Contents().depends == ()


# -- what simplify_symbols makes of each (kernel/module/main.c) -----------------------------------


@pytest.mark.parametrize(
    ("name", "info", "shndx", "need"),
    [
        ("f", 0x10, 0, Need("f")),
        ("f", 0x20, 0, Need("f", weak=True)),
        ("_GLOBAL_OFFSET_TABLE_", 0x10, 0, Need("_GLOBAL_OFFSET_TABLE_", weak=True)),
        ("f", 0x10, 0xFFF1, None),  # SHN_ABS
        ("f", 0x10, 0xFF20, None),  # SHN_LIVEPATCH
        ("f", 0x10, 0xFFF2, Need("f", problem="please compile with -fno-common")),
        ("__gnu_lto_v1", 0x10, 0xFFF2, None),
        ("f", 0x10, 1, None),
    ],
)
def test_each_kind_of_symbol(name: str, info: int, shndx: int, need: Need | None) -> None:
    found = contents_of(made.with_symbol(name, info, shndx))
    assert list(found.needs) == ([need] if need else [])


def test_a_section_that_is_not_there() -> None:
    (need,) = contents_of(made.with_symbol("f", 0x10, 5000)).needs
    assert "Symbol f has an invalid section index 5000" in need.problem
