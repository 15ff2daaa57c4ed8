"""Kernel modules made to measure, and trees of them.

`ModuleSpec` says what a module shall be: its name, the sizes of its sections, what it exports,
imports and depends on, its parameters. `loader.synthesize.builder` makes the bytes:
an object file with what a real module of Linux 6.12 has, so that modinfo, depmod, readelf and the
kernel's checks take it for one. Its code does nothing: init_module returns 0.

`write_tree` makes a /lib/modules/RELEASE folder of such modules, with depmod's text indexes;
`demo_tree` one of some twenty modules that have real names.
"""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import PurePosixPath

from loader.config import MODULE_NAME_LEN
from loader.errors import UserError
from loader.image.parameter_types import ARRAY_OF, CHARP, STRING, WIDTHS
from loader.synthesize.arch import ARCHITECTURES, LEAST_STRUCT_MODULE
from loader.words import canonical

STRUCT_MODULE_SIZE = 0x4C0  # bytes: sizeof(struct module) of the kernel that was recorded
VERMAGIC = "6.12.117 SMP preempt mod_unload modversions "
MODULE_LAYOUT_CRC = 0x4FE85CCA
HOST_MACHINE = platform.machine() if platform.machine() in ARCHITECTURES else "x86_64"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SYMBOL = re.compile(r"[A-Za-z_$.][A-Za-z0-9_$.]*")
SYMBOL_BYTES = 55  # the longest name that __versions has room for


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A module parameter.

    ``type`` as modinfo shows it: int, charp, "array of uint", "string", ... ``max``: elements of an
    array, or bytes of a string. ``mode``: of its file in /sys/module/NAME/parameters; 0: none.
    ``default``: the value before any is given (of an array's elements all 0). ``own``: its set
    function is the module's own, and modinfo tells no type (module_param_cb).
    """

    name: str
    type: str = "int"
    description: str = ""
    mode: int = 0o644
    default: int | str | None = None
    max: int = 16
    own: bool = False

    def __post_init__(self) -> None:
        element = self.type.removeprefix(ARRAY_OF)
        if element not in WIDTHS and self.type != STRING:
            known = ", ".join([*WIDTHS, STRING])
            raise UserError(f"parameter {self.name}: no type {self.type!r}; there are {known}")
        if isinstance(self.default, str) and self.type != CHARP:
            raise UserError(f"parameter {self.name}: a default of type {self.type} is a number")
        if self.own and self.type not in WIDTHS:
            raise UserError(f"parameter {self.name}: own is for one value, not {self.type!r}")

    @property
    def is_array(self) -> bool:
        """Whether it holds several values."""
        return self.type.startswith(ARRAY_OF)

    @property
    def operations(self) -> str:
        """The kernel's symbol that handles its type."""
        return "param_array_ops" if self.is_array else self.element_operations

    @property
    def getter(self) -> str:
        """The kernel's function that shows it."""
        return "param_get_" + self.type

    @property
    def element_operations(self) -> str:
        """The kernel's symbol that handles the type of one value."""
        return "param_ops_" + self.type.removeprefix(ARRAY_OF)

    @property
    def holder(self) -> bytes | None:
        """What stands between struct kernel_param and the value, whose address comes last."""
        if self.is_array:
            return struct.pack("<II24x", self.max, self._element_bytes)  # struct kparam_array
        if self.type == STRING:
            return struct.pack("<I12x", self.max)  # struct kparam_string
        return None

    @property
    def _element_bytes(self) -> int:
        return WIDTHS.get(self.type.removeprefix(ARRAY_OF), 1)

    def initial_value(self) -> bytes:
        """The variable's bytes before it is set, without a text's address."""
        count = self.max if self.is_array or self.type == STRING else 1
        value = self.default if isinstance(self.default, int) else 0
        size = count * self._element_bytes
        return (value % (1 << 8 * self._element_bytes)).to_bytes(size, "little")


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """What a module shall be. UserError where no such module can be.

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
    parameters: tuple[ParameterSpec, ...] = ()
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
            raise UserError(
                f"module name {self.name!r}: 1 to {MODULE_NAME_LEN - 1} letters, digits, _ and -"
            )
        for problem in self._problems():
            raise UserError(f"{self.name}: {problem}")

    def _problems(self) -> Iterator[str]:
        for field in fields(self):
            if field.type == "int" and getattr(self, field.name) < 0:
                yield f"{field.name} is negative"
        if self.machine not in ARCHITECTURES:
            yield f"no machine {self.machine!r}; there are {', '.join(ARCHITECTURES)}"
        if self.struct_module_size < LEAST_STRUCT_MODULE:
            yield f"struct_module_size {self.struct_module_size} is too small"
        folder = PurePosixPath(self.folder)
        if folder.is_absolute() or ".." in folder.parts:
            yield f"folder {self.folder!r} leaves the tree"
        exports = [*self.exports, *self.exports_gpl]
        for symbol in (*exports, *self.imports):
            if not _SYMBOL.fullmatch(symbol):
                yield f"{symbol!r} is no symbol"
            elif self.versions and len(symbol) > SYMBOL_BYTES:
                yield f"symbol {symbol} is longer than the {SYMBOL_BYTES} bytes of __versions"
        if len(set(exports)) < len(exports) or set(exports) & set(self.imports):
            yield "a symbol is exported twice, or exported and imported"
        for tag, value in self.modinfo_entries():
            if not tag or "=" in tag or "\0" in tag + value:
                yield f"{tag!r} cannot stand in .modinfo"

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
            if parameter.own:
                symbols.append(parameter.getter)
            else:
                symbols += [parameter.operations, parameter.element_operations]
        return tuple(dict.fromkeys(symbols))

    def modinfo_entries(self) -> list[tuple[str, str]]:
        """Tags and values of .modinfo, in the order in which the tools write them."""
        machine = ARCHITECTURES[self.machine]
        entries = [("license", self.license), *self.modinfo]
        for parameter in self.parameters:
            if parameter.description:
                entries.append(("parm", f"{parameter.name}:{parameter.description}"))
            if not parameter.own:
                entries.append(("parmtype", f"{parameter.name}:{parameter.type}"))
        entries += [("softdep", softdep) for softdep in self.softdeps]
        entries += [("alias", alias) for alias in self.aliases]
        entries.append(("depends", ",".join(self.depends)))
        entries += [("intree", "Y")] if self.intree else []
        entries.append(("name", self.module_name))
        entries += machine.modinfo
        vermagic = VERMAGIC + machine.vermagic if self.vermagic is None else self.vermagic
        return [*entries, ("vermagic", vermagic)]
