"""The JSON file that tells how init routines behave.

    {"init": {"nvme": {"seconds": "2 ms"}, "kvm_intel": {"returns": "EOPNOTSUPP"}}}

`modfs schema environment` tells of all fields.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import UNSET

from loader.documents.document import Count, Given, Table, about, by_name, given, read_json, schema
from loader.documents.kinds import ERRNOS, ModuleName, Seconds
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.errors import UserError
from loader.words import canonical, did_you_mean, shown

_LEAST = -4095  # -MAX_ERRNO (include/linux/err.h)
_MOST = 2**31 - 1


class Returned(int):
    """What an init routine returns: 0, a negative errno or a positive number."""

    wanted: ClassVar[str] = 'an errno such as "EIO", or a number'
    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "integer", "minimum": _LEAST, "maximum": _MOST},
            {"enum": ERRNOS},
        ]
    }

    @classmethod
    def read(cls, value: object) -> Returned:
        if isinstance(value, str):
            if value not in ERRNOS:
                raise UserError(f"{shown(value)} is no errno{did_you_mean(value, ERRNOS)}")
            return cls(-getattr(errno, value))
        if not isinstance(value, int) or isinstance(value, bool) or not _LEAST <= value <= _MOST:
            raise UserError(f"{cls.wanted} is needed, not {shown(value)}")
        return cls(value)


class Condition(str):
    """NAME=TEXT of a parameter."""

    __slots__ = ()
    wanted: ClassVar[str] = 'a parameter and its text such as "debug=1"'
    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[^=]+="}

    @classmethod
    def read(cls, value: object) -> Condition:
        name, equals, text = value.partition("=") if isinstance(value, str) else ("", "", "")
        if not (name and equals):
            raise UserError(f"{cls.wanted} is needed, not {shown(value)}")
        return cls(f"{canonical(name)}={text}")


class RoutineTable(Table):
    """One module's init routine."""

    seconds: Given[Annotated[Seconds, about("How long it takes.")]] = UNSET
    returns: Given[
        Annotated[Returned, about("An errno's name, a negative errno or a positive number.")]
    ] = UNSET
    when: Given[Annotated[Condition, about("It returns that only with this parameter.")]] = UNSET
    unless_loaded: Given[
        Annotated[
            tuple[ModuleName, ...],
            about("It returns that only while none of these modules is loaded."),
        ]
    ] = UNSET
    references: Given[
        Annotated[Count, about("References that are then held on the module itself.")]
    ] = UNSET
    holds: Given[
        Annotated[tuple[ModuleName, ...], about("Other modules, on each of which it holds one.")]
    ] = UNSET


class EnvironmentTable(Table):
    """The whole file."""

    init: Annotated[dict[str, RoutineTable], about("Init routines by their modules' names.")]
    comment: Annotated[str, about("For people.")] = ""


def environment_schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    return schema("environment", "How init routines behave (JSON).", EnvironmentTable)


def read_init_routines(path: Path | str) -> InitRoutines:
    """The init routines that a JSON file describes. OSError: cannot be read. UserError: none."""
    return read_json(path).read(EnvironmentTable, _routines)


def _routines(table: EnvironmentTable) -> InitRoutines:
    return InitRoutines(by_name(table.init, "init", lambda _, one: InitRoutine(**given(one))))
