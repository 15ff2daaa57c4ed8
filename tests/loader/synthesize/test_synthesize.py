"""Modules that loader.synthesize writes, in the eyes of readelf, modinfo, depmod and the kernel.

Sizes that are expected come from behaviour.md section 4, worked out by hand.
"""

from __future__ import annotations

import io
import lzma
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.calls import FinitModule
from loader.config import EM_AARCH64, EM_X86_64, BuiltFor, Config
from loader.engine.threads import LiveKernel
from loader.errors import LoadError, UserError
from loader.image.compression import decompress
from loader.image.layout import Layout
from loader.image.module_image import read_image
from loader.packings import SUFFIXES
from loader.release import release as named
from loader.synthesize.builder import build_module, layout_of
from loader.synthesize.sized import sized
from loader.synthesize.spec import MODULE_LAYOUT_CRC, VERMAGIC, ModuleSpec, ParameterSpec
from loader.synthesize.spec_file import spec_from, specs_from_toml
from loader.synthesize.trees import demo_specs, demo_tree, linked, write_tree
from loader.tree.tree import Tree
from loader.words import module_name

RELEASE = "6.12.117"
PAGE = 4096

PARAMETERS = (
    ParameterSpec("number", "int", "how many", default=-3),
    ParameterSpec("label", "charp", default="none"),
    ParameterSpec("list", "array of ushort", "up to three", max=3, mode=0o444),
    ParameterSpec("title", "string", max=12),
    ParameterSpec("flag", "bool", default=1, mode=0),
)
FULL = ModuleSpec(
    "full-of-it",
    machine="x86_64",
    symbols=30,
    ro_after_init=64,
    init_data=8,
    init_rodata=100,
    bss=5000,
    percpu=32,
    parameters=PARAMETERS,
    depends=("other", "more-of-it"),
    imports=("other_register",),
    exports=("full_b", "full_a"),
    exports_gpl=("full_gpl",),
    aliases=("fs-full", "pci:v00008086d*sv*sd*bc*sc*i*"),
    softdeps=("pre: crypto-crc32c post: late",),
    license="GPL v2",
    modinfo=(("author", "A. Person <a@example.org>"), ("description", "Has it all")),
)
SPECS = {
    "full": FULL,
    "arm64": replace(FULL, machine="aarch64"),
    "least": ModuleSpec("x", text=0, rodata=0, data=0, has_init=False, has_exit=False),
    "no versions": replace(FULL, versions=False),
    "no exit": ModuleSpec("noexit", has_exit=False),
    "long": ModuleSpec("n" * 55),
    "odd length": replace(FULL, file_bytes=33333),
    "kernel of another size": ModuleSpec("other", struct_module_size=0x380),
}


@pytest.fixture(params=list(SPECS.values()), ids=list(SPECS))
def spec(request: pytest.FixtureRequest) -> ModuleSpec:
    assert isinstance(request.param, ModuleSpec)
    return request.param


def elf_of(spec: ModuleSpec) -> Any:
    return ELFFile(io.BytesIO(build_module(spec)))


def run(*command: str | Path) -> str:
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


# -- the tools ------------------------------------------------------------------------------------


def test_readelf_has_nothing_to_say_against_it(spec: ModuleSpec, tmp_path: Path) -> None:
    path = tmp_path / "x.ko"
    path.write_bytes(build_module(spec))
    out = run("readelf", "--all", "--wide", "--debug-dump", path)
    assert "Class:                             ELF64" in out
    assert "REL (Relocatable file)" in out


def test_the_linker_takes_it(tmp_path: Path) -> None:
    """Relocations against the right symbols: ld would not find or overflow others."""
    path = tmp_path / "x.ko"
    path.write_bytes(build_module(FULL))
    run("ld", "-m", "elf_x86_64", "-r", "-o", tmp_path / "linked.o", path)


def test_modinfo(tmp_path: Path) -> None:
    path = tmp_path / "full-of-it.ko"
    path.write_bytes(build_module(FULL))
    lines = [line.split(":", 1) for line in run("modinfo", path).splitlines()]
    assert sorted((tag, " ".join(value.split())) for tag, value in lines) == sorted(
        [
            ("filename", str(path)),
            ("name", "full_of_it"),
            ("license", "GPL v2"),
            ("author", "A. Person <a@example.org>"),
            ("description", "Has it all"),
            ("alias", "fs-full"),
            ("alias", "pci:v00008086d*sv*sd*bc*sc*i*"),
            ("softdep", "pre: crypto-crc32c post: late"),
            ("depends", "other,more-of-it"),
            ("intree", "Y"),
            ("retpoline", "Y"),
            ("vermagic", VERMAGIC.strip()),
            ("parm", "number:how many (int)"),
            ("parm", "label:charp"),
            ("parm", "list:up to three (array of ushort)"),
            ("parm", "title:string"),
            ("parm", "flag:bool"),
        ]
    )


@pytest.mark.parametrize("compression", [None, "zst", "xz"])  # Debian's kmod is without zlib
def test_depmod_writes_the_same_indexes(tmp_path: Path, compression: str | None) -> None:
    """Line for line, in modules.dep also the order of the dependencies."""
    root = tmp_path / "lib" / "modules" / RELEASE
    demo_tree(root, compression=compression)
    names = ["modules.dep", "modules.alias", "modules.symbols", "modules.softdep"]
    ours = {name: sorted((root / name).read_text().splitlines()) for name in names}
    kept = {name: (root / name).read_bytes() for name in ("modules.builtin", "modules.order")}
    run("depmod", "-w", "-b", tmp_path, RELEASE)
    for name in names:
        assert ours[name] == sorted((root / name).read_text().splitlines()), name
        assert len(ours[name]) > 4
    for name, text in kept.items():
        assert (root / name).read_bytes() == text
    assert run("modprobe", "-d", tmp_path, "-S", RELEASE, "-R", "fs-xfs") == "xfs\n"
    assert run("modprobe", "-d", tmp_path, "-S", RELEASE, "-R", "net-pf-1") == "unix\n"


@pytest.mark.parametrize("versions", [True, False])
def test_depmod_sees_symbols_with_and_without_versions(tmp_path: Path, versions: bool) -> None:
    root = tmp_path / "lib" / "modules" / RELEASE
    user = ModuleSpec("user", depends=("full-of-it",), versions=versions)
    provider = replace(FULL, depends=(), imports=(), versions=versions)
    write_tree(root, [user, provider])
    run("depmod", "-w", "-b", tmp_path, RELEASE)
    assert "kernel/user.ko: kernel/full-of-it.ko\n" in (root / "modules.dep").read_text()
    symbols = (root / "modules.symbols").read_text()
    for name in ("full_a", "full_b", "full_gpl"):
        assert f"alias symbol:{name} full_of_it\n" in symbols


# -- the kernel -----------------------------------------------------------------------------------


def test_this_module_is_where_the_kernel_looks() -> None:
    """Offsets and types as in the modules that the recorded kernel loaded (files/ok_a.ko)."""
    elf = elf_of(FULL)
    section = elf.get_section_by_name(".gnu.linkonce.this_module")
    assert section.data_size == 0x4C0
    assert section.data().rstrip(b"\0") == bytes(24) + b"full_of_it"
    symbols = elf.get_section_by_name(".symtab")
    relocations = {
        (r["r_offset"], r["r_info_type"], symbols.get_symbol(r["r_info_sym"]).name)
        for r in elf.get_section_by_name(".rela.gnu.linkonce.this_module").iter_relocations()
    }
    assert relocations == {(0x138, 1, "init_module"), (0x470, 1, "cleanup_module")}


def test_exports_are_sorted_as_the_kernel_searches_them() -> None:
    elf = elf_of(FULL)
    symbols = elf.get_section_by_name(".symtab")
    relocations = elf.get_section_by_name(".rela__ksymtab").iter_relocations()
    names = [symbols.get_symbol(r["r_info_sym"]).name for r in relocations]
    assert names[::3] == ["full_a", "full_b"]
    assert names[1::3] == ["__kstrtab_full_a", "__kstrtab_full_b"]


@pytest.mark.parametrize("release", ["6.4", "6.12", "6.14", "7.1"])
def test_the_kernels_checks(spec: ModuleSpec, release: str) -> None:
    config = Config(
        release=named(release),
        built_for=BuiltFor(
            VERMAGIC + {"aarch64": "aarch64"}.get(spec.machine, ""),
            spec.struct_module_size,
            MODULE_LAYOUT_CRC,
        ),
        machine={"x86_64": EM_X86_64, "aarch64": EM_AARCH64}[spec.machine],
        force_load=True,
    )
    image = read_image(build_module(spec), 0, config)
    assert (image.becoming_failure, image.layout_failure) == (None, None)
    assert image.name == spec.module_name
    assert image.layout == layout_of(spec)
    contents = image.contents
    assert (contents.has_init, contents.has_exit) == (spec.has_init, spec.has_exit)
    assert {need.name for need in contents.needs} == set(spec.undefined)
    assert {(e.name, e.gpl) for e in contents.exports} == {
        *((name, False) for name in spec.exports),
        *((name, True) for name in spec.exports_gpl),
    }
    assert contents.depends == tuple(name.replace("-", "_") for name in spec.depends)


def test_versions_of_importer_and_exporter_agree() -> None:
    config = Config(machine=EM_X86_64)
    exporter = ModuleSpec("exporter", machine="x86_64", exports=("a_symbol",))
    importer = ModuleSpec("importer", machine="x86_64", imports=("a_symbol",))
    (export,) = read_image(build_module(exporter), 0, config).contents.exports
    versions = read_image(build_module(importer), 0, config).contents.versions
    assert versions == {"a_symbol": export.crc, "module_layout": MODULE_LAYOUT_CRC}


def test_parameters_have_mode_and_size() -> None:
    found = read_image(build_module(FULL), 0, Config(machine=EM_X86_64)).contents.parameters
    assert {name: (p.type, p.mode) for name, p in found.items()} == {
        p.name: (p.type, p.mode) for p in PARAMETERS
    }
    assert found["list"].max_elements == 3


def test_layout_by_hand() -> None:
    """Each kind of memory by the rules of behaviour.md section 4, x86-64.

    text: 5000 bytes and 16 of .exit.text. rodata: .rodata and no more. data: 64 of .data, struct
    module, .bss, and what is kept of the symbols. init data: all symbols and their names.
    """
    spec = ModuleSpec(
        "sizes",
        machine="x86_64",
        text=5000,
        init_text=4080,
        rodata=4097,
        ro_after_init=1,
        bss=7000,
        symbols=100,
        versions=False,
    )
    # .symtab: the null symbol, 100 functions, __this_module, init_module, cleanup_module: 104.
    # Kept are all but init_module. Their names: sizes_0 .. sizes_99 with NULs 890 bytes,
    # __this_module 14, cleanup_module 15; the null symbol has an empty name, 1.
    kept, names = 103, 890 + 14 + 15 + 1
    data = 64 + 0x4C0 + 7000 + kept * 24 + names + kept
    strings = names + 12  # .strtab also has init_module
    init_data = 104 * 24 + strings + 32 + 104
    assert data < 3 * PAGE - 100 and init_data < PAGE - 100  # alignment does not matter
    assert layout_of(spec) == Layout(
        text=2 * PAGE,
        data=-(-data // PAGE) * PAGE,
        rodata=2 * PAGE,
        ro_after_init=PAGE,
        init_text=PAGE,
        init_data=PAGE,
    )
    assert layout_of(replace(spec, init_text=4081)).init_text == 2 * PAGE
    assert layout_of(replace(spec, rodata=4096)).rodata == PAGE


def test_a_tree_loads(tmp_path: Path) -> None:
    """Every module of the demo tree, its dependencies first; sums as the specs say."""
    modules = {spec.module_name: spec for spec in demo_tree(tmp_path)}
    tree = Tree.open(tmp_path)
    live = LiveKernel(tree=tree)
    with pytest.raises(LoadError, match="No such file"):
        live.call(FinitModule(tree.path("xfs") or ""))
    for name in modules:
        for probe in tree.probe_list(name):
            if module_name(probe.path) not in {module.name for module in live.snapshot().modules}:
                live.call(FinitModule(probe.path))
    snapshot = live.snapshot()
    assert snapshot.modcount == len(modules) == len({m.name for m in snapshot.modules})
    layouts = [layout_of(spec) for spec in modules.values()]
    assert snapshot.total_mod_size == sum(layout.total for layout in layouts)
    assert snapshot.total_text_size == sum(layout.text_total for layout in layouts)


# -- to measure -----------------------------------------------------------------------------------

pages = st.integers(min_value=0, max_value=300).map(lambda count: count * PAGE)


@settings(deadline=None, max_examples=40)
@given(
    text=pages,
    rest=pages,
    more_file=st.integers(0, 2_000_000),
    machine=st.sampled_from(["x86_64", "aarch64"]),
)
def test_sized(text: int, rest: int, more_file: int, machine: str) -> None:
    fields: dict[str, Any] = {
        "machine": machine,
        "parameters": PARAMETERS,
        "exports": ("a", "b"),
        "symbols": 40,
    }
    least = layout_of(ModuleSpec("sized", **fields))
    text_size = least.text_total + text
    total_size = least.total + text + rest
    shortest = sized("sized", total_size=total_size, text_size=text_size, **fields)
    room = replace(shortest, rodata=128, bss=rest)
    file_bytes = len(build_module(room)) + more_file
    spec = sized(
        "sized", total_size=total_size, text_size=text_size, file_bytes=file_bytes, **fields
    )
    for made in (shortest, spec):
        assert (layout_of(made).total, layout_of(made).text_total) == (total_size, text_size)
    assert len(build_module(spec)) == file_bytes


@pytest.mark.parametrize(
    ("total_size", "text_size", "file_bytes", "message"),
    [
        (1 << 20, 1 << 18, 200_000, r"x: with that text, file_bytes is at least \d+, not 200000"),
        (1 << 14, 1 << 18, None, r"x: with that text, total_size is at least \d+, not 16384"),
        (1 << 20, 4096, None, "x: text_size is at least 8192, not 4096"),
        (100_000, 8192, None, "x: total_size 100000 is no multiple of 4096"),
    ],
)
def test_impossible_sizes(
    total_size: int, text_size: int, file_bytes: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sized("x", total_size=total_size, text_size=text_size, file_bytes=file_bytes)


def test_the_least_that_is_told_is_possible() -> None:
    with pytest.raises(ValueError) as caught:
        sized("x", total_size=1 << 20, text_size=1 << 18, file_bytes=1)
    least = int(str(caught.value).split("at least ")[1].split(",")[0])
    spec = sized("x", total_size=1 << 20, text_size=1 << 18, file_bytes=least)
    assert len(build_module(spec)) == least


@pytest.mark.parametrize("length", range(20_000, 20_010))
def test_file_bytes(length: int) -> None:
    assert len(build_module(ModuleSpec("x", file_bytes=length))) == length


def test_a_file_too_short() -> None:
    with pytest.raises(ValueError, match=r"x: file_bytes is at least \d+, not 100"):
        build_module(ModuleSpec("x", file_bytes=100))


def test_the_same_spec_gives_the_same_file() -> None:
    assert build_module(FULL) == build_module(replace(FULL))


# -- compressed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", SUFFIXES)
def test_the_kernel_unpacks_it(tmp_path: Path, compression: str) -> None:
    write_tree(tmp_path, [ModuleSpec("x", rodata=100_000)], compression=compression)
    packed = (tmp_path / f"kernel/x.ko.{compression}").read_bytes()
    kernels = {"zst": "zstd", "gz": "gzip", "xz": "xz"}[compression]
    assert decompress(kernels, packed, 1 << 20) == build_module(ModuleSpec("x", rodata=100_000))
    assert 0.2 < len(packed) / 100_000 < 0.6  # like real modules, neither zeros nor noise


def test_xz_with_the_check_that_the_kernel_knows(tmp_path: Path) -> None:
    write_tree(tmp_path, [ModuleSpec("x")], compression="xz")
    decoder = lzma.LZMADecompressor()
    decoder.decompress((tmp_path / "kernel/x.ko.xz").read_bytes())
    assert decoder.check == lzma.CHECK_CRC32


# -- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a b"}, "module name 'a b'"),
        ({"name": "n" * 56}, "module name"),
        ({"text": -1}, "x: text is negative"),
        ({"machine": "vax"}, "x: no machine 'vax'; there are x86_64, aarch64"),
        ({"struct_module_size": 64}, "x: struct_module_size 64 is too small"),
        ({"folder": "../up"}, "leaves the tree"),
        ({"folder": "/etc"}, "leaves the tree"),
        ({"exports": ("a b",)}, "x: 'a b' is no symbol"),
        ({"imports": ("s" * 56,)}, "longer than the 55 bytes"),
        ({"exports": ("a",), "exports_gpl": ("a",)}, "exported twice"),
        ({"modinfo": (("a=b", "c"),)}, "x: 'a=b' cannot stand in .modinfo"),
        ({"license": "a\0b"}, "cannot stand in .modinfo"),
    ],
)
def test_impossible_specs(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModuleSpec(**{"name": "x"} | fields)


def test_impossible_parameters() -> None:
    with pytest.raises(ValueError, match="parameter n: no type 'float'; there are byte, "):
        ParameterSpec("n", "float")
    with pytest.raises(ValueError, match="a default of type int is a number"):
        ParameterSpec("n", "int", default="3")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([ModuleSpec("a"), ModuleSpec("a")], "two modules have the name a"),
        ([ModuleSpec("a", exports=("s",)), ModuleSpec("b", exports=("s",))], "both export s"),
        ([ModuleSpec("a", depends=("b",))], "a depends on b, which is not in the tree"),
        (
            [ModuleSpec("a", depends=("b",)), ModuleSpec("b", depends=("a",))],
            "a circle of dependencies among a, b",
        ),
    ],
)
def test_impossible_trees(tmp_path: Path, specs: list[ModuleSpec], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_tree(tmp_path / "tree", specs)
    assert not (tmp_path / "tree").exists()


def test_linked() -> None:
    """A dependency without a symbol gets one; a symbol's exporter becomes a dependency."""
    user, bare, exporter = linked(
        [
            ModuleSpec("user", depends=("bare-one",), imports=("symbol", "printk")),
            ModuleSpec("bare-one"),
            ModuleSpec("exporter", exports=("symbol",)),
        ]
    )
    assert user.imports == ("symbol", "printk", "use_bare_one")
    assert user.depends == ("bare-one", "exporter")
    assert bare.exports == ("use_bare_one",)
    assert exporter.exports == ("symbol",)


# -- TOML -----------------------------------------------------------------------------------------


def test_toml() -> None:
    modules, builtin = specs_from_toml(
        """
        [[module]]
        name = "one"
        text = "16k"
        aliases = "fs-one"
        exports = ["a", "b"]
        intree = false
        parameters = { n = "int", list = { type = "array of int", max = 4, mode = 0o400 } }
        modinfo = { version = "2" }
        [[module]]
        name = "two"
        total_size = "1 MiB"
        text_size = 0x10000
        [[builtin]]
        name = "three"
        """
    )
    assert modules[0] == ModuleSpec(
        "one",
        text=16384,
        aliases=("fs-one",),
        exports=("a", "b"),
        intree=False,
        parameters=(ParameterSpec("n"), ParameterSpec("list", "array of int", max=4, mode=0o400)),
        modinfo=(("version", "2"),),
    )
    assert layout_of(modules[1]).total == 1 << 20
    assert builtin == [ModuleSpec("three")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "name is missing"),
        ({"name": "x", "tect": 1}, "tect: is not known; did you mean text?"),
        ({"name": "x", "text": "big"}, "text: a size such as .* is needed, not 'big'"),
        ({"name": "x", "text": True}, "text: a size such as .* is needed, not true"),
        ({"name": "x", "intree": "yes"}, "intree: true or false is needed, not 'yes'"),
        ({"name": "x", "exports": [1]}, "exports: a text or a list of texts is needed, not 1"),
        ({"name": "x", "parameters": ["n"]}, "parameters: a table .* is needed, not a list"),
        ({"name": "x", "parameters": {"n": 3}}, "parameters.n: a text or a table .*, not 3"),
        (
            {"name": "x", "parameters": {"n": {"typ": "int"}}},
            "parameters.n.typ: is not known; did you mean type?",
        ),
        (
            {"name": "x", "parameters": {"n": {"max": "a"}}},
            "parameters.n.max: a whole number from 0 .*, not 'a'",
        ),
        ({"name": "x", "parameters": {"n": "float"}}, "parameters.n: .* no type 'float'"),
        ({"name": "x", "total_size": 8192}, "x: total_size and text_size go together"),
    ],
)
def test_wrong_tables(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        spec_from(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[module]\nname = 'x'", r"a.toml, line 1: module: a list .*\[\[module\]\]"),
        ("#\n[[modul]]", "a.toml, line 2: modul: is not known; did you mean module?"),
        ("module = 3", "a.toml, line 1: module: a list .* is needed, not 3"),
        ("\n=", "a.toml, line 2: not TOML: "),
        ("\n[[module]]", r"a.toml, line 2: module\[0\]: name is missing"),
        ("[[module]]\nname = 'x'\ntext = -1", r"line 3: module\[0\].text: a size .*from 0"),
        ("[[module]]\nname = 'x'\nfolder = '/'", r"line 1: module\[0\]: x: folder '/' leaves"),
        ("# nothing", r"neither a \[\[module\]\] nor"),
    ],
)
def test_wrong_files(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("n?", r"n\?")):
        specs_from_toml(text, "a.toml")


def test_demo_specs_are_like_debians() -> None:
    """linux-image-6.1.0-56-amd64: bytes of the files without their signatures."""
    modules, _ = demo_specs()
    lengths = {spec.name: len(build_module(spec)) for spec in modules}
    assert len(lengths) >= 20
    assert (lengths["xfs"], lengths["kvm"], lengths["libcrc32c"]) == (4215096, 2376840, 7704)
