"""libfuse 2, as fusepy loads it, and functions of it that fusepy does not use."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from typing import Any

from loader.errors import UserError
from modfs.fuse.files import INSTALL_FUSE

_MISSING = f"libfuse 2 is missing: {INSTALL_FUSE}"


# What is called beside operations: name, argument types, type of the result.
_FUNCTIONS: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
    ("fuse_exit", (c_void_p,), None),
    ("fuse_get_session", (c_void_p,), c_void_p),
    ("fuse_session_next_chan", (c_void_p, c_void_p), c_void_p),
    ("fuse_chan_fd", (c_void_p,), c_int),
    ("fuse_kern_chan_new", (c_int,), c_void_p),
    ("fuse_loop_mt", (c_void_p,), c_int),
    ("fuse_destroy", (c_void_p,), None),
)


def load_fusepy() -> Any:
    """The module fusepy. UserError: it cannot be used here."""
    # Left to itself it looks for the library by running ldconfig, which takes longer than a mount.
    os.environ.setdefault("FUSE_LIBRARY_PATH", "libfuse.so.2")
    try:
        import fuse
    except OSError:
        raise UserError(_MISSING) from None
    if not hasattr(fuse, "FUSE"):
        raise UserError(_MISSING)  # the package fuse-python has the same name
    for name, arguments, result in _FUNCTIONS:
        function = getattr(fuse._libfuse, name)
        function.argtypes, function.restype = arguments, result
    return fuse


class Arguments(ctypes.Structure):
    """struct fuse_args"""

    _fields_ = (("argc", c_int), ("argv", c_void_p), ("allocated", c_int))


def fuse_new(library: Any) -> Any:
    """That of 2.6 on: to dlsym(3) the name means the oldest. It answers 0 where it fails."""
    prototype = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
    find = ctypes.CDLL(None).dlvsym
    find.argtypes, find.restype = (c_void_p, c_char_p, c_char_p), c_void_p
    return prototype(find(library._handle, b"fuse_new", b"FUSE_2.6") or 0)
