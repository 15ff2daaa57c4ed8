"""What the kernel image exports, from the three files that tell it."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path

import pytest

from loader.calls import InitModule
from loader.config import Config
from loader.engine.threads import LiveKernel
from loader.errors import LoadError, UserError
from loader.image.contents import Export
from loader.image.symvers import read_kernel_exports
from loader.synthesize.builder import build_module, symbol_crc
from loader.synthesize.spec import ModuleSpec

SYMVERS = (
    "0x00000012\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n"
    "0x00000034\tdma_buf\tvmlinux\tEXPORT_SYMBOL_GPL\tDMA_BUF\n"
    "0x00000056\tdrm_open\tdrivers/gpu/drm/drm\tEXPORT_SYMBOL\t\n"
)
EXPORTS = {
    "printk": Export("printk", crc=0x12),
    "dma_buf": Export("dma_buf", True, "DMA_BUF", 0x34),
}


def test_module_symvers(tmp_path: Path) -> None:
    path = tmp_path / "Module.symvers"
    path.write_text(SYMVERS)
    assert read_kernel_exports(path) == EXPORTS
    packed = tmp_path / "symvers.gz"
    packed.write_bytes(gzip.compress(SYMVERS.encode()))
    assert read_kernel_exports(packed) == EXPORTS


def test_system_map(tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text(
        "ffffffff81000000 T printk\nffffffff82000000 r __ksymtab_printk\n"
        "ffffffff82000100 R __start___ksymtab_gpl\nffffffff82000100 r __ksymtab_dma_buf\n"
        "ffffffff82000200 R __stop___ksymtab_gpl\n"
    )
    found = read_kernel_exports(path)
    assert found == {"printk": Export("printk"), "dma_buf": Export("dma_buf", True)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SYMVERS[:-30], "line 3: not of Module.symvers, or cut off"),
        (SYMVERS.replace("\tEXPORT_SYMBOL\t\n", "\n", 1), "line 1"),
        ("0x00000056\tdrm_open\tdrm\tEXPORT_SYMBOL\t\n", "no export of the kernel"),
        ("hello\n", "is no Module.symvers"),
        ("", "is no Module.symvers"),
        ("ffffffffffffffff B The real System.map is elsewhere\n", "no export of the kernel"),
    ],
)
def test_what_tells_no_exports(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        read_kernel_exports(path)


def answer(tmp_path: Path, kernels: dict[str, Export], **fields: object) -> str:
    """How a load of a module ends on a kernel that exports these."""
    path = tmp_path / "made.ko"
    path.write_bytes(build_module(ModuleSpec("made", machine="x86_64", **fields)))  # type: ignore[arg-type]
    live = LiveKernel(Config(machine=62))
    live.kernel.export_kernels(kernels)
    try:
        live.call(InitModule(str(path), "", None))
    except LoadError as error:
        return f"{error.name}: {live.kmsg().splitlines()[-1]}"
    return "OK"


def test_symbols_are_the_kernels(tmp_path: Path) -> None:
    right = {"printk": Export("printk", crc=symbol_crc("printk"))}
    assert answer(tmp_path, right, imports=("printk",)) == "OK"
    assert answer(tmp_path, right, imports=("prink",)).startswith(
        f"ENOENT: made: Unknown symbol prink (err -{errno.ENOENT})"
    )
    wrong = {"printk": Export("printk", crc=1)}
    assert answer(tmp_path, wrong, imports=("printk",)).startswith("EINVAL: made: Unknown symbol")
    gpl = {"printk": Export("printk", gpl=True)}
    assert answer(tmp_path, gpl, imports=("printk",), license="Proprietary").startswith("ENOENT")
    spaced = {"printk": Export("printk", namespace="NS")}
    assert answer(tmp_path, spaced, imports=("printk",)).startswith("EINVAL")
    owned = answer(tmp_path, right, exports=("printk",))
    assert owned == "ENOEXEC: made: exports duplicate symbol printk (owned by kernel)"
