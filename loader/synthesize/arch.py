"""What differs between processors in a module's file, and where struct module has its functions."""

from __future__ import annotations

from typing import NamedTuple

from loader.config import EM_AARCH64, EM_X86_64

# bytes, in struct module: of init from its start, of exit from its end
INIT_OFFSET, EXIT_FROM_END = 0x138, 0x50
LEAST_STRUCT_MODULE = INIT_OFFSET + 8 + EXIT_FROM_END


class Architecture(NamedTuple):
    """What differs between processors."""

    number: int
    absolute: int  # relocation: a 64-bit address
    relative: int  # relocation: a 32-bit distance
    returns_zero: bytes  # code of a function
    vermagic: str
    modinfo: tuple[tuple[str, str], ...]
    plts: tuple[str, ...]  # sections of one byte that the kernel's loader asks for


ARCHITECTURES: dict[str, Architecture] = {
    "x86_64": Architecture(
        EM_X86_64,
        1,  # R_X86_64_64
        2,  # R_X86_64_PC32
        bytes.fromhex("f30f1efa 31c0 c3"),  # endbr64; xor eax, eax; ret
        "",
        (("retpoline", "Y"),),
        (),
    ),
    "aarch64": Architecture(
        EM_AARCH64,
        257,  # R_AARCH64_ABS64
        261,  # R_AARCH64_PREL32
        bytes.fromhex("00008052 c0035fd6"),  # mov w0, #0; ret
        "aarch64",
        (),
        (".plt", ".init.plt", ".text.ftrace_trampoline", ".init.text.ftrace_trampoline"),
    ),
}
