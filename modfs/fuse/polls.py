"""poll(2) on our files: the operation, which fusepy's structure has not, and who is to be told."""

from __future__ import annotations

from ctypes import c_int, c_void_p
from typing import Any


def operations_type(module: Any) -> Any:
    """struct fuse_operations of the module, with poll: the first field that fusepy's has not."""
    known: Any = module.fuse_operations
    if any(name == "poll" for name, *_ in known._fields_):
        return known
    return type("fuse_operations", (known,), {"_fields_": [("poll", c_void_p)]})


class PollHandle:
    """Who polls a file and wants to be told: call it, once; what is not called is let go."""

    def __init__(self, library: Any, handle: int) -> None:
        self._notify, self._destroy = library.fuse_notify_poll, library.fuse_pollhandle_destroy
        self._notify.argtypes, self._notify.restype = (c_void_p,), c_int
        self._destroy.argtypes, self._destroy.restype = (c_void_p,), None
        self._handle = handle

    def __call__(self) -> None:
        self._notify(self._handle)

    def __del__(self) -> None:
        self._destroy(self._handle)
