"""What is damaged: the recorded files, and some of our own that have what those lack."""

from __future__ import annotations

import functools
import gzip
import lzma
import tarfile
from pathlib import Path
from typing import Any

import zstandard

from loader.config import EM_AARCH64, BuiltFor
from loader.image.built_for import learn_built_for
from loader.keyring import Keyring
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec

PROJECT = Path(__file__).parent.parent.parent
DATA = PROJECT / "tests/oracle/data"
_LARGEST = 100_000  # bytes: of a large file the fuzzers would see mostly the copying


@functools.cache
def recorded(archive: str) -> dict[str, bytes]:
    """The files of one archive in tests/oracle/data, by name."""
    with (
        (DATA / f"{archive}.tar.zst").open("rb") as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r|") as tar,
    ):
        members = ((member.name, tar.extractfile(member)) for member in tar)
        return {name: file.read() for name, file in members if file}


@functools.cache
def modules() -> tuple[bytes, ...]:
    """Unpacked modules, whole and damaged."""
    files = [data for name, data in recorded("files").items() if name.endswith(".ko")]
    real = [data for data in recorded("modules").values() if len(data) < _LARGEST]
    return (*dict.fromkeys(files), *real, *_made())


@functools.cache
def whole_modules() -> tuple[bytes, ...]:
    """Modules that nothing is wrong with, small ones."""
    files = recorded("files")
    names = ("ok_a.ko", "exporter.ko", "importer.ko", "percpu_jump.ko", "signed.ko", "noexit.ko")
    real = [data for data in recorded("modules").values() if len(data) < 20_000]
    return (*(files[name] for name in names), *real[:10], *_made())


def _made() -> tuple[bytes, ...]:
    parameters = (
        ParameterSpec("n", "int", default=5),
        ParameterSpec("list", "array of uint", max=4),
        ParameterSpec("text", "charp", default="abc"),
        ParameterSpec("words", "array of charp", max=3),
        ParameterSpec("buffer", "string", max=8),
        ParameterSpec("flag", "bool"),
    )
    specs = (
        ModuleSpec("made", parameters=parameters, exports=("give",), percpu=16, init_text=64),
        ModuleSpec("far", machine="aarch64", parameters=parameters[:2], imports=("take",)),
    )
    return tuple(build_module(spec) for spec in specs)


@functools.cache
def built_for() -> BuiltFor:
    """What the recorded kernel wants of a module."""
    return learn_built_for(whole_modules()[:4])


@functools.cache
def keyring() -> Keyring:
    """The recorded kernel's key."""
    return Keyring.load(DATA / "signing_key.x509")


MACHINES = (62, 62, 62, EM_AARCH64)


# -- packed ---------------------------------------------------------------------------------------


@functools.cache
def packed(kind: str) -> tuple[bytes, ...]:
    """Files packed as "zstd", "gzip" or "xz": the recorded ones, and all the ways to pack one."""
    suffix = {"zstd": ".zst", "gzip": ".gz", "xz": ".xz"}[kind]
    files = [data for name, data in recorded("files").items() if name.endswith(suffix)]
    plain = (recorded("files")["ok_a.ko"], bytes(9000), b"", recorded("modules")["fan.ko"])
    return (*files, *(one for data in plain for one in _WAYS[kind](data)))


def _zstd_ways(data: bytes) -> list[bytes]:
    options: tuple[dict[str, Any], ...] = (
        {"level": 1},
        {"level": 19},
        {"write_checksum": True},
        {"write_content_size": False},
    )
    return [zstandard.ZstdCompressor(**one).compress(data) for one in options]


def _gzip_ways(data: bytes) -> list[bytes]:
    plain = gzip.compress(data, 9, mtime=0)
    return [plain, gzip.compress(data, 0), plain[:3] + b"\x08" + plain[4:10] + b"n\0" + plain[10:]]


def _xz_ways(data: bytes) -> list[bytes]:
    lzma2: dict[str, Any] = {"id": lzma.FILTER_LZMA2, "preset": 1}
    chains = ([lzma2], [{"id": lzma.FILTER_X86}, lzma2], [{"id": lzma.FILTER_DELTA}, lzma2])
    made = [lzma.compress(data, check=lzma.CHECK_CRC32, filters=chain) for chain in chains]
    return [*made, lzma.compress(data, check=lzma.CHECK_NONE), lzma.compress(data)]


_WAYS = {"zstd": _zstd_ways, "gzip": _gzip_ways, "xz": _xz_ways}
