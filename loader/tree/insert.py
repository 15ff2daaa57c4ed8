"""What kmod makes of a module's file: which system call, with which flags."""

from __future__ import annotations

import errno
import os

from loader.calls import MODULE_INIT_COMPRESSED_FILE, FinitModule, InitModule
from loader.errors import LoadError
from loader.packings import MAGIC_BYTES, Packing, by_magic, read_module


def insertion(fd: int, params: str, flags: int, compression: str) -> FinitModule | InitModule:
    """The call for the open file ``fd``, as kmod makes it from release 31 on.

    It knows a compressed file by its first bytes, lets the kernel unpack the format that the kernel
    says it knows (``compression``), and unpacks any other itself, for init_module. OSError.
    """
    packing = _packing(fd)
    if packing is None:
        return FinitModule(fd, params, flags)
    if packing.name == compression:
        return FinitModule(fd, params, flags | MODULE_INIT_COMPRESSED_FILE)
    image = read_module(f"/proc/self/fd/{fd}", packing)
    if not image:
        raise LoadError(errno.EINVAL)
    return InitModule(image, params)


def _packing(fd: int) -> Packing | None:
    """How a file is packed, by its first bytes."""
    try:
        return by_magic(os.pread(fd, MAGIC_BYTES, 0))
    except OSError:  # a folder, a pipe: the kernel will say so
        return None
