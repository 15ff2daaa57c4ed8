"""What people write, TOML or JSON or JSON lines, as typed values; every mistake is a UserError.

A format is a :class:`Table`: its fields have the types that msgspec knows or those of
loader.documents.kinds, and say what they are with `msgspec.Meta`. The reading, its messages and the
JSON Schema all come of that one definition. A message is one line: file, line, path of the value,
what is wrong, what would do.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from loader.documents.explain import explained, read_kind
from loader.documents.kinds import ModuleName
from loader.documents.places import Path, first_repeated, line_of
from loader.errors import UserError
from loader.words import printable, shown

T = TypeVar("T")
S = TypeVar("S")

_DEEPEST = 32  # tables and lists in one another; no format here has ten
_IN_TOML = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_DIGITS = re.compile(r"\d{4300}")  # as many as Python reads of one number


class Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table of TOML, or an object of JSON, with the fields of the class and no others."""


def given(table: Table | UnsetType) -> dict[str, Any]:
    """The fields that were there; none of a table that was not there itself."""
    if isinstance(table, UnsetType):
        return {}
    values = ((name, getattr(table, name)) for name in table.__struct_fields__)
    return {name: value for name, value in values if value is not UNSET}


class Mistake(ValueError):
    """What the value at ``path`` has wrong, by those who make something of a document."""

    def __init__(self, problem: str, *path: str | int) -> None:
        super().__init__(problem)
        self.path = path


@contextmanager
def within(*path: str | int) -> Iterator[None]:
    """What is raised as a ValueError in here is about the value at ``path``."""
    try:
        yield
    except ValueError as error:
        raise Mistake(str(error), *path, *getattr(error, "path", ())) from None


def by_name(tables: Mapping[str, S], where: str, make: Callable[[str, S], T]) -> dict[str, T]:
    """What ``make`` makes of the tables at the path ``where``, whose keys are modules' names, by
    these as the kernel spells them."""
    made: dict[str, T] = {}
    for key, table in tables.items():
        with within(where, key):
            name = ModuleName.read(key)
            if name in made:
                raise Mistake(f"the module {name} is described twice ('-' is '_')")
            made[name] = make(name, table)
    return made


# -- texts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Document:
    """A document as tomllib or json read it, and where it comes from.

    ``source`` is the file's name for messages, empty if there is none. ``line``: the one line that
    it stands in; 0 where ``text`` has several.
    """

    value: Any
    source: str = ""
    text: str = ""
    line: int = 0
    is_json: bool = False

    def read(self, kind: type[S], make: Callable[[S], T]) -> T:
        """What ``make`` makes of the document as a ``kind``. UserError: for what is wrong with it,
        be that the document itself or a ValueError of ``make``."""
        self._check(self.value, ())
        try:
            table = msgspec.convert(self.value, kind, dec_hook=read_kind)
        except msgspec.ValidationError as error:
            raise self._wrong(*explained(error, self.value, kind)) from None
        try:
            return make(table)
        except ValueError as error:
            raise self._wrong(getattr(error, "path", ()), str(error)) from None

    def _wrong(self, path: Path, problem: str) -> UserError:
        line = self.line
        if not line and self.text:
            line = line_of(self.text, path, is_json=self.is_json)
        return _error(self.source, line, path, problem)

    def _check(self, value: object, path: Path) -> None:
        """UserError for what no format here has a use for."""
        problem = ""
        if isinstance(value, float) and not math.isfinite(value):
            problem = f"a number is needed, not {value}"
        elif isinstance(value, str):
            problem = _useless(value)
        elif isinstance(value, dict | list):
            problem = _TOO_DEEP if len(path) > _DEEPEST else ""
        if problem:
            raise self._wrong(path, problem)
        if isinstance(value, dict):
            for key, inner in value.items():
                self._check(key, path)
                self._check(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._check(inner, (*path, index))


_TOO_DEEP = "tables and lists are too deep in one another"


def _useless(text: str) -> str:
    if "\0" in text:
        return "a text cannot have a null character"
    return "" if text.isascii() or not re.search("[\ud800-\udfff]", text) else "half a character"


def toml_document(content: bytes | str, source: str = "") -> Document:
    """The document of a TOML file's content. UserError: it is none."""
    text = _text(content, source)
    try:
        return Document(tomllib.loads(text), source, text)
    except RecursionError:
        raise _error(source, 0, (), _TOO_DEEP) from None
    except ValueError as error:
        raise _syntax_error(text, source, error) from None


def json_document(content: bytes | str, source: str = "") -> Document:
    """The document of a JSON file's content. UserError: it is none."""
    text = _text(content, source)
    return Document(_json(text, source, 0), source, text, is_json=True)


def json_lines(content: bytes | str, source: str = "") -> Iterator[Document]:
    """One document of each line, but for empty ones and comments (#). UserError."""
    lines = _text(content, source).split("\n")  # splitlines would split within strings
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield Document(_json(line, source, number), source, line, number, is_json=True)


def read_toml(path: FilePath | str) -> Document:
    """The document in a TOML file. OSError: cannot be read. UserError: it is none."""
    return toml_document(FilePath(path).read_bytes(), str(path))


def read_json(path: FilePath | str) -> Document:
    """The document in a JSON file. OSError: cannot be read. UserError: it is none."""
    return json_document(FilePath(path).read_bytes(), str(path))


def read_json_lines(path: FilePath | str) -> Iterator[Document]:
    """The documents in a file of JSON lines. OSError: cannot be read. UserError: it is none."""
    return json_lines(FilePath(path).read_bytes(), str(path))


def _text(content: bytes | str, source: str) -> str:
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _error(source, line, (), "not text: it is not UTF-8") from None
    if not text.strip():
        raise UserError(f"{source}: the file is empty")
    return text


class _RepeatedError(ValueError):
    pass


def _json(text: str, source: str, line: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except _RepeatedError:
        path, found = first_repeated(text)
        raise _error(source, line or found, path, "is there twice") from None
    except RecursionError:
        raise _error(source, line, (), _TOO_DEEP) from None
    except ValueError as error:
        raise _syntax_error(text, source, error, line) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _RepeatedError
    return made


def _syntax_error(text: str, source: str, error: ValueError, line: int = 0) -> UserError:
    problem = str(error)
    if isinstance(error, json.JSONDecodeError):
        line = line or error.lineno
        problem = f"not JSON: {error.msg}, column {error.colno}"
    elif place := _IN_TOML.search(problem):
        line = int(place[1] or text.rstrip().count("\n") + 1)
        problem = f"not TOML: {printable(problem[: place.start()])}"
    elif digits := _DIGITS.search(text):
        line = line or text.count("\n", 0, digits.start()) + 1
        problem = "a number has too many digits"
    return _error(source, line, (), problem)


# -- mistakes -------------------------------------------------------------------------------------


def _error(source: str, line: int, path: Path, problem: str) -> UserError:
    where = ", ".join(filter(None, (source, f"line {line}" if line else "")))
    return UserError(": ".join(filter(None, (where, shown_path(path), printable(problem)))))


def shown_path(path: Path) -> str:
    """A path for people: ``coldplug[0].devices``. The indexes of lists are from 0."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step if re.fullmatch(r'[A-Za-z0-9_-]{1,80}', step) else shown(step)}"
    return text.removeprefix(".")


# -- JSON Schema ----------------------------------------------------------------------------------


def _schema_of(kind: Any) -> dict[str, Any]:
    """That of one of the types of loader.documents.kinds, or of another such."""
    return dict(kind.schema)


def schema(title: str, description: str, *kinds: type) -> dict[str, Any]:
    """The JSON Schema (2020-12) of documents that are one of ``kinds``."""
    roots, definitions = msgspec.json.schema_components(kinds, schema_hook=_schema_of)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
        **(roots[0] if len(roots) == 1 else {"anyOf": list(roots)}),
        "$defs": definitions,
    }


# -- types for the fields of formats --------------------------------------------------------------

MANY = 1_000_000
"""More than there are of anything: processors, devices, requests."""
Given = Union[T, UnsetType]  # noqa: UP007 - with | it would be no type to mypy
"""A field that need not be there: UNSET then."""
Count = Annotated[int, Meta(ge=0, le=MANY)]
Positive = Annotated[int, Meta(ge=1, le=MANY)]
Flags = Annotated[int, Meta(ge=0, le=2**32 - 1)]


def about(text: str, **more: Any) -> Meta:
    """What a field is, for its schema."""
    return Meta(description=text, **more)
