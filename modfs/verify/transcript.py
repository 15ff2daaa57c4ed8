"""Transcripts: what a booted kernel answered, step by step (JSON lines).

The first line is a header that describes the kernel; each other line is one step: a system call
with its result, or a file that was read with its text. See tests/oracle/data/README.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loader.calls import Call, DeleteModule, FinitModule, InitModule


class TranscriptError(ValueError):
    """Not a transcript; the message says where."""


@dataclass(frozen=True, slots=True)
class CallStep:
    """A system call. ``file`` None: see ``fd`` (a bare descriptor) or an unmapped address.

    ``results``: how often each result came; one call has one. ``deltas``: what it added to
    total_mod_size and total_text_size in bytes, None where that was not recorded.
    """

    op: str
    file: str | None
    results: Mapping[str, int]
    flags: int = 0
    params: str = ""
    access: str = "O_RDONLY"
    fd: int | None = None
    length: int | None = None
    name: str = ""
    threads: int = 0
    files: tuple[str, ...] = ()
    deltas: tuple[int, int] | None = None

    def on(self, path: Path | None) -> Call:
        """The call itself; ``path`` is where its file is, None if it has none."""
        if self.op == "delete_module":
            return DeleteModule(self.name, self.flags)
        place = None if path is None else str(path)
        if self.op == "init_module":
            return InitModule(place, self.params, self.length)
        if place is None:
            return FinitModule(-1 if self.fd is None else self.fd, self.params, self.flags)
        return FinitModule(place, self.params, self.flags, getattr(os, self.access))

    @property
    def expected(self) -> str:
        """The results as text."""
        return counted(self.results)

    def __str__(self) -> str:
        what = self.file or self.name or (f"fd {self.fd}" if self.fd is not None else "")
        if self.threads:
            what = f"{self.threads} threads on {self.files[0]}"
            what += f" … {self.files[-1]}" if len(self.files) > 1 else ""
        elif self.op == "init_module" and self.file is None:
            what = f"unmapped address, {self.length} bytes"
        elif self.length is not None:
            what += f", {self.length} bytes"
        flags = f" flags={self.flags}" if self.flags else ""
        params = f" {self.params}" if self.params else ""
        return f"{self.op} {what}{flags}{params}"


@dataclass(frozen=True, slots=True)
class Cat:
    """A file that was read: a name in /sys/kernel/debug/modules, or an absolute path."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"cat {self.path}"


Step = CallStep | Cat


@dataclass(frozen=True, slots=True)
class Transcript:
    """One recording: the kernel's settings, and its steps in order from a fresh boot."""

    path: Path
    release: str
    without: tuple[str, ...]
    compression: str
    steps: tuple[Step, ...]

    @classmethod
    def load(cls, path: Path) -> Transcript:
        """Read a transcript. OSError: cannot be read. TranscriptError: not of the format."""
        lines = path.read_text().splitlines()
        number = 1  # of the line at hand, for the message
        try:
            header = json.loads(lines[0])
            steps = []
            for line in lines[1:]:
                number += 1
                steps.append(_step(json.loads(line)))
            number = 1
            return cls(
                path,
                str(header.get("release", "")),
                tuple(header.get("without", ())),
                str(header.get("compression", "")),
                tuple(steps),
            )
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            problem = f"{path}, line {number}: not a step of a transcript: {error}"
            raise TranscriptError(problem) from None


def counted(results: Mapping[str, int]) -> str:
    """A histogram of results as text: "OK", or "EEXIST x 15, OK x 1"."""
    if list(results.values()) == [1]:
        return next(iter(results))
    return ", ".join(f"{name} x {count}" for name, count in sorted(results.items()))


def _step(step: Mapping[str, Any]) -> Step:
    if "cat" in step:
        return Cat(step["cat"], step["text"])
    op = step["op"]
    if op not in ("finit_module", "init_module", "delete_module"):
        raise ValueError(f"unknown op {op!r}")
    deltas = None
    if "total_mod_size_delta" in step:
        deltas = (int(step["total_mod_size_delta"]), int(step["total_text_size_delta"]))
    threads = int(step.get("threads", 0))
    if not threads and "file" not in step and op == "finit_module" and "fd" not in step:
        raise ValueError("neither file nor fd")
    return CallStep(
        op=op,
        file=step.get("file"),
        results=dict(step["results"]) if threads else {step["result"]: 1},
        flags=int(step.get("flags", 0)),
        params=step.get("params", ""),
        access=_access(step.get("open", "O_RDONLY")),
        fd=step.get("fd"),
        length=step.get("len"),
        name=step.get("name", ""),
        threads=threads,
        files=tuple(step.get("files", ())),
        deltas=deltas,
    )


def _access(name: str) -> str:
    if not name.startswith("O_") or not isinstance(getattr(os, name, None), int):
        raise ValueError(f"no way to open a file: {name!r}")
    return name
