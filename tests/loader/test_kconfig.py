"""What a kernel's configuration decides, and which files are none."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from loader.config import EM_AARCH64, EM_X86_64, BuiltFor, Config
from loader.errors import UserError
from loader.kconfig import FIELDS, UNFOLLOWED, as_distributed, find_kconfig, read_kconfig

HEAD = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/{} 7.3.4 Kernel Configuration\n#\n"


def written(path: Path, *options: str, architecture: str = "x86_64") -> Path:
    lines = "".join(f"{option}\n" for option in ("CONFIG_MODULES=y", *options))
    path.write_text(HEAD.format(architecture) + lines)
    return path


@pytest.mark.parametrize("option", FIELDS)
def test_each_option_is_a_field(option: str, tmp_path: Path) -> None:
    on = read_kconfig(written(tmp_path / "on", f"CONFIG_{option}=y")).applied(Config())
    off = read_kconfig(written(tmp_path / "off", f"# CONFIG_{option} is not set")).applied(Config())
    absent = read_kconfig(written(tmp_path / "absent")).applied(Config())
    assert getattr(on, FIELDS[option]) is True
    assert getattr(off, FIELDS[option]) is getattr(absent, FIELDS[option]) is False
    assert replace(on, **{FIELDS[option]: False}) == absent  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "compression"),
    [
        (("CONFIG_MODULE_COMPRESS_XZ=y", "CONFIG_MODULE_DECOMPRESS=y"), "xz"),
        (("CONFIG_MODULE_COMPRESS_ZSTD=y", "CONFIG_MODULE_DECOMPRESS=y"), "zstd"),
        (("CONFIG_MODULE_COMPRESS_GZIP=y", "CONFIG_MODULE_DECOMPRESS=y"), "gzip"),
        (("CONFIG_MODULE_COMPRESS_XZ=y",), "none"),
    ],
)
def test_what_the_kernel_unpacks(
    options: tuple[str, ...], compression: str, tmp_path: Path
) -> None:
    assert read_kconfig(written(tmp_path / "c", *options)).compression == compression


@pytest.mark.parametrize(
    ("option", "size"),
    [
        ("CONFIG_ARM64_4K_PAGES=y", 4096),
        ("CONFIG_ARM64_16K_PAGES=y", 16384),
        ("CONFIG_ARM64_64K_PAGES=y", 65536),
        ("CONFIG_PAGE_SHIFT=14", 16384),
    ],
)
def test_pages(option: str, size: int, tmp_path: Path) -> None:
    config = read_kconfig(written(tmp_path / "c", option, architecture="arm64")).applied(Config())
    assert (config.machine, config.page_size) == (EM_AARCH64, size)


def test_packed_as_proc_has_it(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain", "CONFIG_MODULE_FORCE_LOAD=y")
    packed = tmp_path / "config.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_kconfig(packed).options == read_kconfig(plain).options
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(UserError, match="damaged, or not all of it is there"):
        read_kconfig(packed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no kernel configuration"),
        ("CONFIG_MODULES=y\n", "no kernel configuration"),
        (HEAD.format("riscv") + "CONFIG_MODULES=y\n", "of riscv; modfs knows x86_64, arm64"),
        (HEAD.format("x86") + "CONFIG_MODULES=y\nCONFIG_X86_32=y\n", "of x86; modfs knows"),
        (HEAD.format("x86_64") + "CONFIG_SMP=y\n", "loads no modules"),
    ],
)
def test_what_is_no_configuration_for_modfs(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(UserError, match=told) as caught:
        read_kconfig(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_one_of_another_architecture_is_told(tmp_path: Path) -> None:
    kconfig = read_kconfig(written(tmp_path / "c", architecture="arm64"))
    kconfig.check_machine(EM_AARCH64, "it")
    kconfig.check_machine(None, "it")
    with pytest.raises(UserError, match="is the configuration of arm64; it is x86_64"):
        kconfig.check_machine(EM_X86_64, "it")


def test_what_is_not_followed_is_told(tmp_path: Path) -> None:
    options = [f"CONFIG_{row.option}=y" for row in UNFOLLOWED]
    told = list(read_kconfig(written(tmp_path / "c", *options)).unfollowed())
    assert len(told) == len(UNFOLLOWED)
    assert list(read_kconfig(written(tmp_path / "d")).unfollowed()) == []


@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/modules/7.3.4/config",
        "usr/lib/modules/7.3.4/build/.config",
        "usr/boot/config-7.3.4",
        "boot/config-7.3.4",
    ],
)
def test_a_tree_has_its_own(place: str, tmp_path: Path) -> None:
    tree = tmp_path / "usr/lib/modules/7.3.4"
    tree.mkdir(parents=True)
    assert find_kconfig(tree) is None
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    path = written(tmp_path / place)
    assert find_kconfig(tree) == path


@pytest.mark.parametrize(
    ("vermagic", "forces"),
    [
        ("6.12.107+deb13-amd64 SMP preempt mod_unload modversions ", True),
        ("7.3.4+deb13-arm64 SMP preempt mod_unload aarch64", True),
        ("6.12.117 SMP preempt mod_unload modversions ", False),
        (None, False),
    ],
)
def test_debians_kernels_can_be_forced(vermagic: str | None, forces: bool) -> None:
    config = as_distributed(Config(built_for=BuiltFor(vermagic)))
    assert (config.force_load, config.force_unload, config.ima_appraise) == (forces,) * 3
