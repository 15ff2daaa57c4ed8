"""Kinds of values that people write: how each is read, what it is called, and its JSON Schema.

loader.documents.document reads a field of one of these types by its ``read``. To mypy a size is an
int and a name a str, as for all who use them afterwards.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

from loader import packings
from loader.config import MODULE_NAME_LEN
from loader.errors import UserError
from loader.release import FEATURES, RELEASES, release
from loader.words import (
    RATE_WANTED,
    SIZE_WANTED,
    TIME_WANTED,
    canonical,
    module_or_alias,
    parse_rate,
    parse_seconds,
    parse_size,
    shown,
)

Schema = dict[str, Any]
ERRNOS = sorted(name for name in dir(errno) if name.startswith("E"))
"""Names of errnos; some numbers have two, as EAGAIN."""


def _number_or_text(examples: list[Any]) -> Schema:
    number = {"type": "number", "minimum": 0}
    return {"anyOf": [number, {"type": "string"}], "examples": examples}


class Size(int):
    """Bytes."""

    wanted: ClassVar[str] = SIZE_WANTED
    schema: ClassVar[Schema] = _number_or_text([4096, "16k", "20 MB", "1.5 GiB", "0x4c0"])

    @classmethod
    def read(cls, value: object) -> Size:
        return cls(parse_size(value))


class FileSize(Size):
    """Bytes of a module's file or of a part of it: the kernel reads no file above INT_MAX."""

    most: ClassVar[int] = 2**31 - 1

    @classmethod
    def read(cls, value: object) -> FileSize:
        size = parse_size(value)
        if size > cls.most:
            raise UserError(f"at most {cls.most} bytes are possible, not {shown(value)}")
        return cls(size)


class Seconds(float):
    """A time."""

    wanted: ClassVar[str] = TIME_WANTED
    schema: ClassVar[Schema] = _number_or_text([0.002, "2 ms", "100 us"])

    @classmethod
    def read(cls, value: object) -> Seconds:
        return cls(parse_seconds(value))


class Rate(float):
    """Bytes a second, more than 0."""

    wanted: ClassVar[str] = RATE_WANTED
    schema: ClassVar[Schema] = {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}],
        "examples": [2e9, "900 MB/s"],
    }

    @classmethod
    def read(cls, value: object) -> Rate:
        return cls(parse_rate(value))


def _text(value: object, wanted: str) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{wanted} is needed, not {shown(value)}")
    return value


class ModuleName(str):
    """A module's name as the kernel spells it; `-` may be written for `_`."""

    __slots__ = ()
    wanted: ClassVar[str] = "a module's name"
    schema: ClassVar[Schema] = {"type": "string", "minLength": 1, "examples": ["crc32c_intel"]}

    @classmethod
    def read(cls, value: object) -> ModuleName:
        name = canonical(_text(value, cls.wanted))
        if len(name) >= MODULE_NAME_LEN or "/" in name:
            raise UserError(f"no module can have the name {shown(value)}")
        return cls(name)


class ModuleOrAlias(str):
    """A module's name, or a modalias: what has a colon."""

    __slots__ = ()
    wanted: ClassVar[str] = "a module's name or a modalias"
    schema: ClassVar[Schema] = {"type": "string", "minLength": 1, "examples": ["nvme", "pci:v*"]}

    @classmethod
    def read(cls, value: object) -> ModuleOrAlias:
        return cls(module_or_alias(_text(value, cls.wanted)))


class KernelRelease(str):
    """A kernel release that the engine can be."""

    __slots__ = ()
    wanted: ClassVar[str] = f"a kernel release such as {RELEASES[-1]} (text)"
    schema: ClassVar[Schema] = {
        "type": "string",
        "pattern": r"^[0-9]+\.[0-9]+",
        "examples": [*RELEASES, "6.12.9-amd64"],
    }

    @classmethod
    def read(cls, value: object) -> KernelRelease:
        name = _text(value, cls.wanted)
        release(name)
        return cls(name)


class Feature(str):
    """What a kernel can be told to do without."""

    __slots__ = ()
    wanted: ClassVar[str] = f"one of {', '.join(FEATURES)}"
    schema: ClassVar[Schema] = {"enum": list(FEATURES)}

    @classmethod
    def read(cls, value: object) -> Feature:
        name = _text(value, cls.wanted)
        release(without=(name,))
        return cls(name)


class Compression(str):
    """How module files are packed."""

    __slots__ = ()
    wanted: ClassVar[str] = f"one of {', '.join(packings.NAMES)}"
    schema: ClassVar[Schema] = {"enum": sorted({*packings.NAMES, *packings.SUFFIXES})}

    @classmethod
    def read(cls, value: object) -> Compression:
        packing = packings.named(_text(value, cls.wanted))
        return cls(packing.name if packing else packings.NOT_PACKED)
