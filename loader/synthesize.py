"""Kernel modules made to measure, and trees of them.

`ModuleSpec` says what a module shall be: its name, the sizes of its sections, what it exports,
imports and depends on, its parameters. `ModuleSpec.build` gives the bytes: an object file with what
a real module of Linux 6.12 has, so that modinfo, depmod, readelf and the kernel's checks take it
for one. Its code does nothing: init_module returns 0.

`write_tree` makes a /lib/modules/RELEASE folder of such modules, with depmod's text indexes;
`demo_tree` one of some twenty modules that have real names.
"""

from __future__ import annotations

import difflib
import gzip
import lzma
import platform
import re
import struct
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

import zstandard

from loader import depmod
from loader.config import PAGE_SIZE
from loader.elf import MODULE_NAME_LEN, ElfModule
from loader.layout import Layout, layout
from loader.module_builder import LEAST_STRUCT_MODULE, MACHINES, build
from loader.release import Release, release
from loader.tree import canonical

STRUCT_MODULE_SIZE = 0x4C0  # bytes: sizeof(struct module) of the kernel that was recorded
VERMAGIC = "6.12.117 SMP preempt mod_unload modversions "
MODULE_LAYOUT_CRC = 0x4FE85CCA
HOST_MACHINE = platform.machine() if platform.machine() in MACHINES else "x86_64"

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SYMBOL = re.compile(r"[A-Za-z_$.][A-Za-z0-9_$.]*")
_SYMBOL_BYTES = 55  # the longest name that __versions has room for

# Bytes of one value of each parameter type; its functions are the kernel's param_ops_TYPE.
_TYPE_SIZES: dict[str, int] = {
    "byte": 1,
    "short": 2,
    "ushort": 2,
    "int": 4,
    "uint": 4,
    "hexint": 4,
    "long": 8,
    "ulong": 8,
    "ullong": 8,
    "charp": 8,
    "bool": 1,
    "invbool": 1,
    "bint": 4,
}
_ARRAY_OF = "array of "
_STRING = "string"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A module parameter.

    ``type`` as modinfo shows it: int, charp, "array of uint", "string", ... ``max``: elements of an
    array, or bytes of a string. ``mode``: of its file in /sys/module/NAME/parameters; 0: none.
    ``default``: the value before any is given (of an array's elements all 0).
    """

    name: str
    type: str = "int"
    description: str = ""
    mode: int = 0o644
    default: int | str | None = None
    max: int = 16

    def __post_init__(self) -> None:
        element = self.type.removeprefix(_ARRAY_OF)
        if element not in _TYPE_SIZES and self.type != _STRING:
            known = ", ".join([*_TYPE_SIZES, _STRING])
            raise ValueError(f"parameter {self.name}: no type {self.type!r}; there are {known}")
        if isinstance(self.default, str) and self.type != "charp":
            raise ValueError(f"parameter {self.name}: a default of type {self.type} is a number")

    @property
    def is_array(self) -> bool:
        """Whether it holds several values."""
        return self.type.startswith(_ARRAY_OF)

    @property
    def operations(self) -> str:
        """The kernel's symbol that handles its type."""
        return "param_array_ops" if self.is_array else self.element_operations

    @property
    def element_operations(self) -> str:
        """The kernel's symbol that handles the type of one value."""
        return "param_ops_" + self.type.removeprefix(_ARRAY_OF)

    @property
    def holder(self) -> bytes | None:
        """What stands between struct kernel_param and the value, whose address comes last."""
        if self.is_array:
            return struct.pack("<II24x", self.max, self._element_bytes)  # struct kparam_array
        if self.type == _STRING:
            return struct.pack("<I12x", self.max)  # struct kparam_string
        return None

    @property
    def _element_bytes(self) -> int:
        return _TYPE_SIZES.get(self.type.removeprefix(_ARRAY_OF), 1)

    def initial_value(self) -> bytes:
        """The variable's bytes before it is set, without a text's address."""
        count = self.max if self.is_array or self.type == _STRING else 1
        value = self.default if isinstance(self.default, int) else 0
        size = count * self._element_bytes
        return (value % (1 << 8 * self._element_bytes)).to_bytes(size, "little")


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """What a module shall be. ValueError where no such module can be.

    Sizes are bytes in the section of that name (``init_text``: .init.text, ``ro_after_init``:
    .data..ro_after_init, ...), besides those that exports, parameters and the like take there.
    ``symbols``: that many local functions more in the symbol table. ``file_bytes``: the exact
    length of the file. ``name`` may have `-`, as a file's name has; ``folder`` is its place in a
    tree.

    ``depends`` are module names; ``imports`` symbols of the kernel or of other modules. ``modinfo``
    are more pairs for .modinfo (author, description, version, ...). ``versions``: whether it was
    built with CONFIG_MODVERSIONS. ``vermagic`` None: that of the recorded kernel.
    """

    name: str
    folder: str = "kernel"
    machine: str = HOST_MACHINE
    text: int = 256
    init_text: int = 32
    rodata: int = 128
    init_rodata: int = 0
    data: int = 64
    init_data: int = 0
    ro_after_init: int = 0
    bss: int = 0
    percpu: int = 0
    symbols: int = 0
    file_bytes: int | None = None
    parameters: tuple[Parameter, ...] = ()
    depends: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    exports_gpl: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    softdeps: tuple[str, ...] = ()
    license: str = "GPL"
    intree: bool = True
    vermagic: str | None = None
    versions: bool = True
    module_layout_crc: int = MODULE_LAYOUT_CRC
    has_init: bool = True
    has_exit: bool = True
    struct_module_size: int = STRUCT_MODULE_SIZE
    modinfo: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) >= MODULE_NAME_LEN:
            raise ValueError(
                f"module name {self.name!r}: 1 to {MODULE_NAME_LEN - 1} letters, digits, _ and -"
            )
        for problem in self._problems():
            raise ValueError(f"{self.name}: {problem}")

    def _problems(self) -> Iterator[str]:
        for field in fields(self):
            if field.type == "int" and getattr(self, field.name) < 0:
                yield f"{field.name} is negative"
        if self.machine not in MACHINES:
            yield f"no machine {self.machine!r}; there are {', '.join(MACHINES)}"
        if self.struct_module_size < LEAST_STRUCT_MODULE:
            yield f"struct_module_size {self.struct_module_size} is too small"
        folder = PurePosixPath(self.folder)
        if folder.is_absolute() or ".." in folder.parts:
            yield f"folder {self.folder!r} leaves the tree"
        exports = [*self.exports, *self.exports_gpl]
        for symbol in (*exports, *self.imports):
            if not _SYMBOL.fullmatch(symbol):
                yield f"{symbol!r} is no symbol"
            elif self.versions and len(symbol) > _SYMBOL_BYTES:
                yield f"symbol {symbol} is longer than the {_SYMBOL_BYTES} bytes of __versions"
        if len(set(exports)) < len(exports) or set(exports) & set(self.imports):
            yield "a symbol is exported twice, or exported and imported"
        for tag, value in self.modinfo_entries():
            if not tag or "=" in tag or "\0" in tag + value:
                yield f"{tag!r} cannot stand in .modinfo"

    @classmethod
    def sized(
        cls,
        name: str,
        *,
        total_size: int,
        text_size: int,
        file_bytes: int | None = None,
        **fields: Any,
    ) -> ModuleSpec:
        """The module whose load adds ``total_size`` to total_mod_size and ``text_size`` to
        total_text_size, and whose file is ``file_bytes`` long.

        Sizes are bytes, the first two whole pages. ``fields`` are any others of ModuleSpec. What
        these leave goes to .text and to .rodata; as far as the file has no room, to .bss, which
        takes none. ValueError where it cannot be, with the least that can.
        """
        base = cls(name, **fields)
        least = base.layout()
        for label, size in (("total_size", total_size), ("text_size", text_size)):
            if size % PAGE_SIZE:
                raise ValueError(f"{name}: {label} {size} is no multiple of {PAGE_SIZE}")
        more_text = text_size - least.text_total
        more = total_size - least.total - more_text
        if more_text < 0:
            raise ValueError(f"{name}: text_size is at least {least.text_total}, not {text_size}")
        if more < 0:
            raise ValueError(
                f"{name}: with that text, total_size is at least {total_size - more},"
                f" not {total_size}"
            )
        spec = replace(base, text=base.text + more_text, bss=base.bss + more)
        if file_bytes is None:
            return replace(spec, bss=base.bss, rodata=base.rodata + more)
        room = file_bytes - len(spec.build())
        if room < 0:
            raise ValueError(
                f"{name}: with that text, file_bytes is at least {file_bytes - room},"
                f" not {file_bytes}"
            )
        moved = min(more, room // PAGE_SIZE * PAGE_SIZE)
        return replace(
            spec, bss=spec.bss - moved, rodata=base.rodata + moved, file_bytes=file_bytes
        )

    @property
    def module_name(self) -> str:
        """The name that the kernel will know it by."""
        return canonical(self.name)

    @property
    def path(self) -> PurePosixPath:
        """Where it lies in a tree, uncompressed."""
        return PurePosixPath(self.folder) / f"{self.name}.ko"

    @property
    def undefined(self) -> tuple[str, ...]:
        """The symbols that it leaves for the kernel to resolve."""
        symbols = [*self.imports]
        for parameter in self.parameters:
            symbols += [parameter.operations, parameter.element_operations]
        return tuple(dict.fromkeys(symbols))

    def modinfo_entries(self) -> list[tuple[str, str]]:
        """Tags and values of .modinfo, in the order in which the tools write them."""
        machine = MACHINES[self.machine]
        entries = [("license", self.license), *self.modinfo]
        for parameter in self.parameters:
            if parameter.description:
                entries.append(("parm", f"{parameter.name}:{parameter.description}"))
            entries.append(("parmtype", f"{parameter.name}:{parameter.type}"))
        entries += [("softdep", softdep) for softdep in self.softdeps]
        entries += [("alias", alias) for alias in self.aliases]
        entries.append(("depends", ",".join(self.depends)))
        entries += [("intree", "Y")] if self.intree else []
        entries.append(("name", self.module_name))
        entries += machine.modinfo
        vermagic = VERMAGIC + machine.vermagic if self.vermagic is None else self.vermagic
        return [*entries, ("vermagic", vermagic)]

    def build(self) -> bytes:
        """The module's file. ValueError if ``file_bytes`` are too few for it."""
        return build(self)

    def layout(self, running: Release | None = None) -> Layout:
        """The memory that the kernel takes for it."""
        elf = ElfModule(self.build(), MACHINES[self.machine].number)
        elf.cache_indices(self.struct_module_size)
        return layout(elf, running or release())


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


def _parameters(value: object) -> tuple[Parameter, ...]:
    found = []
    for name, given in _table(value).items():
        try:
            table = {"type": given} if isinstance(given, str) else _table(given)
            found.append(Parameter(**_read({"name": name, **table}, Parameter)))
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
    "tuple[Parameter, ...]": _parameters,
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
    return ModuleSpec.sized(**values)


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


# -- trees ----------------------------------------------------------------------------------------

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zst": lambda data: zstandard.ZstdCompressor(level=9).compress(data),
    "gz": lambda data: gzip.compress(data, compresslevel=6, mtime=0),
    # The kernel's decoder knows no integrity check above CRC32, and xz's default is CRC64.
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32, preset=1),
}
COMPRESSIONS = tuple(_COMPRESS)


def compress(data: bytes, compression: str | None) -> bytes:
    """A module's file packed as the kernel can unpack it: "zst", "gz", "xz", or None as it is."""
    return data if compression is None else _COMPRESS[compression](data)


def linked(specs: Iterable[ModuleSpec]) -> list[ModuleSpec]:
    """The specs of a whole tree, with ``depends``, imports and exports made to agree.

    A module that depends on another imports a symbol of it, which is made up where need be; one
    that imports a symbol depends on its exporter. ValueError: a name or symbol that is there twice,
    a dependency that is not there.
    """
    modules: dict[str, ModuleSpec] = {}
    exporters: dict[str, str] = {}
    for spec in specs:
        if modules.setdefault(spec.module_name, spec) is not spec:
            raise ValueError(f"two modules have the name {spec.module_name}")
        for symbol in (*spec.exports, *spec.exports_gpl):
            if exporters.setdefault(symbol, spec.module_name) != spec.module_name:
                raise ValueError(f"{exporters[symbol]} and {spec.name} both export {symbol}")
    imports = {name: list(spec.imports) for name, spec in modules.items()}
    made_up: dict[str, str] = {}
    for name, spec in modules.items():
        for needed in map(canonical, spec.depends):
            if needed not in modules:
                raise ValueError(f"{spec.name} depends on {needed}, which is not in the tree")
            if any(exporters.get(symbol) == needed for symbol in spec.imports):
                continue
            exported = (*modules[needed].exports, *modules[needed].exports_gpl)
            if not exported:
                exported = (made_up.setdefault(needed, f"use_{needed}"[:_SYMBOL_BYTES]),)
            imports[name].append(exported[0])
    for name, symbol in made_up.items():
        modules[name] = replace(modules[name], exports=(symbol,))
        exporters[symbol] = name
    result = []
    for name, spec in modules.items():
        depends = {canonical(needed): needed for needed in spec.depends}
        for symbol in imports[name]:
            if symbol in exporters:
                depends.setdefault(exporters[symbol], modules[exporters[symbol]].name)
        result.append(replace(spec, imports=tuple(imports[name]), depends=tuple(depends.values())))
    return result


def write_tree(
    root: Path | str,
    specs: Iterable[ModuleSpec],
    *,
    compression: str | None = None,
    builtin: Sequence[ModuleSpec] = (),
) -> list[ModuleSpec]:
    """Make ``root`` a /lib/modules/RELEASE folder of these modules; gives them as `linked` did.

    Written are the modules' files and, as text, depmod's indexes. ``compression`` is that of all
    files (see `compress`); ``builtin`` are only listed, as parts of the kernel. Files that are
    there are replaced, others stay. OSError; ValueError as of `linked`, for a circle of
    dependencies, and for a module that cannot be as short as its ``file_bytes``.
    """
    root = Path(root)
    modules = linked(specs)
    suffix = f".{compression}" if compression else ""
    indexes = depmod.indexes(modules, builtin, suffix)
    for spec in modules:
        path = root / f"{spec.path}{suffix}"
        data = compress(spec.build(), compression)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    root.mkdir(parents=True, exist_ok=True)
    for name, text in indexes.items():
        (root / name).write_text(text)
    return modules


def demo_specs() -> tuple[list[ModuleSpec], list[ModuleSpec]]:
    """The modules of the demo tree, and what is built into its kernel (demo_tree.toml)."""
    return specs_from_toml(Path(__file__).with_name("demo_tree.toml").read_text())


def demo_tree(root: Path | str, *, compression: str | None = None) -> list[ModuleSpec]:
    """Write the demo tree: modules of a small server, sized like Debian's, to ``root``."""
    modules, builtin = demo_specs()
    return write_tree(root, modules, compression=compression, builtin=builtin)
