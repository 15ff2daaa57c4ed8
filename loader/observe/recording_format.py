"""The format of recordings: a line of each kind, and the JSON Schema of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from loader.documents.document import Table, about, schema
from loader.errors import UserError
from loader.observe.call import OUTCOMES, PHASES
from loader.observe.gaps import GAPS
from loader.words import shown


class Outcome(str):
    """What a call came to."""

    __slots__ = ()
    wanted: ClassVar[str] = f"one of {', '.join(OUTCOMES)}"
    schema: ClassVar[dict[str, Any]] = {"enum": list(OUTCOMES)}

    @classmethod
    def read(cls, value: object) -> Outcome:
        return cls(_one_of(value, OUTCOMES))


class GapName(str):
    """A kind of what is not known."""

    __slots__ = ()
    wanted: ClassVar[str] = f"one of {', '.join(GAPS)}"
    schema: ClassVar[dict[str, Any]] = {"enum": list(GAPS)}

    @classmethod
    def read(cls, value: object) -> GapName:
        return cls(_one_of(value, GAPS))


def _one_of(value: object, known: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise UserError(f"one of {', '.join(known)} is needed, not {shown(value)}")
    return value


_Call = Literal["finit_module", "init_module", "delete_module"]
_N = Annotated[int, Meta(ge=0, description="The event after which it was so, counted from 1.")]


class HeaderTable(Table, omit_defaults=True):
    """The first line: what was recorded."""

    recording: Annotated[Literal[1], about("The format's version.")]
    release: Annotated[str | None, about("As uname -r has it; null: not known.")] = None
    since: Annotated[str | None, about("The release that it has at least, by its functions.")] = (
        None
    )
    source: Annotated[
        Literal["trace", "live", "engine", "simulation"],
        about("A text, the kernel itself, an engine of modfs, or one in virtual time."),
    ] = "trace"
    machine: Annotated[str | None, about("As uname -m has it.")] = None
    clock: Annotated[str | None, about("The trace's clock.")] = None
    began: Annotated[float | None, about("Seconds since 1970.")] = None
    definitions: Annotated[tuple[str, ...], about("The probes that were there.")] = ()
    without: Annotated[tuple[str, ...], about("Features of the release that it has not.")] = ()


class TaskTable(Table, omit_defaults=True):
    """Who."""

    name: Annotated[str, about("The task's name.")]
    tid: Annotated[int, about("Its number.")]
    parent: Annotated[int | None, about("Its parent's number.")] = None
    command: Annotated[str | None, about("Its command line.")] = None
    exe: Annotated[str | None, about("Its program.")] = None
    uid: Annotated[int | None, about("Its user.")] = None
    unit: Annotated[str | None, about("Its unit, or its control group.")] = None


class FileTable(Table, omit_defaults=True):
    """The file that was read."""

    name: Annotated[str | None, about("Its name, without folders.")] = None
    dev: Annotated[int | None, about("The device, as the kernel's dev_t.")] = None
    ino: Annotated[int | None, about("The inode.")] = None
    size: Annotated[int | None, about("Bytes.")] = None


class CallTable(Table, omit_defaults=True):
    """A system call about modules. What was not seen is not there."""

    n: _N
    call: Annotated[_Call, about("Which.")]
    task: Annotated[TaskTable, about("Who made it.")]
    outcome: Annotated[Outcome, about("What it came to, as far as the statistics go.")]
    begin: Annotated[float | None, about("Seconds by the clock.")] = None
    end: Annotated[float | None, about("Seconds by the clock.")] = None
    result: Annotated[str | None, about("OK, or the errno's name, or its number.")] = None
    flags: Annotated[int | None, about("As the call has them.")] = None
    params: Annotated[str | None, about("The module's parameters, where they could be read.")] = (
        None
    )
    file: Annotated[FileTable | None, about("What was read.")] = None
    argument: Annotated[int | None, about("Bytes given to init_module.")] = None
    read: Annotated[int | None, about("Bytes read, or a negative errno.")] = None
    length: Annotated[int | None, about("Bytes without signature, unpacked.")] = None
    clen: Annotated[int | None, about("Bytes of the compressed file.")] = None
    module: Annotated[str | None, about("The module's name.")] = None
    taints: Annotated[str, about("Its taints' letters.")] = ""
    memory: Annotated[
        tuple[tuple[int | None, int], ...], about("Type (enum execmem_type; null) and bytes.")
    ] = ()
    phases: Annotated[
        dict[str, float], about(f"When it got where, by the clock: {', '.join(PHASES)}.")
    ] = msgspec.field(default_factory=dict)
    duplicate: Annotated[bool, about("A module of that name was there or on its way.")] = False
    duplicate_n: Annotated[int | None, about("The event at which that was noticed.")] = None
    asked_by: Annotated[str | None, about("The kernel's request that modprobe runs for.")] = None
    gaps: Annotated[tuple[GapName, ...], about("What is not known of it.")] = ()
    alias: Annotated[str | None, about("What was asked for, if not the module's name.")] = None
    device: Annotated[str | None, about("The device for which it was asked.")] = None
    waited: Annotated[float, about("Seconds that it waited for another load.")] = 0.0
    waited_for: Annotated[int | None, about("The task that made the other load.")] = None
    peak: Annotated[int | None, about("Bytes that it held at most at one moment.")] = None
    reason: Annotated[str | None, about("Why it failed.")] = None


class MomentTable(Table, omit_defaults=True):
    """A moment that was marked."""

    n: _N
    moment: Annotated[str, about("Its name.")]
    at: Annotated[float, about("Seconds by the clock.")] = 0.0


class RequestTable(Table, omit_defaults=True):
    """The kernel asked for a module itself."""

    n: _N
    request: Annotated[str, about("The name it asked for.")]
    task: Annotated[TaskTable, about("In whose context.")]
    at: Annotated[float, about("Seconds by the clock.")] = 0.0
    wait: Annotated[bool | None, about("It waits for the answer.")] = None
    function: Annotated[str | None, about("The function that asked.")] = None
    result: Annotated[int | None, about("0, modprobe's status, or a negative errno.")] = None
    end: Annotated[float | None, about("Seconds by the clock.")] = None
    slot_wait: Annotated[float | None, about("Seconds that it waited for a place.")] = None


class LostTable(Table):
    """Something was not seen."""

    n: _N
    lost: Annotated[GapName, about("What.")]
    count: Annotated[int, Meta(ge=1, description="How often.")] = 1


class BeforeTable(Table, omit_defaults=True):
    """A module that was there before."""

    before: Annotated[str, about("Its name.")]
    size: Annotated[int, about("Bytes, as /proc/modules has them.")] = 0
    taints: Annotated[str, about("Its taints' letters.")] = ""


class TextTable(Table, omit_defaults=True):
    """A text of the kernel's own statistics."""

    cat: Annotated[Literal["stats", "unloaded_tainted"], about("Which file.")]
    text: Annotated[str, about("What was in it.")]
    moment: Annotated[str | None, about("When; else at the end.")] = None


class EndTable(Table, omit_defaults=True):
    """The last line: the recording is whole."""

    end: Annotated[int, Meta(ge=0, description="How many calls, requests, moments, losses.")]
    events: Annotated[int, about("How many events they came of.")] = 0


TABLES: dict[str, type[Table]] = {
    "cat": TextTable,  # before the moments: it may name one
    "call": CallTable,
    "moment": MomentTable,
    "request": RequestTable,
    "lost": LostTable,
    "before": BeforeTable,
    "end": EndTable,
}


def recording_schema() -> dict[str, Any]:
    """The JSON Schema of a line."""
    told = "A line of a recording (JSON lines): what was seen of a kernel's module loads."
    return schema("recording", told, HeaderTable, *TABLES.values())
