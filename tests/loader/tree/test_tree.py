"""loader.tree against folders written by hand, and against modprobe on the same folder."""

from __future__ import annotations

import ctypes
import errno
import io
import re
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import demo_tree, write_tree
from loader.tree.tree import Tree
from loader.words import canonical, module_name

RELEASE = "6.12.117"

INDEXES = {
    "modules.dep": """\
kernel/kvm/kvm-intel.ko.zst: kernel/kvm/kvm.ko.zst kernel/virt/lib/irqbypass.ko.zst
kernel/kvm/kvm.ko.zst: kernel/virt/lib/irqbypass.ko.zst
kernel/virt/lib/irqbypass.ko.zst:
/elsewhere/extra.ko:
""",
    "modules.alias": """\
# Aliases extracted from modules themselves.
alias cpu:type:x86,ven*fam*mod*:feature:*0085* kvm_intel
alias pci:v00008086d0000153[3-9]sv*sd*bc*sc*i* igb
alias pci:v*d*sv*sd*bc01sc08i02* nvme
alias pci:v00008086d*sv*sd*bc01sc08i02* nvme-too
alias net-pf-10 ipv6
alias net-pf-1? unix
alias *everything* last
""",
    "modules.symbols": """\
# Aliases for symbols, used by symbol_request().
alias symbol:kvm_init kvm
alias symbol:irq_bypass_register_producer irqbypass
""",
    "modules.softdep": """\
# Soft dependencies extracted from modules themselves.
softdep kvm pre: net-pf-10 b-c post: d
softdep kvm pre: not-this-one
softdep irqbypass post: e
""",
    "modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10dif.ko\n",
    "modules.builtin.modinfo": "ext4.alias=fs-ext4\0x.license=GPL\0crc_t10dif.alias=crypto-crct*",
}


def write_indexes(root: Path, indexes: dict[str, str]) -> Tree:
    for name, text in indexes.items():
        (root / name).write_text(text)
    return Tree.open(root)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return write_indexes(tmp_path, INDEXES)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `modprobe -d`: lib/modules/RELEASE is in it, and depmod has run."""
    base = tmp_path_factory.mktemp("demo")
    demo_tree(base / "lib" / "modules" / RELEASE)
    subprocess.run(["depmod", "-b", base, RELEASE], check=True)
    return base


def modprobe(base: Path, *arguments: str) -> list[str]:
    command = ["modprobe", "-d", str(base), "-S", RELEASE, *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


def test_names_are_the_kernels() -> None:
    assert canonical("kvm-intel") == "kvm_intel"
    assert module_name("/lib/x/snd-hda-intel.ko.xz") == "snd_hda_intel"


def test_paths(tree: Tree, tmp_path: Path) -> None:
    path = tmp_path / "kernel/kvm/kvm-intel.ko.zst"
    assert tree.path("kvm-intel") == tree.path("kvm_intel") == path
    assert tree.path("extra") == Path("/elsewhere/extra.ko")
    assert tree.path("none") is None
    assert list(tree.names()) == ["kvm_intel", "kvm", "irqbypass", "extra"]
    assert (tree.root, tree.release) == (tmp_path, tmp_path.name)


def test_dependencies_come_in_the_order_of_loading(tree: Tree, tmp_path: Path) -> None:
    assert tree.dependencies("kvm-intel") == (
        tmp_path / "kernel/virt/lib/irqbypass.ko.zst",
        tmp_path / "kernel/kvm/kvm.ko.zst",
    )
    assert tree.dependencies("irqbypass") == tree.dependencies("none") == ()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("kvm-intel", ("kvm_intel",)),
        ("cpu:type:x86,ven0000fam0006mod008F:feature:,0085,0099", ("kvm_intel",)),
        ("pci:v00008086d00001533sv0sd0bc02sc00i00", ("igb",)),
        ("pci:v00008086d0000153Asv0sd0bc02sc00i00", ()),
        ("pci:v00008086d00000001sv0sd0bc01sc08i02", ("nvme", "nvme_too")),
        ("net-pf-10", ("ipv6", "unix")),
        ("net_pf_17", ("unix",)),
        ("an everything else", ("last",)),
        ("symbol:kvm_init", ("kvm",)),
        ("symbol:printk", ()),
        ("ext4", ("ext4",)),
        ("fs-ext4", ("ext4",)),
        ("crypto-crct10dif", ("crc_t10dif",)),
        ("", ()),
    ],
)
def test_resolve(tree: Tree, wanted: str, found: tuple[str, ...]) -> None:
    assert tree.resolve(wanted) == found


def test_builtin(tree: Tree) -> None:
    assert tree.is_builtin("crc-t10dif")
    assert not tree.is_builtin("kvm")
    assert tree.path("ext4") is None


def test_symbols_and_softdeps(tree: Tree) -> None:
    assert tree.exporter("kvm_init") == "kvm"
    assert tree.exporter("printk") is None
    assert tree.softdeps("kvm") == (("net-pf-10", "b-c"), ("d",))
    assert tree.softdeps("irqbypass") == ((), ("e",))
    assert tree.softdeps("none") == ((), ())


def test_nonsense_is_skipped(tmp_path: Path) -> None:
    nonsense = (
        "\n:\nno colon\nk\0/b.ko:\nc.ko: \0\nalias\nalias x\nalias a b c\n"
        "softdep\nsoftdep x\n\0\udcff:\nx:y\n[:z\n"
    )
    good = {"modules.dep": "a.ko:\n", "modules.alias": "alias [z a\n", "modules.softdep": ""}
    for index in INDEXES:
        text = nonsense + good.get(index, "")
        (tmp_path / index).write_bytes(text.encode("utf-8", "surrogateescape"))
    tree = Tree.open(tmp_path)
    assert list(tree.names()) == ["a"]
    assert tree.resolve("[") == tree.resolve("x") == ()
    assert tree.softdeps("x") == ((), ())
    assert not tree.is_builtin("x")


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, number in (("none", errno.ENOENT), ("file", errno.ENOTDIR)):
        with pytest.raises(OSError) as caught:
            Tree.open(tmp_path / name)
        assert caught.value.errno == number
        assert caught.value.filename == str(tmp_path / name)


def test_flat_folder(tmp_path: Path) -> None:
    """Names from the files, dependencies from .modinfo, for each compression."""
    specs = [
        ModuleSpec("kvm-intel", folder=".", depends=("kvm",)),
        ModuleSpec("kvm", folder=".", depends=("irqbypass",)),
        ModuleSpec("irqbypass", folder="."),
    ]
    for compression in (None, "zst", "gz", "xz"):
        root = tmp_path / str(compression)
        write_tree(root, specs, compression=compression)
        for index in root.glob("modules.*"):
            index.unlink()
        (root / "README").touch()
        (root / "kvm.1.ko").write_bytes(b"a copy")
        tree = Tree.open(root)
        assert set(tree.names()) == {"kvm_intel", "kvm", "irqbypass"}
        names = [module_name(path) for path in tree.dependencies("kvm-intel")]
        assert names == ["irqbypass", "kvm"]


def test_folder_that_depmod_never_saw(tmp_path: Path) -> None:
    (tmp_path / "kernel/a").mkdir(parents=True)
    (tmp_path / "kernel/a/no-elf.ko").write_bytes(b"\x7fELF")
    tree = Tree.open(tmp_path)
    assert tree.path("no_elf") == tmp_path / "kernel/a/no-elf.ko"
    assert tree.dependencies("no_elf") == ()


@pytest.mark.parametrize(
    ("header", "change"),
    [
        ("sh_offset", 1 << 63),
        ("sh_offset", 1 << 40),
        ("sh_flags", 1 << 11),  # SHF_COMPRESSED, which it is not
        ("sh_type", 8),  # SHT_NOBITS
        ("sh_name", 1 << 31),
        ("e_shentsize", 0),
        ("e_shoff", 1 << 62),
        ("e_shstrndx", 60000),
    ],
)
def test_a_damaged_module_depends_on_nothing(tmp_path: Path, header: str, change: int) -> None:
    module = bytearray(build_module(ModuleSpec("kvm", depends=("irqbypass",))))
    (tmp_path / "irqbypass.ko").write_bytes(build_module(ModuleSpec("irqbypass")))
    (tmp_path / "kvm.ko").write_bytes(module)
    assert Tree.open(tmp_path).dependencies("kvm") == (tmp_path / "irqbypass.ko",)
    place, form = _place_in_header(bytes(module), header)
    struct.pack_into(form, module, place, change)
    (tmp_path / "kvm.ko").write_bytes(module)
    assert Tree.open(tmp_path).dependencies("kvm") == ()


# Where a field is in Elf64_Ehdr, or in the Elf64_Shdr of .modinfo (elf(5)).
_EHDR = {"e_shoff": (40, "<Q"), "e_shentsize": (58, "<H"), "e_shstrndx": (62, "<H")}
_SHDR = {"sh_name": (0, "<I"), "sh_type": (4, "<I"), "sh_flags": (8, "<Q"), "sh_offset": (24, "<Q")}


def _place_in_header(module: bytes, field: str) -> tuple[int, str]:
    if field in _EHDR:
        return _EHDR[field]
    elf = ELFFile(io.BytesIO(module))
    index = elf.get_section_index(".modinfo")
    assert index is not None
    offset, form = _SHDR[field]
    return elf["e_shoff"] + index * elf["e_shentsize"] + offset, form


def test_headers_without_length_have_an_end(tmp_path: Path) -> None:
    """As many as 2**62 sections, all of them the first one."""
    module = bytearray(build_module(ModuleSpec("kvm", depends=("irqbypass",))))
    struct.pack_into("<HH", module, 58, 0, 0)  # e_shentsize, e_shnum
    (start,) = struct.unpack_from("<Q", module, 40)
    struct.pack_into("<Q", module, start + 32, 1 << 62)  # sh_size of the first
    (tmp_path / "kvm.ko").write_bytes(module)
    assert Tree.open(tmp_path).dependencies("kvm") == ()


def test_each_index_is_read_once(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    original = Path.read_text

    def read_text(path: Path, *arguments: str) -> str:
        reads.append(path.name)
        return original(path, *arguments)

    monkeypatch.setattr(Path, "read_text", read_text)
    tree.path("kvm")
    assert reads == ["modules.dep"]

    def ask() -> None:
        tree.resolve("no such thing")
        tree.exporter("kvm_init")
        tree.probe_list("kvm")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reads) == sorted(INDEXES)


def test_modprobe_loads_the_same_files_in_the_same_order(demo: Path) -> None:
    tree = Tree.open(demo / "lib" / "modules" / RELEASE)
    names = list(tree.names())
    assert len(names) >= 20
    for name in names:
        lines = modprobe(demo, "--show-depends", name)
        inserted = [Path(line.split()[1]) for line in lines if line.startswith("insmod")]
        assert [probe.path for probe in tree.probe_list(name)] == list(dict.fromkeys(inserted))


def test_softdeps_need_not_succeed(demo: Path) -> None:
    tree = Tree.open(demo / "lib" / "modules" / RELEASE)
    required = {module_name(probe.path): probe.required for probe in tree.probe_list("xfs")}
    assert required == {"crc32c_intel": False, "libcrc32c": True, "xfs": True}
    assert tree.probe_list("none") == ()


def test_an_alias_is_visited_beside_the_name_it_leads_to(tmp_path: Path) -> None:
    """f needs long, long softly b-c, b-c softly f by an alias: modprobe then has f before b-c."""
    root = tmp_path / "lib" / "modules" / RELEASE
    specs = [
        ModuleSpec("b-c", softdeps=("pre: x-y post: f",)),
        ModuleSpec("long", softdeps=("post: b-c",)),
        ModuleSpec("f", depends=("long",), aliases=("x-y",)),
    ]
    write_tree(root, specs)
    subprocess.run(["depmod", "-b", tmp_path, RELEASE], check=True)
    for spec in specs:
        said = modprobe(tmp_path, "-n", "--show-depends", spec.name)
        files = dict.fromkeys(line.split()[1] for line in said)
        assert [str(one.path) for one in Tree.open(root).probe_list(spec.name)] == list(files)


def test_modprobe_finds_the_same_modules(demo: Path) -> None:
    tree = Tree.open(demo / "lib" / "modules" / RELEASE)
    aliases = re.findall(r"^alias (\S+)", (tree.root / "modules.alias").read_text(), re.MULTILINE)
    wanted = [re.sub(r"[*?]", "0", alias) for alias in aliases]
    wanted += [*tree.names(), "symbol:crc32c", "net-pf-1", "net-pf-2", "crypto_aes", "nothing"]
    for name in wanted:
        assert list(tree.resolve(name)) == list(dict.fromkeys(modprobe(demo, "-R", name))), name


pieces = st.lists(
    st.sampled_from(["a", "b", "_", ":", "*", "?", "[ab]", "[!a]", "[_-b]", "[]a]"]), min_size=1
)


@settings(deadline=None)
@given(st.lists(pieces.map("".join), max_size=30), st.text("ab_:]", max_size=12))
def test_the_index_misses_no_pattern(patterns: list[str], alias: str) -> None:
    """All that fnmatch(3), which modprobe uses, says match, and in the order of the file."""
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"alias {pattern} m{n}" for n, pattern in enumerate(patterns)]
        tree = write_indexes(Path(folder), {"modules.alias": "\n".join(lines)})
        matching = [
            f"m{n}"
            for n, pattern in enumerate(patterns)
            if libc.fnmatch(pattern.encode(), alias.encode(), 0) == 0
        ]
        assert list(tree.resolve(alias)) == matching


def test_unreadable_index(tree: Tree) -> None:
    index = tree.root / "modules.alias"
    index.unlink()
    index.mkdir()  # not a mode: root may read everything
    with pytest.raises(IsADirectoryError):
        tree.resolve("fs-x")
