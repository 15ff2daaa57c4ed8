"""A folder that holds the recordings of one kernel, with all that a replay of them needs.

    transcripts/**/*.jsonl     what was asked and answered
    files.tar.zst, modules.tar.zst, modules.dep, modules.symbols
    environment.json           how init routines behaved
    signing_key.x509           the kernel's certificate
    kernel.config[.gz]         its configuration
    kernel.symbols[.zst]       what the kernel itself exports: Module.symvers or /proc/kallsyms
    modules.tsv                the memory that each module took (modfs.verify.sizes)

Only transcripts or modules.tsv must be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loader.errors import UserError


@dataclass(frozen=True, slots=True)
class Recordings:
    """Transcripts of one kernel, and what is there besides. ``sizes``: modules.tsv."""

    transcripts: tuple[Path, ...] = ()
    files: Path | None = None
    modules: Path | None = None
    environment: Path | None = None
    keys: tuple[Path, ...] = ()
    config: Path | None = None
    sizes: Path | None = None
    symbols: Path | None = None


def read_folder(folder: Path) -> Recordings:
    """What is in it. UserError: nothing that can be replayed."""
    transcripts = tuple(sorted((folder / "transcripts").rglob("*.jsonl")))
    sizes = _first(folder, "modules.tsv")
    if not transcripts and not sizes:
        raise UserError(f"{folder} holds no recordings: neither transcripts/ nor modules.tsv")
    key = _first(folder, "signing_key.x509")
    return Recordings(
        transcripts,
        _first(folder, "files.tar.zst", "files"),
        _first(folder, "modules.tar.zst", "modules"),
        _first(folder, "environment.json"),
        (key,) if key else (),
        _first(folder, "kernel.config", "kernel.config.gz"),
        sizes,
        _first(folder, "kernel.symbols", "kernel.symbols.zst"),
    )


def _first(folder: Path, *names: str) -> Path | None:
    return next((path for name in names if (path := folder / name).exists()), None)
