"""What is wrong with a document that msgspec does not take: where in it, what, and what would do.

msgspec says in English what it found first. Of that only the kind of mistake and the place are
used; the words come from the types of the format.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from loader.documents.places import Path
from loader.words import did_you_mean, shown

_MISSING = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN = "Object contains unknown field `"
_PLACE = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|(\[\.\.\.\])")


def read_kind(kind: type, value: object) -> Any:
    """A value of one of the types of .kinds, or of another such: msgspec's dec_hook."""
    return kind.read(value)  # type: ignore[attr-defined]


def explained(error: msgspec.ValidationError, value: Any, kind: Any) -> tuple[Path, str]:
    """The path and the problem, if ``error`` came of converting ``value`` to ``kind``."""
    message = str(error)
    # A key may look like the place that a message ends with; of the outermost table it has none.
    is_outermost = isinstance(value, dict) and any(message == f"{_UNKNOWN}{key}`" for key in value)
    place = None if is_outermost else _PLACE.search(message)
    path = _path(place[1] if place else "", message, value, kind)
    cause = error.__cause__
    if isinstance(cause, ValueError):
        return (*path, *getattr(cause, "path", ())), str(cause)
    expected, found = _within(inspect.type_info(kind), path), _at(value, path)
    if missing := _MISSING.match(message):
        wanted = _wanted(_within(expected, (missing[1],)))
        return path, f"{missing[1]} is missing: {wanted} is needed"
    if message.startswith(_UNKNOWN) and isinstance(found, dict):
        return _unknown(path, found, [field.encode_name for field in _fields(expected)])
    return path, f"{_wanted(expected)} is needed, not {shown(found)}{_hint(expected, found, path)}"


def _unknown(path: Path, found: dict[str, Any], known: list[str]) -> tuple[Path, str]:
    key = next((key for key in found if key not in known), "")
    near = did_you_mean(key, known) or f"; known are {', '.join(known)}"
    return (*path, key), f"is not known{near}"


def _hint(expected: Any, found: Any, path: Path) -> str:
    if isinstance(expected, inspect.LiteralType) and isinstance(found, str):
        return did_you_mean(found, map(str, expected.values))
    if _is_list_of_tables(expected) and isinstance(found, dict):
        return f"; in TOML its tables start with [[{path[-1]}]]"
    return ""


def _path(place: str, message: str, value: Any, kind: Any) -> Path:
    """The path that msgspec means. It does not tell the keys of tables that may have any: so each
    is tried with no other beside it, and the first that is as wrong is the one."""
    path: Path = ()
    for name, index, _ in _STEP.findall(place):
        found = _at(value, path)
        if name or index:
            path += (name or int(index),)
        elif isinstance(found, dict):
            tries = (key for key in found if _message(_only(value, path, key), kind) == message)
            path += (next(tries, ""),)
    return path


def _message(value: Any, kind: Any) -> str:
    try:
        msgspec.convert(value, kind, dec_hook=read_kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _only(value: Any, path: Path, key: str) -> Any:
    """``value``, in which the table at ``path`` has the one key."""
    if not path:
        return {key: value[key]}
    copied = value.copy()
    copied[path[0]] = _only(value[path[0]], path[1:], key)
    return copied


def _at(value: Any, path: Path) -> Any:
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


# -- what would do --------------------------------------------------------------------------------


def _within(kind: Any, path: Path) -> Any:
    """The type, as msgspec.inspect has it, of the value with that path; None: not known."""
    if isinstance(kind, inspect.Metadata):
        return _within(kind.type, path)
    if not path:
        return kind
    step, *inner = path
    found: list[Any] = []
    if isinstance(kind, inspect.UnionType):
        found = [_within(one, path) for one in kind.types]
        return next(filter(None, found), None)
    if isinstance(kind, inspect.DictType):
        return _within(kind.value_type, tuple(inner))
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return _within(kind.item_type, tuple(inner))
    found = [field.type for field in _fields(kind) if field.encode_name == step]
    return _within(found[0], tuple(inner)) if found else None


def _fields(kind: Any) -> tuple[inspect.Field, ...]:
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, map(_fields, kind.types)), ())
    return kind.fields if isinstance(kind, inspect.StructType) else ()


def _is_list_of_tables(kind: Any) -> bool:
    is_list = isinstance(kind, inspect.ListType | inspect.VarTupleType)
    return is_list and bool(_fields(kind.item_type))


_WANTED: dict[type, Callable[[Any], str]] = {
    inspect.IntType: lambda kind: f"a whole number{_limits(kind)}",
    inspect.FloatType: lambda kind: f"a number{_limits(kind)}",
    inspect.StrType: lambda kind: "a text",
    inspect.BoolType: lambda kind: "true or false",
    inspect.LiteralType: lambda kind: f"one of {', '.join(map(str, kind.values))}",
    inspect.ListType: lambda kind: f"a list [...] (each: {_wanted(kind.item_type)})",
    inspect.VarTupleType: lambda kind: f"a list [...] (each: {_wanted(kind.item_type)})",
    inspect.DictType: lambda kind: "a table or object {...}",
    inspect.StructType: lambda kind: "a table or object {...}",
    inspect.CustomType: lambda kind: str(kind.cls.wanted),
    inspect.UnionType: lambda kind: " or ".join(map(_wanted, kind.types)),
    inspect.Metadata: lambda kind: _wanted(kind.type),
}


def _wanted(kind: Any) -> str:
    return _WANTED.get(type(kind), lambda kind: "another value")(kind)


def _limits(kind: inspect.IntType | inspect.FloatType) -> str:
    limits = (("from", kind.ge), ("to", kind.le))
    return "".join(f" {word} {limit}" for word, limit in limits if limit is not None)
