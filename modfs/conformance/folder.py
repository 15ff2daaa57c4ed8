"""Writes what was recorded as a folder that `modfs verify` takes whole (modfs.verify.folder)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from loader.image.contents import read_contents
from loader.image.elf import ElfError, ElfModule
from loader.image.elf_format import SHT_PROGBITS
from loader.image.signature import module_length
from loader.image.symvers import BOUNDS, EXPORT
from loader.kconfig import Kconfig
from loader.words import module_name
from modfs.conformance.abi import Abi
from modfs.conformance.answers import Answered, init_results
from modfs.conformance.files import Files

_LEVEL = 19
_LOADERS_OWN = frozenset(("ENOEXEC", "EEXIST", "EPERM", "ENOENT", "EINVAL", "EKEYREJECTED"))
# What a loader reads of a module besides its tables; all else of it are zeros in a recording.
_READ = frozenset(
    (".modinfo", "__versions", "__version_ext_crcs", "__version_ext_names", "__kflagstab",
     "__ksymtab_strings", "__kcrctab", "__kcrctab_gpl", ".gnu.linkonce.this_module")
)  # fmt: skip


@dataclass(slots=True)
class Recorded:
    """One kernel and all that it was asked. ``real``: its own modules by file name, unpacked.

    ``header``: of every transcript. ``config``: the kernel's configuration. ``symbols``: what the
    kernel itself exports, as Module.symvers or /proc/kallsyms has it.
    """

    abi: Abi
    files: Files
    header: dict[str, Any]
    real: Mapping[str, bytes] = field(default_factory=dict)
    performed: list[Answered] = field(default_factory=list)
    config: str = ""
    symbols: str = ""
    about: str = ""


def header(
    abi: Abi, kconfig: Kconfig | None, blacklist: Sequence[str], statistics: bool
) -> dict[str, Any]:
    """The first line of every transcript of one kernel."""
    told: dict[str, Any] = {
        "kernel": f"Linux {abi.release}",
        "release": abi.series,
        "machine": abi.machine,
        "blacklist": list(blacklist),
        "statistics": statistics,
    }
    if kconfig:
        told["compression"] = kconfig.compression
        for option in ("MODULE_FORCE_LOAD", "MODULE_FORCE_UNLOAD", "MODVERSIONS"):
            told[option.removeprefix("MODULE_").lower()] = kconfig.is_on(option)
    return told


def write_folder(folder: Path, recorded: Recorded) -> None:
    """Everything, and SHA256SUMS of it. OSError."""
    transcripts = folder / "transcripts"
    transcripts.mkdir(parents=True, exist_ok=True)
    for answered in recorded.performed:
        text = "".join(json.dumps(line) + "\n" for line in _transcript(answered, recorded))
        (transcripts / f"{answered.name}.jsonl").write_text(text, "utf-8")
        (transcripts / f"{answered.name}.kmsg").write_text(answered.log, "utf-8")
    _pack(folder / "files.tar.zst", recorded.files.contents)
    if recorded.real:
        _pack(folder / "modules.tar.zst", {n: skeleton(d) for n, d in recorded.real.items()})
        _write(folder / "modules.dep", _dependencies(recorded.real))
        _write(folder / "modules.symbols", _symbols(recorded.real))
        _write(folder / "modules.tsv", _sizes(recorded))
    init = recorded.files.init | init_results(recorded.performed, _LOADERS_OWN)
    _write(folder / "environment.json", json.dumps({"init": init}, indent=1) + "\n")
    if recorded.config:
        (folder / "kernel.config.gz").write_bytes(packed_text(recorded.config))
    if recorded.symbols:
        text = "".join(_of_use(recorded))
        exports = zstandard.ZstdCompressor(level=_LEVEL).compress(text.encode())
        (folder / "kernel.symbols.zst").write_bytes(exports)
    _write(folder / "README", recorded.about)
    _write(folder / "SHA256SUMS", "".join(_sums(folder)))


def packed_text(text: str) -> bytes:
    """By gzip; the same for the same text."""
    return gzip.compress(text.encode(), mtime=0)


def _of_use(recorded: Recorded) -> Iterator[str]:
    """The lines of what the kernel exports that any of the recorded modules has to do with, and
    where the tables begin and end."""
    modules = [*recorded.files.contents.values(), *recorded.real.values()]
    named = {name for module in modules for name in _names(module)}
    for line in recorded.symbols.splitlines():
        words = line.split()
        name = words[1] if line.startswith("0x") else words[2].removeprefix(EXPORT)
        if name in named or name in BOUNDS:
            yield line + "\n"


def _names(module: bytes) -> Iterator[str]:
    """The symbols that it imports or exports; of a file that is no module none."""
    with suppress(ElfError):
        contents = read_contents(_elf(module))
        yield from (export.name for export in contents.exports)
        yield from (need.name for need in contents.needs)


def _write(path: Path, text: str) -> None:
    if text:
        path.write_text(text, "utf-8")


def _transcript(answered: Answered, recorded: Recorded) -> Iterator[dict[str, Any]]:
    lines = answered.lines()
    yield {**recorded.header, **answered.about, "steps": len(lines)}
    yield from lines


def _pack(path: Path, contents: Mapping[str, bytes]) -> None:
    """A tar archive that is the same for the same contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in sorted(contents.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    path.write_bytes(zstandard.ZstdCompressor(level=_LEVEL).compress(buffer.getvalue()))


def _sums(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "SHA256SUMS":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f"{digest}  {path.relative_to(folder)}\n"


# -- the kernel's own modules ---------------------------------------------------------------------


def skeleton(module: bytes) -> bytes:
    """Without its code and data: what a loader reads is kept, and all lengths."""
    elf = _elf(module)
    data = bytearray(module)
    for index in range(1, elf.e_shnum):
        if elf.sh_type[index] == SHT_PROGBITS and elf.name(index) not in _READ:
            start, size = elf.sh_offset[index], elf.sh_size[index]
            data[start : start + size] = bytes(size)
    return bytes(data)


def _elf(module: bytes) -> ElfModule:
    elf = ElfModule(module, int.from_bytes(module[18:20], "little"), module_length(module))
    elf.cache_indices(None)
    return elf


def depends(module: bytes) -> list[str]:
    """Names of the modules that it says it needs."""
    return [
        name.replace("-", "_") for name in (_elf(module).tag("depends") or "").split(",") if name
    ]


def _dependencies(real: Mapping[str, bytes]) -> str:
    """modules.dep, as depmod writes it."""
    files = {module_name(name): name for name in real}

    def needed(name: str) -> list[str]:
        direct = [files[other] for other in depends(real[name]) if other in files]
        found = dict.fromkeys(direct)
        for other in direct:
            found |= dict.fromkeys(needed(other))
        return list(found)

    return "".join(f"{name}: {' '.join(needed(name))}".rstrip() + "\n" for name in sorted(real))


def _symbols(real: Mapping[str, bytes]) -> str:
    """modules.symbols: who exports what."""
    lines = [
        f"alias symbol:{export.name} {module_name(name)}\n"
        for name, data in sorted(real.items())
        for export in read_contents(_elf(data)).exports
    ]
    return "".join(lines)


def _sizes(recorded: Recorded) -> str:
    """modules.tsv: what was seen of each that was loaded and stayed."""
    rows = {}
    for answered in recorded.performed:
        cores: dict[str, str] = {}
        for step in answered.lines():
            if step.get("cat") == "/proc/modules":
                lines = (step["text"] or "").splitlines()
                cores |= {row[0]: row[1] for row in map(str.split, lines)}
        for step in answered.lines():
            file = str(step.get("file") or "").removeprefix("modules/")
            core = cores.get(module_name(file)) if file in recorded.real else None
            if step.get("result") == "OK" and core is not None:
                rows[file] = (
                    step.get("total_mod_size_delta"),
                    step.get("total_text_size_delta"),
                    core,
                )
    if not rows:
        return ""
    has_totals = all(row[0] is not None for row in rows.values())
    columns = ("total_mod_size", "total_text_size", "core_size")[0 if has_totals else 2 :]
    table = ["\t".join(("file", *columns))]
    for file, row in sorted(rows.items()):
        table.append("\t".join((file, *map(str, row[0 if has_totals else 2 :]))))
    return "\n".join(table) + "\n"
