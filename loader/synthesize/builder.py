"""Puts a module together from its `loader.synthesize.ModuleSpec`.

The sections, their order, flags and relocations are those that modpost and the linker give a module
of Linux 6.12 (scripts/module.lds.S, include/linux/export-internal.h, include/linux/moduleparam.h).
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping, Sequence

from loader.config import Config
from loader.errors import UserError
from loader.image.elf import ElfModule
from loader.image.elf_format import (
    MODULE_NAME_OFFSET,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_MERGE,
    SHF_STRINGS,
    SHF_WRITE,
    SHT_NOBITS,
    SHT_PROGBITS,
    STB_GLOBAL,
    STB_LOCAL,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    THIS_MODULE,
)
from loader.image.layout import Layout, layout
from loader.release import Release, release
from loader.synthesize.arch import ARCHITECTURES, EXIT_FROM_END, INIT_OFFSET
from loader.synthesize.elf_writer import Relocation, Section, Symbol, write
from loader.synthesize.spec import ModuleSpec, ParameterSpec

_FUNCTION = 16  # bytes from one function to the next
_PARAM = struct.Struct("<24xHbB12x")  # struct kernel_param: three pointers, ..., and one
_PARAM_ARGUMENT = 32  # bytes into it: the last pointer
_RODATA, _TEXT, _DATA = SHF_ALLOC, SHF_ALLOC | SHF_EXECINSTR, SHF_ALLOC | SHF_WRITE


def build_module(spec: ModuleSpec) -> bytes:
    """The file of a module. UserError if ``spec.file_bytes`` are too few for it."""
    return Builder(spec).build()


def layout_of(spec: ModuleSpec, running: Release | None = None) -> Layout:
    """The memory that the kernel takes for it."""
    elf = ElfModule(build_module(spec), ARCHITECTURES[spec.machine].number)
    elf.cache_indices(spec.struct_module_size)
    return layout(elf, Config(release=running or release()))


class Builder:
    """Puts one module together: sections in the linker's order, and their symbols.

    A subclass may know more of the kernel than a spec does (modfs.conformance.tiny).
    """

    def __init__(self, spec: ModuleSpec) -> None:
        self.spec = spec
        self.machine = ARCHITECTURES[spec.machine]
        self.sections: list[Section] = []
        self.symbols: list[Symbol] = []
        self.undefined = {name: self.symbol(name, None, bind=STB_GLOBAL) for name in spec.undefined}
        self.this_module = Section(THIS_MODULE, flags=_DATA, align=64)
        self.this_module_symbol = self.symbol(
            "__this_module", self.this_module, 0, spec.struct_module_size, STT_OBJECT, STB_GLOBAL
        )
        self.strings = Section("__ksymtab_strings", b"", _RODATA | SHF_MERGE | SHF_STRINGS)
        self.random = random.Random(spec.module_name)

    def build(self) -> bytes:
        """All sections in order; then the file's length."""
        spec = self.spec
        functions = self.core_code()
        init_module, cleanup_module = self.init_and_exit_code()
        for name in self.machine.plts:
            self.section(name, bytes(1), _TEXT)
        self.exports("", spec.exports, functions)
        self.exports("_gpl", spec.exports_gpl, functions)
        self.modinfo()
        self.constants_and_variables()
        if spec.versions:
            self.versions()
        self.section(".data..percpu", bytes(spec.percpu), _DATA, 64, optional=True)
        self.fill_this_module(init_module, cleanup_module)
        self.section(".bss", b"", _DATA, 32, type=SHT_NOBITS, reserved=spec.bss)
        comment = self.section(".comment", b"modfs\0", SHF_MERGE | SHF_STRINGS, entsize=1)
        self.section(".note.GNU-stack", b"")
        return self.finish(comment)

    def finish(self, comment: Section) -> bytes:
        """The file, brought to its length: .comment is padded, by whole words so that all that
        follows stays aligned; up to 7 bytes come after the section headers.
        """
        image = write(self.machine.number, self.sections, self.symbols)
        if self.spec.file_bytes is None:
            return image
        missing = self.spec.file_bytes - len(image)
        if missing < 0:
            raise UserError(
                f"{self.spec.name}: file_bytes is at least {len(image)}, not {self.spec.file_bytes}"
            )
        if padding := missing // 8 * 8:
            comment.data += self.noise(padding - 1) + b"\0"
            image = write(self.machine.number, self.sections, self.symbols)
        return image + bytes(missing % 8)

    def section(
        self,
        name: str,
        data: bytes,
        flags: int = 0,
        align: int = 1,
        *,
        type: int = SHT_PROGBITS,
        entsize: int = 0,
        reserved: int = 0,
        optional: bool = False,
    ) -> Section:
        """Append a section; an ``optional`` one only if it has contents."""
        section = Section(name, data, flags, align, type, entsize, reserved)
        if data or not optional:
            self.sections.append(section)
        return section

    def symbol(
        self,
        name: str,
        section: Section | None,
        value: int = 0,
        size: int = 0,
        type: int = STT_NOTYPE,
        bind: int = STB_LOCAL,
    ) -> Symbol:
        """Append a symbol."""
        symbol = Symbol(name, section, value, size, type, bind)
        self.symbols.append(symbol)
        return symbol

    def function(self, name: str, section: Section, value: int = 0) -> Symbol:
        """A global function at ``value`` bytes into a section."""
        size = len(self.machine.returns_zero)
        return self.symbol(name, section, value, size, STT_FUNC, STB_GLOBAL)

    def noise(self, size: int) -> bytes:
        """Bytes that compress about as well as those of real modules, to a third. The same for
        a module of the same name.
        """
        out = bytearray(b"\xcc") * size
        out[::4] = self.random.randbytes(len(out[::4]))
        return bytes(out)

    def code(self) -> bytes:
        """A function that returns 0."""
        return self.machine.returns_zero.ljust(_FUNCTION, b"\0")

    def core_code(self) -> dict[str, Symbol]:
        """.text: the exported functions, by name, and ``symbols`` local ones in the rest."""
        spec = self.spec
        exported = sorted((*spec.exports, *spec.exports_gpl))
        text = self.section(
            ".text", self.code() * len(exported) + self.noise(spec.text), _TEXT, _FUNCTION
        )
        for number in range(spec.symbols):
            value = number * _FUNCTION % max(len(text.data), 1)
            self.symbol(f"{spec.module_name}_{number}", text, value, _FUNCTION, STT_FUNC)
        return {
            name: self.function(name, text, number * _FUNCTION)
            for number, name in enumerate(exported)
        }

    def init_and_exit_code(self) -> tuple[Symbol | None, Symbol | None]:
        """.init.text and .exit.text with init_module and cleanup_module, None without."""
        spec = self.spec
        code, relocations = self.init_routine() if spec.has_init else (b"", [])
        init = self.section(
            ".init.text", code + self.noise(spec.init_text), _TEXT, _FUNCTION, optional=True
        )
        init.relocations += relocations
        code = self.code() * spec.has_exit
        after = self.section(".exit.text", code, _TEXT, _FUNCTION, optional=True)
        return (
            self.function("init_module", init) if spec.has_init else None,
            self.function("cleanup_module", after) if spec.has_exit else None,
        )

    def init_routine(self) -> tuple[bytes, list[Relocation]]:
        """The code of init_module, whole functions long, and its relocations."""
        return self.code(), []

    def namespace(self, symbol: str) -> str:
        """The namespace that an export is in; empty for none."""
        return ""

    def exports(self, kind: str, names: Sequence[str], functions: Mapping[str, Symbol]) -> None:
        """__ksymtab and __kcrctab: for each symbol its address, name and namespace, and its
        version. The kernel searches them by halves, so they are in order.
        """
        if not names:
            return
        size = 12
        table = self.section("__ksymtab" + kind, bytes(size * len(names)), _RODATA, 4)
        for number, name in enumerate(sorted(names)):
            end = len(self.strings.data)
            self.strings.data += f"{name}\0{self.namespace(name)}\0".encode()
            entry = (
                functions[name],
                self.symbol(f"__kstrtab_{name}", self.strings, end),
                self.symbol(f"__kstrtabns_{name}", self.strings, end + len(name) + 1),
            )
            self.symbol(f"__ksymtab_{name}", table, number * size)
            table.relocations += [
                Relocation(number * size + 4 * field, self.machine.relative, target)
                for field, target in enumerate(entry)
            ]
        if self.spec.versions:
            versions = b"".join(symbol_crc(name).to_bytes(4, "little") for name in sorted(names))
            table = self.section("__kcrctab" + kind, versions, _RODATA, 4)
            for number, name in enumerate(sorted(names)):
                self.symbol(f"__crc_{name}", table, number * 4)

    def modinfo(self) -> None:
        """.modinfo: NUL-terminated TAG=VALUE."""
        entries = self.spec.modinfo_entries()
        self.section(".modinfo", "".join(f"{t}={v}\0" for t, v in entries).encode(), _RODATA)

    def constants_and_variables(self) -> None:
        """.rodata and .data with their init parts; in front of them what the parameters need."""
        spec = self.spec
        constants = Section(".rodata", b"", _RODATA, 32)
        variables = Section(".data", b"", _DATA, 32)
        if spec.parameters:
            self.parameters(constants, variables)
        constants.data += self.noise(spec.rodata)
        variables.data += self.noise(spec.data)
        self.sections.append(constants)
        self.section(".init.rodata", self.noise(spec.init_rodata), _RODATA, 32, optional=True)
        if self.strings.data:
            self.strings.entsize = 1
            self.sections.append(self.strings)
        ro_after_init = self.noise(spec.ro_after_init)
        self.section(".data..ro_after_init", ro_after_init, _DATA, 32, optional=True)
        self.sections.append(variables)
        self.section(".init.data", self.noise(spec.init_data), _DATA, 32, optional=True)

    def parameters(self, constants: Section, variables: Section) -> None:
        """__param: a struct kernel_param for each, whose name is a constant and whose value a
        variable. An array's or a string's struct between them says what fits there.
        """
        absolute = self.machine.absolute
        table = self.section("__param", b"", _RODATA, 8)
        for parameter in self.spec.parameters:
            name = self.constant(f"str_{parameter.name}", constants, _text(parameter.name))
            value = len(variables.data)
            variables.data += _words(parameter.initial_value())
            argument = Relocation(_PARAM_ARGUMENT, absolute, variables, value)
            if isinstance(parameter.default, str):
                text = len(constants.data)
                constants.data += _words(_text(parameter.default))
                variables.relocations.append(Relocation(value, absolute, constants, text))
            if parameter.holder is not None:
                kind = "arr" if parameter.is_array else "string"
                place = self.constant(f"{kind}_{parameter.name}", constants, parameter.holder)
                end = place + len(parameter.holder)
                constants.relocations.append(Relocation(end - 8, absolute, variables, value))
                if parameter.is_array:
                    operations = self.undefined[parameter.element_operations]
                    constants.relocations.append(Relocation(end - 16, absolute, operations))
                argument = Relocation(_PARAM_ARGUMENT, absolute, constants, place)
            relocations = [
                Relocation(0, absolute, constants, name),
                Relocation(8, absolute, self.this_module_symbol),
                self.operations(parameter, constants),
                argument,
            ]
            start = self.constant(parameter.name, table, _PARAM.pack(parameter.mode, -1, 0))
            for relocation in relocations:
                relocation.offset += start
            table.relocations += relocations

    def operations(self, parameter: ParameterSpec, constants: Section) -> Relocation:
        """The pointer to the kernel's struct kernel_param_ops, or to one with a set function of
        the module's own, which is never called, and the kernel's get function."""
        absolute = self.machine.absolute
        if not parameter.own:
            return Relocation(16, absolute, self.undefined[parameter.operations])
        place = self.constant(f"ops_{parameter.name}", constants, bytes(32))
        constants.relocations += [
            Relocation(place + 8, absolute, self.this_module_symbol),
            Relocation(place + 16, absolute, self.undefined[parameter.getter]),
        ]
        return Relocation(16, absolute, constants, place)

    def constant(self, name: str, section: Section, data: bytes) -> int:
        """Append ``data`` as the object __param_NAME; its place, bytes into the section."""
        place = len(section.data)
        section.data += _words(data)
        self.symbol(f"__param_{name}", section, place, len(data), STT_OBJECT)
        return place

    def versions(self) -> None:
        """__versions: the CRC and name of each symbol it was built against."""
        crcs = {name: self.crc(name) for name in self.undefined}
        crcs["module_layout"] = self.spec.module_layout_crc
        data = b"".join(struct.pack("<Q56s", crc, name.encode()) for name, crc in crcs.items())
        self.section("__versions", data, _RODATA, 32)

    def crc(self, symbol: str) -> int:
        """The version of a symbol that it needs."""
        return symbol_crc(symbol)

    def functions_in_struct(self) -> tuple[int, int]:
        """Where struct module has the addresses of init and exit, in bytes."""
        return INIT_OFFSET, self.spec.struct_module_size - EXIT_FROM_END

    def fill_this_module(self, init_module: Symbol | None, cleanup_module: Symbol | None) -> None:
        """struct module: its name, and the addresses of the two functions."""
        size = self.spec.struct_module_size
        name = self.spec.module_name.encode()
        self.this_module.data = (bytes(MODULE_NAME_OFFSET) + name).ljust(size, b"\0")
        init, end = self.functions_in_struct()
        for offset, function in ((init, init_module), (end, cleanup_module)):
            if function is not None:
                relocation = Relocation(offset, self.machine.absolute, function)
                self.this_module.relocations.append(relocation)
        self.sections.append(self.this_module)


def symbol_crc(name: str) -> int:
    """The version of a symbol, the same in all modules made here."""
    return zlib.crc32(name.encode())


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _words(data: bytes) -> bytes:
    """Padded to whole 8 bytes."""
    return data + bytes(-len(data) % 8)
