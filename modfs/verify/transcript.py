"""Transcripts: what a booted kernel answered, step by step (JSON lines).

The first line is a header that describes the kernel; each other line is one step: a system call
with its result, or a file that was read with its text. `modfs schema transcript` tells of all
fields.

    {"release": "6.12", "without": [], "compression": "zstd"}
    {"op": "finit_module", "file": "files/ok_a.ko", "result": "OK"}
    {"cat": "failed_decompress", "text": "0\\n"}
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta

from loader.calls import Call, DeleteModule, FinitModule, InitModule
from loader.documents.document import (
    Count,
    Document,
    Flags,
    Given,
    Mistake,
    Positive,
    Table,
    about,
    given,
    read_json_lines,
    schema,
    within,
)
from loader.documents.kinds import ERRNOS, Compression, Feature, KernelRelease
from loader.errors import UserError
from loader.words import did_you_mean, shown


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
    """A file that was read: a name in /sys/kernel/debug/modules, or an absolute path.

    ``text`` None: there was no such file.
    """

    path: str
    text: str | None

    def __str__(self) -> str:
        return f"cat {self.path}"


Step = CallStep | Cat


@dataclass(frozen=True, slots=True)
class Transcript:
    """One recording: the kernel's settings, and its steps in order from a fresh boot.

    ``machine``: as uname -m has it, empty where the recording does not say. None: it does not say
    whether the kernel was configured so.
    """

    path: Path
    release: str
    without: tuple[str, ...]
    compression: str
    steps: tuple[Step, ...]
    machine: str = ""
    force_load: bool | None = None
    force_unload: bool | None = None
    blacklist: tuple[str, ...] = ()
    modversions: bool | None = None

    @classmethod
    def load(cls, path: Path) -> Transcript:
        """Read a transcript. OSError: cannot be read. UserError: not of the format."""
        lines = read_json_lines(path)
        header = _header(lines, path)
        steps = tuple(line.read(_kind(line), _step) for line in lines)
        if not steps:
            raise UserError(f"{path}: there is no step in it")
        return cls(
            path,
            header.release,
            header.without,
            header.compression or "",
            steps,
            header.machine or "",
            header.force_load,
            header.force_unload,
            header.blacklist,
            header.modversions,
        )


def counted(results: Mapping[str, int]) -> str:
    """A histogram of results as text: "OK", or "EEXIST x 15, OK x 1"."""
    if list(results.values()) == [1]:
        return next(iter(results))
    return ", ".join(f"{name} x {count}" for name, count in sorted(results.items()))


# -- the format -----------------------------------------------------------------------------------


class Result(str):
    """What a system call gave."""

    __slots__ = ()
    wanted: ClassVar[str] = 'OK or an errno such as "EEXIST"'
    schema: ClassVar[dict[str, Any]] = {"enum": ["OK", *ERRNOS]}

    @classmethod
    def read(cls, value: object) -> Result:
        if not isinstance(value, str) or value not in ("OK", *ERRNOS):
            near = did_you_mean(value, ERRNOS) if isinstance(value, str) else ""
            raise UserError(f"{cls.wanted} is needed, not {shown(value)}{near}")
        return cls(value)


class Access(str):
    """How a file is opened."""

    __slots__ = ()
    wanted: ClassVar[str] = "a flag of open such as O_RDONLY"
    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^O_[A-Z]+$"}

    @classmethod
    def read(cls, value: object) -> Access:
        is_flag = isinstance(value, str) and value.startswith("O_")
        if not is_flag or not isinstance(getattr(os, str(value), None), int):
            raise UserError(f"{cls.wanted} is needed, not {shown(value)}")
        return cls(str(value))


class HeaderTable(Table, forbid_unknown_fields=False):
    """The first line: which kernel was recorded. A recorder may tell more of it."""

    release: Annotated[KernelRelease, about("Its release.")]
    without: Annotated[tuple[Feature, ...], about("Features that were taken away.")] = ()
    compression: Annotated[Compression | None, about("What it unpacks itself.")] = None
    machine: Annotated[Literal["x86_64", "aarch64"] | None, about("As uname -m has it.")] = None
    force_load: Annotated[bool | None, about("CONFIG_MODULE_FORCE_LOAD.")] = None
    force_unload: Annotated[bool | None, about("CONFIG_MODULE_FORCE_UNLOAD.")] = None
    modversions: Annotated[bool | None, about("CONFIG_MODVERSIONS.")] = None
    blacklist: Annotated[
        tuple[str, ...], about("The boot option module_blacklist, letter by letter.")
    ] = ()
    format: Annotated[Literal[1], about("The version of this format.")] = 1
    kernel: Annotated[str, about("For people.")] = ""
    steps: Annotated[Count, about("For people: how many steps there are.")] = 0


_Descriptor = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_Length = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Growth = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class CallTable(Table):
    """A system call and its result; with ``threads`` that many at once and all their results."""

    op: Annotated[
        Literal["finit_module", "init_module", "delete_module"], about("Which system call.")
    ]
    file: Annotated[str | None, about("Of finit_module or init_module: files/X, modules/X.")] = None
    address: Annotated[Literal["unmapped"] | None, about("Of init_module without a file.")] = None
    fd: Annotated[_Descriptor | None, about("Of finit_module without a file.")] = None
    len: Annotated[_Length | None, about("Of init_module: bytes; null: all of the file.")] = None
    name: Annotated[str | None, about("Of delete_module, as the kernel was given it.")] = None
    flags: Annotated[Flags, about("Of finit_module or delete_module.")] = 0
    params: Annotated[str, about("The module's parameters.")] = ""
    open: Given[Annotated[Access, about("How the file was opened; else O_RDONLY.")]] = UNSET
    result: Given[Annotated[Result, about("OK, or the errno's name.")]] = UNSET
    threads: Annotated[Count, about("How many made the call at once.")] = 0
    files: Annotated[tuple[str, ...], about("Of threads: they take turns with these.")] = ()
    results: Given[
        Annotated[dict[str, Positive], about("Of threads: how often each result came.")]
    ] = UNSET
    total_mod_size_delta: Given[Annotated[_Growth, about("Bytes.")]] = UNSET
    total_text_size_delta: Given[Annotated[_Growth, about("Bytes; goes with the other.")]] = UNSET


class CatTable(Table):
    """A file that was read."""

    cat: Annotated[str, about("A name in /sys/kernel/debug/modules, or an absolute path.")]
    text: Annotated[str | None, about("What was in it; null: there was no such file.")]


def transcript_schema() -> dict[str, Any]:
    """The JSON Schema of a line."""
    told = "A line of a transcript (JSON lines): the kernel, a system call, or a file."
    return schema("transcript", told, HeaderTable, CallTable, CatTable)


def _kind(line: Document) -> type[CallTable] | type[CatTable]:
    is_cat = isinstance(line.value, dict) and "cat" in line.value
    return CatTable if is_cat else CallTable


# -- what it means --------------------------------------------------------------------------------


def _header(lines: Iterator[Document], path: Path) -> HeaderTable:
    for line in lines:
        return line.read(HeaderTable, lambda table: table)
    raise UserError(f"{path}: there is no header in it")


def _step(table: CallTable | CatTable) -> Step:
    if isinstance(table, CatTable):
        return Cat(table.cat, table.text)
    values = given(table)
    if table.threads and not table.files:
        raise Mistake("threads need files")
    if table.op == "finit_module" and not table.threads and table.file is None and table.fd is None:
        raise Mistake("there is neither file nor fd")
    if table.op == "delete_module" and table.name is None:
        raise Mistake("there is no name")
    return CallStep(
        op=table.op,
        file=table.file,
        results=_results(table),
        flags=table.flags,
        params=table.params,
        access=values.get("open", "O_RDONLY"),
        fd=table.fd,
        length=table.len,
        name=table.name or "",
        threads=table.threads,
        files=table.files,
        deltas=_deltas(values),
    )


def _results(table: CallTable) -> dict[str, int]:
    wanted = "results" if table.threads else "result"
    found = given(table).get(wanted)
    if not found:
        raise Mistake(f"there is no {wanted}")
    if not isinstance(found, dict):
        return {found: 1}
    for name in found:
        with within(wanted):
            Result.read(name)
    return found


def _deltas(values: Mapping[str, Any]) -> tuple[int, int] | None:
    found = [values.get(f"total_{kind}_size_delta") for kind in ("mod", "text")]
    if found == [None, None]:
        return None
    if None in found:
        raise Mistake("total_mod_size_delta and total_text_size_delta go together")
    return found[0], found[1]  # type: ignore[return-value]
