"""libfuse 2.6 to 2.9, and functions of it that fusepy does not use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_long, c_size_t, c_void_p
from typing import Any

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


class Libfuse2:
    """See modfs.fuse.library.Libfuse."""

    filler = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p, c_long)
    filler_more: tuple[int, ...] = ()

    def __init__(self, module: Any) -> None:
        self.module = module
        self.extra: dict[str, tuple[Any, ...]] = {}
        self._lib = module._libfuse
        declare(self._lib, _FUNCTIONS)

    def prepare(self, operations: Any) -> None:
        """Have no paths computed for open files."""
        operations.flag_nullpath_ok = operations.flag_nopath = 1
        operations.flag_utime_omit_ok = 1

    def configure(self, config: int) -> None:
        """All is said by options."""

    def run(self, options: Iterable[str], operations: Any, mountpoint: str) -> int:
        """Mount and serve until the end; not 0: it could not be mounted."""
        words = ["modfs", "-f", "-o", ",".join(options), mountpoint]
        argv = (c_char_p * len(words))(*map(os.fsencode, words))
        result: int = self._lib.fuse_main_real(
            len(words), argv, ctypes.pointer(operations), ctypes.sizeof(operations), None
        )
        return result

    def serve(self, options: Iterable[str], operations: Any, descriptor: int) -> bool:
        """Serve what is mounted already until the end. False: it cannot be served."""
        arguments = Arguments.of(options)
        found = _fuse_new(self._lib)(
            self._lib.fuse_kern_chan_new(descriptor),
            ctypes.byref(arguments),
            ctypes.pointer(operations),
            ctypes.sizeof(operations),
            None,
        )
        if found:
            self._lib.fuse_loop_mt(found)
            self._lib.fuse_destroy(found)  # which closes the descriptor
        return bool(found)

    def descriptor(self, session: int) -> int:
        """/dev/fuse of a struct fuse that runs."""
        lib = self._lib
        channel = lib.fuse_session_next_chan(lib.fuse_get_session(session), None)
        number: int = lib.fuse_chan_fd(channel)
        return number


def declare(library: Any, functions: Iterable[tuple[str, tuple[Any, ...], Any]]) -> None:
    """Tell ctypes what functions take and give."""
    for name, arguments, result in functions:
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result


class Arguments(ctypes.Structure):
    """struct fuse_args"""

    _fields_ = (("argc", c_int), ("argv", c_void_p), ("allocated", c_int))

    @classmethod
    def of(cls, options: Iterable[str]) -> Arguments:
        """With the options after -o."""
        words = ["modfs", "-o", ",".join(options)]
        argv = (c_char_p * (len(words) + 1))(*map(os.fsencode, words))
        arguments = cls(len(words), ctypes.addressof(argv), 0)
        arguments.keeps = argv
        return arguments


def _fuse_new(library: Any) -> Any:
    """That of 2.6 on: to dlsym(3) the name means the oldest. It answers 0 where it fails."""
    prototype = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
    find = ctypes.CDLL(None).dlvsym
    find.argtypes, find.restype = (c_void_p, c_char_p, c_char_p), c_void_p
    return prototype(find(library._handle, b"fuse_new", b"FUSE_2.6") or 0)
