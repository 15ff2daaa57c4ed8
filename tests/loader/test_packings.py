"""Formats of packed modules, written and read by other programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from loader.errors import UserError
from loader.packings import (
    MAGIC_BYTES,
    PACKINGS,
    SUFFIXES,
    Packing,
    by_magic,
    by_suffix,
    compress,
    named,
    read_module,
)

DATA = bytes(range(256)) * 300
PROGRAMS = {"zstd": "zstd", "gzip": "gzip", "xz": "xz"}
EACH = pytest.mark.parametrize("packing", PACKINGS, ids=[one.name for one in PACKINGS])


def program(packing: Packing, *options: str, data: bytes) -> bytes:
    name = PROGRAMS[packing.name]
    if shutil.which(name) is None:
        pytest.skip(f"{name} is missing")
    return subprocess.run([name, *options], input=data, capture_output=True, check=True).stdout


@EACH
def test_programs_read_what_is_written_here(packing: Packing) -> None:
    packed = compress(DATA, packing)
    assert len(packed) < len(DATA)
    assert program(packing, "-d", "-c", data=packed) == DATA


@EACH
def test_what_programs_write_is_known_and_read(packing: Packing, tmp_path: Path) -> None:
    packed = program(packing, "-c", data=DATA)
    path = tmp_path / f"m.ko{packing.suffix}"
    path.write_bytes(packed)
    assert by_magic(packed[:MAGIC_BYTES]) is by_suffix(path) is packing
    assert read_module(path) == DATA
    path.rename(tmp_path / "no suffix")
    assert read_module(tmp_path / "no suffix", packing) == DATA


@EACH
def test_names(packing: Packing) -> None:
    suffix = packing.suffix.removeprefix(".")
    assert named(packing.name) is named(suffix) is packing
    assert suffix in SUFFIXES


def test_the_same_bytes_each_time() -> None:
    for packing in (*PACKINGS, None):
        assert compress(DATA, packing) == compress(DATA, packing)


def test_not_packed(tmp_path: Path) -> None:
    assert named("none") is named(None) is by_suffix("m.ko") is by_magic(b"\x7fELF\x02\x01") is None
    assert compress(DATA, None) == DATA
    (tmp_path / "m.ko").write_bytes(DATA)
    assert read_module(tmp_path / "m.ko") == DATA


@pytest.mark.parametrize("name", ["lz4", "", "ZSTD", ".zst"])
def test_what_is_none(name: str) -> None:
    with pytest.raises(UserError, match="known are zstd, gzip, xz, none"):
        named(name)


@EACH
@pytest.mark.parametrize("cut", [0, 3, 20, -1])
def test_what_cannot_be_read_is_empty(packing: Packing, cut: int, tmp_path: Path) -> None:
    """One byte less than the whole is enough for gzip and xz; zstd gives what came out."""
    path = tmp_path / f"m.ko{packing.suffix}"
    path.write_bytes(compress(DATA, packing)[:cut])
    found = read_module(path)
    assert found == b"" or (packing.name == "zstd" and DATA.startswith(found))


@EACH
def test_what_is_no_file_or_another_format(packing: Packing, tmp_path: Path) -> None:
    path = tmp_path / f"m.ko{packing.suffix}"
    assert read_module(path) == b""
    path.mkdir()
    assert read_module(path) == b""
    (tmp_path / "other").write_bytes(b"no such format" * 9)
    assert read_module(tmp_path / "other", packing) == b""
