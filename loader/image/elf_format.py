"""The ELF numbers that modules are made of, each under its own name, once.

System V gABI and include/uapi/linux/elf.h; always 64-bit and little-endian. The e_machine numbers
are in loader.config; a test compares all of them with pyelftools' tables.
"""

from __future__ import annotations

import struct

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr
SHDR = struct.Struct("<IIQQQQIIQQ")  # Elf64_Shdr
SYM = struct.Struct("<IBBHQQ")  # Elf64_Sym
RELA = struct.Struct("<QQq")  # Elf64_Rela

ELF_MAGIC = b"\x7fELF"
ET_REL, EV_CURRENT = 1, 1

SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA = 0, 1, 2, 3, 4
SHT_NOTE, SHT_NOBITS, SHT_REL = 7, 8, 9

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHF_MERGE, SHF_STRINGS, SHF_INFO_LINK = 0x10, 0x20, 0x40
SHF_RO_AFTER_INIT = 0x00200000  # include/linux/elf.h: the loader sets it on its own copy
SHF_RELA_LIVEPATCH = 0x00100000

SHN_UNDEF, SHN_LIVEPATCH, SHN_ABS, SHN_COMMON = 0, 0xFF20, 0xFFF1, 0xFFF2

STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = 0, 1, 2, 3

# struct module, as far as loaders and tools look into the section that holds it
THIS_MODULE = ".gnu.linkonce.this_module"
MODULE_NAME_OFFSET = 24  # bytes: after the state and the list head
