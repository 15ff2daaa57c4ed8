"""libfuse 2, as fusepy loads it, and functions of it that fusepy does not use."""

from __future__ import annotations

import ctypes
import importlib
import os
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from loader.errors import UserError
from modfs.fuse.files import INSTALL_FUSE

_LIBRARY = "libfuse.so.2"
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
    ("fuse_notify_poll", (c_void_p,), c_int),
    ("fuse_pollhandle_destroy", (c_void_p,), None),
)


def load_fusepy() -> Any:
    """The module fusepy. UserError: it cannot be used here."""
    # Left to itself it looks for the library by running ldconfig, which takes longer than a mount.
    os.environ.setdefault("FUSE_LIBRARY_PATH", _LIBRARY)
    fuse = _find_fusepy()
    for name, arguments, result in _FUNCTIONS:
        function = getattr(fuse._libfuse, name)
        function.argtypes, function.restype = arguments, result
    return fuse


def _find_fusepy() -> Any:
    # Debian's package calls the module fusepy; what is called fuse there is another one's.
    for name in ("fuse", "fusepy"):
        try:
            module = importlib.import_module(name)
        except OSError:
            raise UserError(_MISSING) from None
        except ModuleNotFoundError:
            continue
        if hasattr(module, "FUSE"):
            return module
    raise UserError("fusepy is missing: pip install fusepy, or apt-get install python3-fusepy")


def described() -> str:
    """Such as "libfuse 2.9 by fusepy 3.0.1"; what is missing, if there is none.

    Without fusepy's own module: its imports take longer than all that --version does.
    """
    try:
        number = ctypes.CDLL(os.environ.get("FUSE_LIBRARY_PATH", _LIBRARY)).fuse_version()
    except OSError:
        return _MISSING
    try:
        by = f"by fusepy {version('fusepy')}"
    except PackageNotFoundError:
        by = "and no fusepy"
    return f"libfuse {number // 10}.{number % 10} {by}"


class Arguments(ctypes.Structure):
    """struct fuse_args"""

    _fields_ = (("argc", c_int), ("argv", c_void_p), ("allocated", c_int))


def operations_type(fuse: Any) -> Any:
    """struct fuse_operations with poll, which is the first field that fusepy's has not."""
    fields = {"_fields_": [("poll", c_void_p)]}
    return type("fuse_operations", (fuse.fuse_operations,), fields)


class PollHandle:
    """Who polls a file and wants to be told: call it, once; what is not called is let go."""

    def __init__(self, library: Any, handle: int) -> None:
        self._library, self._handle = library, handle

    def __call__(self) -> None:
        self._library.fuse_notify_poll(self._handle)

    def __del__(self) -> None:
        self._library.fuse_pollhandle_destroy(self._handle)


def fuse_new(library: Any) -> Any:
    """That of 2.6 on: to dlsym(3) the name means the oldest. It answers 0 where it fails."""
    prototype = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
    find = ctypes.CDLL(None).dlvsym
    find.argtypes, find.restype = (c_void_p, c_char_p, c_char_p), c_void_p
    return prototype(find(library._handle, b"fuse_new", b"FUSE_2.6") or 0)
