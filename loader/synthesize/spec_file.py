"""Reads module specs from tables of TOML or JSON."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from loader.synthesize.sized import sized
from loader.synthesize.spec import ModuleSpec, ParameterSpec

# -- from TOML and JSON ---------------------------------------------------------------------------

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d+)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
_SIZED = ("total_size", "text_size")


def parse_size(value: object) -> int:
    """Bytes: a number, or text such as "16k", "2 MiB", "0x4c0". ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    if match := _SIZE.fullmatch(text):
        return int(match[1]) * _UNITS[match[2].lower()]
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{value!r} is no size: 4096, 16k, 2M and 0x4c0 are") from None


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, value)) if isinstance(value, list | tuple) else (_text(value),)


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no table")
    return value


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    return tuple((key, _text(text)) for key, text in _table(value).items())


def _parameters(value: object) -> tuple[ParameterSpec, ...]:
    found = []
    for name, given in _table(value).items():
        try:
            table = {"type": given} if isinstance(given, str) else _table(given)
            found.append(ParameterSpec(**_read({"name": name, **table}, ParameterSpec)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return tuple(found)


def _default(value: object) -> int | str:
    return value if isinstance(value, int | str) else _text(value)


# How a field is read, by its type in the dataclass.
_READ: dict[str, Callable[[object], object]] = {
    "int": parse_size,
    "int | None": parse_size,
    "int | str | None": _default,
    "bool": _boolean,
    "str": _text,
    "str | None": _text,
    "tuple[str, ...]": _texts,
    "tuple[tuple[str, str], ...]": _pairs,
    "tuple[ParameterSpec, ...]": _parameters,
}


def _read(mapping: Mapping[str, Any], kind: type, sizes: Iterable[str] = ()) -> dict[str, Any]:
    """The values of a table by the types of the dataclass ``kind``; ``sizes`` may be there too."""
    types: dict[str, Any] = {field.name: field.type for field in fields(kind)}
    types |= dict.fromkeys(sizes, "int")
    found = {}
    for key, value in mapping.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, 1)
            hint = f"is {near[0]} meant?" if near else f"known are {', '.join(types)}"
            raise ValueError(f"no field {key!r}; {hint}")
        try:
            found[key] = _READ[types[key]](value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return found


def spec_from(mapping: Mapping[str, Any]) -> ModuleSpec:
    """A spec from a table of TOML or JSON: ModuleSpec's fields by name, or those of its `sized`.

    Sizes may be text such as "16k". ``parameters`` is a table of name = type, or of name = a table
    with Parameter's fields; ``modinfo`` one of tag = value. ValueError says what is wrong.
    """
    name = mapping.get("name")
    if not isinstance(name, str):
        raise ValueError(f"a module without a name: {dict(mapping)}")
    try:
        values = _read(mapping, ModuleSpec, _SIZED)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    given = set(_SIZED) & set(values)
    if not given:
        return ModuleSpec(**values)
    if len(given) < len(_SIZED):
        raise ValueError(f"{name}: {' and '.join(_SIZED)} go together")
    return sized(**values)


def specs_from_toml(text: str) -> tuple[list[ModuleSpec], list[ModuleSpec]]:
    """The `[[module]]` and the `[[builtin]]` tables of a TOML file, each as `spec_from` reads it.

    ValueError (tomllib's own is one) says what is wrong.
    """
    document = tomllib.loads(text)
    for key in document:
        if key not in ("module", "builtin"):
            raise ValueError(f"no table {key!r}: there are [[module]] and [[builtin]]")
    lists = [document.get(key, []) for key in ("module", "builtin")]
    if not all(isinstance(tables, list) for tables in lists):
        raise ValueError("[[module]] and [[builtin]] have two brackets: there can be several")
    modules, builtin = ([spec_from(_table(table)) for table in tables] for tables in lists)
    return modules, builtin
