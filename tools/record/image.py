"""What a kernel's image alone tells: vermagic, and struct module by its BTF.

For kernels whose modules are to be had no more, and for where struct module has its sizes.
"""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from loader.errors import UserError
from modfs.conformance.abi import Abi

_ELF, _EFI = b"\x7fELF", b"MZ"
_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"

# Offsets in an x86 image (Documentation/arch/x86/boot.rst) and in one that unpacks itself as an EFI
# program (include/linux/efi.h: struct linux_efi_zboot_header).
_BOOT_MAGIC, _SETUP_SECTORS, _PAYLOAD, _SECTOR = 0x202, 0x1F1, 0x248, 512
_ZBOOT = 4


def unpacked(image: bytes) -> bytes:
    """The kernel in an image as /boot/vmlinuz-RELEASE has it. UserError: it is packed otherwise."""
    if image[_BOOT_MAGIC : _BOOT_MAGIC + 4] == b"HdrS":
        offset, length = struct.unpack_from("<II", image, _PAYLOAD)
        start = (image[_SETUP_SECTORS] + 1) * _SECTOR + offset
        return _unpacked(image[start : start + length])
    if image[:2] == _EFI and image[_ZBOOT : _ZBOOT + 4] == b"zimg":
        offset, length = struct.unpack_from("<II", image, _ZBOOT + 4)
        return _unpacked(image[offset : offset + length])
    return image if image[:2] == _EFI or image[:4] == _ELF else _unpacked(image)


def _unpacked(data: bytes) -> bytes:
    """One stream; what follows it, such as its length, is left."""
    if data.startswith(_GZIP):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data)
    if data.startswith(_XZ):
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(_ZSTD):
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    raise UserError("the kernel's image is packed in a way that is not known here")


# -- BTF ------------------------------------------------------------------------------------------

_HEADER = struct.Struct("<HBBIIIII")  # struct btf_header
_MAGIC = _HEADER.pack(0xEB9F, 1, 0, _HEADER.size, 0, 0, 0, 0)[:8]
_TYPE, _MEMBER, _ARRAY_INFO = struct.Struct("<III"), struct.Struct("<III"), struct.Struct("<III")
_ARRAY, _STRUCT = 3, 4
_BEHIND = {1: 4, 3: 12, 14: 4, 17: 4}  # bytes behind a type, by its kind
_BEHIND_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # of each of its members


@dataclass(slots=True)
class Struct:
    """One structure: its size in bytes, and of each member where it is (bytes) and its type."""

    size: int
    members: dict[str, tuple[int, int]] = field(default_factory=dict)


class Btf:
    """Structures and arrays of a kernel (include/uapi/linux/btf.h)."""

    def __init__(self, kernel: bytes) -> None:
        """``kernel``: any bytes that hold it. UserError: they do not."""
        self.structs: dict[str, Struct] = {}
        self.by_number: dict[int, Struct] = {}
        self.elements: dict[int, int] = {}
        """Of arrays: their elements' type."""
        start = kernel.find(_MAGIC)
        if start < 0:
            raise UserError("the kernel's image has no BTF (CONFIG_DEBUG_INFO_BTF)")
        *_, header, types, length, strings, _ = _HEADER.unpack_from(kernel, start)
        self._data, self._strings = kernel, start + header + strings
        begin = start + header + types
        for number, (at, name, info, size) in enumerate(self._types(begin, begin + length), 1):
            kind = info >> 24 & 31
            if kind == _STRUCT:
                self._add(number, at, name, info, size)
            elif kind == _ARRAY:
                self.elements[number] = _ARRAY_INFO.unpack_from(kernel, at)[0]

    def _types(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        while at < end:
            name, info, size = _TYPE.unpack_from(self._data, at)
            at += _TYPE.size
            yield at, name, info, size
            kind = info >> 24 & 31
            at += _BEHIND.get(kind, 0) + _BEHIND_EACH.get(kind, 0) * (info & 0xFFFF)

    def _add(self, number: int, at: int, name: int, info: int, size: int) -> None:
        found = self.by_number[number] = Struct(size)
        self.structs.setdefault(self._name(name), found)
        mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF  # above it, how wide a bit field is
        for place in range(at, at + (info & 0xFFFF) * _MEMBER.size, _MEMBER.size):
            member, type_number, bits = _MEMBER.unpack_from(self._data, place)
            found.members[self._name(member)] = (bits & mask) // 8, type_number

    def _name(self, offset: int) -> str:
        start = self._strings + offset
        return self._data[start : self._data.index(b"\0", start)].decode()


def btf_of(image: Path) -> Btf:
    """Of a kernel's image. OSError; UserError."""
    return Btf(unpacked(image.read_bytes()))


# -- what modules must be like --------------------------------------------------------------------


def abi_of_image(image: Path, release: str, machine: str) -> Abi:
    """What `abi_of` reads from a kernel's modules, from the kernel itself. OSError.

    UserError: it does not tell, or its symbols have versions, which are not read from here.
    """
    kernel = unpacked(image.read_bytes())
    found = re.search(re.escape(release.encode()) + rb" [ -~]*\0", kernel)
    module = Btf(kernel).structs.get("module")
    if not found or module is None or not {"init", "exit"} <= module.members.keys():
        raise UserError(f"{image} does not tell what its modules are like")
    vermagic = found[0].rstrip(b"\0").decode()
    init, end = (module.members[name][0] for name in ("init", "exit"))
    abi = Abi(machine, vermagic, module.size, init, end, None)
    if abi.versioned:
        raise UserError(f"{release} has versions of symbols, and none of its modules is there")
    return abi
