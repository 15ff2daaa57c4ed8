"""Module specs as tables: in a TOML file, or the options of a command.

    [[module]]
    name = "xfs"
    text = "800k"
    depends = ["libcrc32c"]
    parameters = { debug = "int" }

    [[builtin]]
    name = "libcrc32c"

`modfs schema modules` tells of all fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import UNSET

from loader.documents.document import (
    Count,
    Document,
    Given,
    Mistake,
    Table,
    about,
    given,
    read_toml,
    schema,
    toml_document,
    within,
)
from loader.documents.kinds import FileSize
from loader.errors import UserError
from loader.synthesize.sized import sized
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from loader.words import shown

Specs = tuple[list[ModuleSpec], list[ModuleSpec]]
"""Modules with files, and those built into the kernel."""


# -- the format -----------------------------------------------------------------------------------


class Texts(tuple[str, ...]):
    """One text, or a list of them."""

    __slots__ = ()
    wanted: ClassVar[str] = "a text or a list of texts"
    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    }

    @classmethod
    def read(cls, value: object) -> Texts:
        texts = value if isinstance(value, list | tuple) else [value]
        wrong = [text for text in texts if not isinstance(text, str)]
        if wrong:
            raise UserError(f"{cls.wanted} is needed, not {shown(wrong[0])}")
        return cls(map(str, texts))


class ParameterTable(Table):
    """A module parameter."""

    type: Given[Annotated[str, about('As modinfo shows it: int, charp, "array of uint", ...')]] = (
        UNSET
    )
    description: Given[Annotated[str, about("As modinfo shows it.")]] = UNSET
    mode: Given[
        Annotated[
            int, about("Of its file in /sys/module/NAME/parameters; 0: none.", ge=0, le=0o777)
        ]
    ] = UNSET
    default: Given[Annotated[bool | int | str, about("Its value before any is given.")]] = UNSET
    max: Given[Annotated[Count, about("Elements of an array, or bytes of a string.")]] = UNSET
    own: Given[
        Annotated[bool, about("Its set function is the module's own; modinfo tells no type.")]
    ] = UNSET


_Part = Given[Annotated[FileSize, about("Bytes in the section of that name.")]]


class SpecTable(Table):
    """What a module shall be: sections in bytes, besides what exports and the like take there."""

    name: Annotated[str, about("As that of a file: it may have `-`.")]
    folder: Given[Annotated[str, about("Its place in a tree.")]] = UNSET
    machine: Given[Annotated[str, about("x86_64 or aarch64.")]] = UNSET
    total_size: Given[
        Annotated[FileSize, about("What a load adds to total_mod_size: whole pages.")]
    ] = UNSET
    text_size: Given[
        Annotated[FileSize, about("What it adds to total_text_size; goes with total_size.")]
    ] = UNSET
    text: _Part = UNSET
    init_text: _Part = UNSET
    rodata: _Part = UNSET
    init_rodata: _Part = UNSET
    data: _Part = UNSET
    init_data: _Part = UNSET
    ro_after_init: _Part = UNSET
    bss: _Part = UNSET
    percpu: _Part = UNSET
    symbols: Given[
        Annotated[FileSize, about("How many local functions more are in the symbol table.")]
    ] = UNSET
    file_bytes: Given[Annotated[FileSize, about("The exact length of the file.")]] = UNSET
    parameters: Given[
        Annotated[
            dict[str, str | ParameterTable], about("By their names; a text is a parameter's type.")
        ]
    ] = UNSET
    depends: Given[Annotated[Texts, about("Modules that it needs.")]] = UNSET
    imports: Given[Annotated[Texts, about("Symbols of the kernel or of other modules.")]] = UNSET
    exports: Given[Annotated[Texts, about("Symbols that it offers.")]] = UNSET
    exports_gpl: Given[Annotated[Texts, about("Symbols that it offers to GPL modules.")]] = UNSET
    aliases: Given[Annotated[Texts, about("Other names, or device patterns.")]] = UNSET
    softdeps: Given[Annotated[Texts, about('Such as "pre: a b post: c".')]] = UNSET
    license: Given[Annotated[str, about("GPL unless given.")]] = UNSET
    intree: Given[Annotated[bool, about("Whether it has intree=Y.")]] = UNSET
    vermagic: Given[Annotated[str, about("The kernel it is for.")]] = UNSET
    versions: Given[Annotated[bool, about("Whether its symbols have versions.")]] = UNSET
    module_layout_crc: Given[
        Annotated[int, about("The version of struct module.", ge=0, le=2**32 - 1)]
    ] = UNSET
    has_init: Given[Annotated[bool, about("Whether it has an init routine.")]] = UNSET
    has_exit: Given[Annotated[bool, about("Without one it cannot be removed.")]] = UNSET
    struct_module_size: Given[Annotated[FileSize, about("sizeof(struct module).")]] = UNSET
    modinfo: Given[Annotated[dict[str, str], about("More entries of .modinfo.")]] = UNSET


class SpecsTable(Table):
    """The whole file."""

    module: Annotated[tuple[SpecTable, ...], about("Modules of a tree, each with a file.")] = ()
    builtin: Annotated[tuple[SpecTable, ...], about("Parts of the kernel: only listed.")] = ()


def modules_schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    return schema("modules", "Modules that modfs mkmod makes (TOML).", SpecsTable)


# -- what it means --------------------------------------------------------------------------------


def spec_from(mapping: Mapping[str, Any]) -> ModuleSpec:
    """A spec from a table's values. UserError says what is wrong."""
    return Document(mapping).read(SpecTable, _spec)


def read_specs(path: Path | str) -> Specs:
    """The `[[module]]` and the `[[builtin]]` tables of a TOML file. OSError; UserError."""
    return read_toml(path).read(SpecsTable, _specs)


def specs_from_toml(content: bytes | str, source: str = "") -> Specs:
    """As `read_specs`, of a file's content; ``source`` is its name for messages. UserError."""
    return toml_document(content, source).read(SpecsTable, _specs)


def _specs(table: SpecsTable) -> Specs:
    if not table.module and not table.builtin:
        raise Mistake("there is neither a [[module]] nor a [[builtin]]")
    return _each("module", table.module), _each("builtin", table.builtin)


def _each(key: str, tables: Iterable[SpecTable]) -> list[ModuleSpec]:
    specs = []
    for index, table in enumerate(tables):
        with within(key, index):
            specs.append(_spec(table))
    return specs


def _spec(table: SpecTable) -> ModuleSpec:
    values = given(table)
    if "parameters" in values:
        values["parameters"] = tuple(_parameters(values["parameters"]))
    if "modinfo" in values:
        values["modinfo"] = tuple(values["modinfo"].items())
    sizes = {"total_size", "text_size"} & values.keys()
    if len(sizes) == 1:
        raise Mistake(f"{table.name}: total_size and text_size go together")
    return sized(**values) if sizes else ModuleSpec(**values)


def _parameters(tables: Mapping[str, str | ParameterTable]) -> Iterator[ParameterSpec]:
    for name, table in tables.items():
        with within("parameters", name):
            values = {"type": table} if isinstance(table, str) else given(table)
            yield ParameterSpec(name, **values)
