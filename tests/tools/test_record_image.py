"""What make record reads of a kernel's image and of its modules' sizes, without a kernel."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest
import zstandard

from loader.config import Config
from loader.errors import UserError
from loader.image.elf import ElfModule
from loader.image.layout import Layout
from loader.image.module_image import read_image
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs.conformance.answers import Answer, Answered
from modfs.conformance.scenario import Step
from tools.record.__main__ import unpacks
from tools.record.image import Btf, abi_of_image, btf_of, unpacked
from tools.record.sizes import probe, refused, seen, steps, table, without_routines

VERMAGIC = b"7.1.13+deb13-cloud-amd64 SMP preempt mod_unload "
_INT, _ARRAY, _STRUCT, _TYPEDEF, _ENUM = 1, 3, 4, 8, 6


class _Types:
    """BTF written by hand (Documentation/bpf/btf.rst): types are numbered from 1."""

    def __init__(self) -> None:
        self.types, self.strings = b"", b"\0"

    def name(self, text: str) -> int:
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, kind: int, name: str, size: int, behind: bytes = b"", count: int = 0) -> None:
        info = kind << 24 | count
        self.types += struct.pack("<III", self.name(name), info, size) + behind

    def struct(self, name: str, size: int, *members: tuple[str, int, int]) -> None:
        packed = [struct.pack("<III", self.name(n), number, at * 8) for n, number, at in members]
        self.add(_STRUCT, name, size, b"".join(packed), len(members))

    def packed(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types),
                             len(self.strings))  # fmt: skip
        return header + self.types + self.strings


def kernel() -> bytes:
    """A struct module as 7.1.13 has it, in numbers that `make record` found there."""
    types = _Types()
    types.add(_INT, "unsigned int", 4, struct.pack("<I", 32))  # 1
    types.add(_ENUM, "state", 4, struct.pack("<II", 0, 0) * 3, 3)  # 2
    types.struct("module_memory", 72, ("base", 1, 0), ("size", 1, 12))  # 3
    types.add(_ARRAY, "", 0, struct.pack("<III", 3, 1, 7))  # 4
    types.add(_TYPEDEF, "u32", 1)  # 5
    members = ("state", 2, 0), ("name", 5, 24), ("init", 5, 304), ("mem", 4, 320), ("exit", 5, 1216)
    types.struct("module", 1280, *members)  # 6
    return b"\x7fELF" + bytes(60) + VERMAGIC + b"\0" + types.packed() + b"behind"


def bzimage(payload: bytes) -> bytes:
    """Documentation/arch/x86/boot.rst: four sectors of set-up, the payload 16 bytes behind."""
    start = bytearray(4 * 512 + 16)
    start[0x1F1], start[0x202:0x206] = 3, b"HdrS"
    start[0x248:0x250] = struct.pack("<II", 16, len(payload))
    return bytes(start) + payload + b"more"


def zboot(payload: bytes) -> bytes:
    """struct linux_efi_zboot_header."""
    return b"MZ\0\0zimg" + struct.pack("<II", 64, len(payload)) + bytes(48) + payload


@pytest.mark.parametrize("image", [bzimage, zboot, bytes])
@pytest.mark.parametrize(
    "pack",
    [
        zstandard.ZstdCompressor().compress,
        lzma.compress,
        gzip.compress,
        lambda data: zstandard.ZstdCompressor().compress(data) + bytes(4),
    ],
)
def test_images_are_unpacked(image, pack) -> None:  # type: ignore[no-untyped-def]
    assert unpacked(image(pack(kernel()))) == kernel()


def test_what_is_not_packed_or_otherwise() -> None:
    assert unpacked(b"MZ@\xfa arm64's own Image") == b"MZ@\xfa arm64's own Image"
    with pytest.raises(UserError, match="not known here"):
        unpacked(bzimage(b"\x02!L\x18 as lz4 has it"))


def test_an_image_tells_what_its_modules_are_like(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(gzip.compress(kernel())))
    abi = abi_of_image(image, "7.1.13+deb13-cloud-amd64", "x86_64")
    assert (abi.vermagic, abi.struct_module_size) == (VERMAGIC.decode(), 1280)
    assert (abi.init_offset, abi.exit_offset, abi.flagged) == (304, 1216, True)
    with pytest.raises(UserError, match="does not tell"):
        abi_of_image(image, "7.2.1", "x86_64")
    image.write_bytes(bzimage(gzip.compress(b"\x7fELF")))
    with pytest.raises(UserError, match="no BTF"):
        btf_of(image)


def test_the_probe_is_where_btf_says() -> None:
    text = probe(Btf(kernel()))
    assert text.startswith("p:modfs_sizes do_init_module name=+24($arg1):string ")
    assert "s0=+332($arg1):u32" in text and text.endswith("s6=+764($arg1):u32")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_modules_without_routines_take_the_same_memory(machine: str) -> None:
    spec = ModuleSpec("m", machine=machine, exports=("modfs_x",), rodata=5000)
    whole = build_module(spec)
    bare = without_routines(whole)
    config = Config(release=release("6.12"), machine=int.from_bytes(whole[18:20], "little"))
    layouts = {read_image(data, 0, config).layout for data in (whole, bare)}
    assert len(layouts) == 1 and len(whole) == len(bare)
    elf = ElfModule(bare, config.machine)
    elf.cache_indices(None)
    (index,) = (n for n in range(elf.e_shnum) if elf.name(n).endswith("this_module") and
                elf.name(n).startswith(".rela"))  # fmt: skip
    table_at, size = elf.sh_offset[index], elf.sh_size[index]
    assert whole[table_at : table_at + size] != bare[table_at : table_at + size]
    assert all(bare[at + 8 : at + 16] == bytes(8) for at in range(table_at, table_at + size, 24))


TRACE = """# tracer: nop
          insmod-7  [001] .....  9.1: modfs_sizes: (do_init_module+0x0/0x2a0) name="dash_ed"\
 s0=4096\
 s1=8192 s2=4096 s3=0 s4=4096 s5=8192 s6=0
          insmod-7  [000] .....  9.2: other: (x) name="dash_ed" s0=1 s1=1 s2=1 s3=1 s4=1 s5=1 s6=1
"""


def test_what_the_probe_told_becomes_a_table() -> None:
    asked = steps(["dash-ed.ko", "bad.ko"], Btf(kernel()))
    answers = [*[Answer((0,))] * 4, Answer((-8,)), Answer(text=TRACE)]
    answered = Answered("sizes", tuple(asked), tuple(answers))
    layout = Layout(4096, 8192, 4096, 0, 4096, 8192, 0)
    assert seen(answered) == {"dash_ed": layout}
    assert list(refused(answered)) == [("bad.ko", "ENOEXEC")]
    _, row = table({"dash-ed.ko": b"", "bad.ko": b""}, seen(answered)).splitlines()
    assert row.split("\t")[:4] == ["dash-ed.ko", "28672", "8192", "16384"]


@pytest.mark.parametrize(
    ("rows", "format"),
    [
        ([("a.ko.zst", 4, "OPNOTSUPP"), ("a.ko.xz", 4, "OK")], "xz"),
        ([("a.ko.zst", 0, "OK")], None),
        ([("a.ko", 4, "OK")], None),
        ([("a.ko.zst", 4, "OPNOTSUPP"), ("a.ko.gz", 4, "OPNOTSUPP")], "none"),
    ],
)
def test_what_a_kernel_was_seen_to_unpack(
    rows: list[tuple[str, int, str]], format: str | None
) -> None:
    asked: list[Step] = [
        {"op": "finit_module", "file": f"files/{name}", "flags": flags} for name, flags, _ in rows
    ]
    answers = [Answer((0 if result == "OK" else -95,)) for *_, result in rows]
    assert unpacks([Answered("packed", tuple(asked), tuple(answers))]) == format
