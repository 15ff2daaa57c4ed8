"""The tiny modules of the scenarios, made for one kernel: what each is, and its bytes.

They are modules of `modfs mkmod` whose init routines wait and return what the table says, in the
machine code of each architecture; so a kernel's own modules are all that is needed to make them.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loader.image.elf_format import SHF_ALLOC
from loader.synthesize.builder import Builder
from loader.synthesize.elf_writer import Relocation, Symbol
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from modfs.conformance.abi import Abi

_ALIGNED = 16  # bytes: whole functions


@dataclass(frozen=True, slots=True)
class Tiny:
    """One module. ``seconds`` and ``returns``: what its init routine does.

    ``namespaces``: of its exports. ``crcs``: versions that it claims instead of the kernel's own.
    ``spec``: more for its `ModuleSpec`.
    """

    name: str
    seconds: float = 0
    returns: int = 0
    namespaces: Mapping[str, str] = field(default_factory=dict)
    crcs: Mapping[str, int] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, Any]:
        """As environment.json tells it; empty if there is nothing to tell."""
        told: dict[str, Any] = {"seconds": self.seconds} if self.seconds else {}
        if self.returns:
            told["returns"] = self.returns if self.returns > 0 else errno.errorcode[-self.returns]
        return told


def _spec(**more: Any) -> dict[str, Any]:
    return more


_EXPORT, _GPL, _SPACED, _FOR = "modfs_lab_export", "modfs_lab_gpl", "modfs_lab_ns", "modfs_lab_for"
_PARAMETERS = (
    ParameterSpec("n", "int", default=7),
    ParameterSpec("b", "bool"),
    ParameterSpec("s", "charp", default="none"),
    ParameterSpec("u", "byte", mode=0),
    ParameterSpec("arr", "array of uint", max=4),
    ParameterSpec("text", "string", max=8),
)
SLOW = 1.0  # seconds: longer than all of a race need to arrive

TINY: tuple[Tiny, ...] = (
    Tiny("ok_a"),
    Tiny("ok_b", spec=_spec(text=9000, data=3000, bss=5000)),
    Tiny("ok_c", spec=_spec(intree=False, rodata=5000, init_text=4200, init_data=100)),
    Tiny("dash-ed", spec=_spec(symbols=40)),
    Tiny("empty_text", spec=_spec(text=0, rodata=0, data=0)),
    Tiny("big_tables", spec=_spec(symbols=900, ro_after_init=4097)),
    Tiny("percpu", spec=_spec(percpu=300)),
    Tiny("no_routines", spec=_spec(has_init=False, has_exit=False)),
    Tiny("noexit", spec=_spec(has_exit=False)),
    Tiny("noinit", spec=_spec(has_init=False)),
    Tiny("proprietary", spec=_spec(license="Proprietary")),
    Tiny("staging", spec=_spec(modinfo=(("staging", "Y"),))),
    Tiny("testing", spec=_spec(modinfo=(("test", "Y"), ("version", "1.0")))),
    Tiny("black_one"),
    Tiny("black-two"),
    Tiny("a_module_name_that_is_exactly_fifty_five_characters_xyz"),
    Tiny("fail_enodev", returns=-errno.ENODEV),
    Tiny("fail_eexist", returns=-errno.EEXIST),
    Tiny("fail_ebusy", returns=-errno.EBUSY),
    Tiny("ret_pos", returns=7),
    Tiny("slow_a", seconds=SLOW),
    Tiny("slow_b", seconds=SLOW),
    Tiny("slow_fail", seconds=SLOW, returns=-errno.EIO),
    Tiny("slow_eexist", seconds=SLOW, returns=-errno.EEXIST),
    Tiny("withparam", spec=_spec(parameters=_PARAMETERS)),
    Tiny("exporter", spec=_spec(exports=(_EXPORT,))),
    Tiny("exporter_gpl", spec=_spec(exports_gpl=(_GPL,))),
    Tiny("exporter_both", spec=_spec(exports=("modfs_lab_one",), exports_gpl=("modfs_lab_two",))),
    Tiny("exporter_twin", spec=_spec(exports=(_EXPORT,))),
    Tiny("exporter_ns", namespaces={_SPACED: "MODFS_LAB"}, spec=_spec(exports=(_SPACED,))),
    Tiny(
        "exporter_for",
        namespaces={_FOR: "module:importer_for,other-*"},
        spec=_spec(exports_gpl=(_FOR,)),
    ),
    Tiny("importer", spec=_spec(imports=(_EXPORT,), depends=("exporter",))),
    Tiny("importer_crc", crcs={_EXPORT: 1}, spec=_spec(imports=(_EXPORT,), depends=("exporter",))),
    Tiny(
        "importer_nongpl",
        spec=_spec(imports=(_EXPORT,), depends=("exporter",), license="Proprietary"),
    ),
    Tiny("importer_gpl", spec=_spec(imports=(_GPL,), depends=("exporter_gpl",))),
    Tiny(
        "importer_gpl_nongpl",
        spec=_spec(imports=(_GPL,), depends=("exporter_gpl",), license="Proprietary"),
    ),
    Tiny("importer_two", spec=_spec(imports=("modfs_lab_one", "modfs_lab_two"))),
    Tiny(
        "importer_ns",
        spec=_spec(imports=(_SPACED,), modinfo=(("import_ns", "MODFS_LAB"),)),
    ),
    Tiny("importer_ns_none", spec=_spec(imports=(_SPACED,))),
    Tiny(
        "importer_ns_other",
        spec=_spec(imports=(_SPACED,), modinfo=(("import_ns", "OTHER"), ("import_ns", "MODFS"))),
    ),
    Tiny("importer_ns_module", spec=_spec(modinfo=(("import_ns", "module:ab"),))),
    Tiny("importer_for", spec=_spec(imports=(_FOR,))),
    Tiny("other-one", spec=_spec(imports=(_FOR,))),
    Tiny("importer_fox", spec=_spec(imports=(_FOR,))),
    Tiny("unresolved", spec=_spec(imports=("modfs_lab_nobody_has_this",))),
    Tiny("vermagic_bad", spec=_spec(vermagic="1.0.0 SMP mod_unload ")),
    Tiny("vermagic_empty", spec=_spec(vermagic="")),
    Tiny("crc_layout", spec=_spec(module_layout_crc=12345)),
    Tiny("unversioned", spec=_spec(versions=False)),
)
"""All of them, by the names of their files."""


def build_tiny(tiny: Tiny, abi: Abi) -> bytes:
    """Its file, for that kernel."""
    defaults: dict[str, Any] = {
        "machine": abi.machine,
        "struct_module_size": abi.struct_module_size,
        "vermagic": abi.vermagic,
        "versions": abi.versioned,
        "module_layout_crc": abi.module_layout_crc or 0,
    }
    return _TinyBuilder(tiny, ModuleSpec(tiny.name, **defaults | dict(tiny.spec)), abi).build()


class _TinyBuilder(Builder):
    """Knows where this kernel's struct module has its functions, and its symbols' versions."""

    def __init__(self, tiny: Tiny, spec: ModuleSpec, abi: Abi) -> None:
        super().__init__(spec)
        self.tiny = tiny
        self.abi = abi
        if tiny.seconds:
            self.undefined["msleep"] = self.symbol("msleep", None, bind=1)

    def init_routine(self) -> tuple[bytes, list[Relocation]]:
        """See Builder."""
        code, calls, kind, addend = _ROUTINES[self.abi.machine](self.tiny)
        relocations = [Relocation(at, kind, self.undefined["msleep"], addend) for at in calls]
        return code.ljust(-(-len(code) // _ALIGNED) * _ALIGNED, b"\0"), relocations

    def namespace(self, symbol: str) -> str:
        """See Builder."""
        return self.tiny.namespaces.get(symbol, "")

    def crc(self, symbol: str) -> int:
        """See Builder."""
        known = {**self.abi.crcs, **self.tiny.crcs}
        return known[symbol] if symbol in known else super().crc(symbol)

    def functions_in_struct(self) -> tuple[int, int]:
        """See Builder."""
        return self.abi.init_offset, self.abi.exit_offset

    def exports(self, kind: str, names: Sequence[str], functions: Mapping[str, Symbol]) -> None:
        """See Builder; since 7.1 one table holds all, and a byte for each says which are GPL's."""
        if not self.abi.flagged:
            return super().exports(kind, names, functions)
        if kind:
            return None
        every = sorted((*names, *self.spec.exports_gpl))
        super().exports("", every, functions)
        flags = bytes(name in self.spec.exports_gpl for name in every)
        self.section("__kflagstab", flags, SHF_ALLOC, optional=True)
        return None


_Routine = tuple[bytes, list[int], int, int]  # code, places of calls, their relocation, its addend


def _x86_64(tiny: Tiny) -> _Routine:
    code, calls = bytes.fromhex("f30f1efa"), []  # endbr64
    if tiny.seconds:
        code += b"\xbf" + struct.pack("<i", round(tiny.seconds * 1000)) + b"\xe8"
        calls = [len(code)]  # mov edi, milliseconds; call msleep
        code += bytes(4)
    code += b"\xb8" + struct.pack("<i", tiny.returns) + b"\xc3"  # mov eax, result; ret
    return code, calls, 4, -4  # R_X86_64_PLT32


def _aarch64(tiny: Tiny) -> _Routine:
    code, calls = [0xD503245F], []  # bti c
    if tiny.seconds:
        milliseconds = round(tiny.seconds * 1000)
        code += [0xA9BF7BFD, 0x52800000 | milliseconds << 5]  # stp x29, x30, [sp, #-16]!; mov w0
        calls = [4 * len(code)]
        code += [0x94000000, 0xA8C17BFD]  # bl msleep; ldp x29, x30, [sp], #16
    negative, positive = 0x12800000, 0x52800000  # movn w0 (the complement); movz w0
    code += [negative | ~tiny.returns << 5 if tiny.returns < 0 else positive | tiny.returns << 5]
    return struct.pack(f"<{len(code) + 1}I", *code, 0xD65F03C0), calls, 283, 0  # R_AARCH64_CALL26


_ROUTINES = {"x86_64": _x86_64, "aarch64": _aarch64}
