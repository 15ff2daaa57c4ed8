"""libfuse 3, by mfusepy's structures: what differs from libfuse 2.

Some operations are given more; some options are fields of struct fuse_config now, which init sets;
nonempty is the rule. Threads are limited to ten from 3.12 on unless more are asked for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_void_p
from typing import Any

from modfs.fuse.libfuse2 import Arguments, declare

_FUNCTIONS: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
    ("fuse_exit", (c_void_p,), None),
    ("fuse_get_session", (c_void_p,), c_void_p),
    ("fuse_session_fd", (c_void_p,), c_int),
    ("fuse_set_signal_handlers", (c_void_p,), c_int),
    ("fuse_remove_signal_handlers", (c_void_p,), None),
    ("fuse_new_31", (c_void_p, c_void_p, c_size_t, c_void_p), c_void_p),
    ("fuse_mount", (c_void_p, c_char_p), c_int),
    ("fuse_unmount", (c_void_p,), None),
    ("fuse_destroy", (c_void_p,), None),
)
# Since 3.12.
_LOOP_CONFIG: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
    ("fuse_loop_cfg_create", (), c_void_p),
    ("fuse_loop_cfg_destroy", (c_void_p,), None),
    ("fuse_loop_cfg_set_max_threads", (c_void_p, c_uint), None),
    ("fuse_loop_cfg_set_idle_threads", (c_void_p, c_uint), None),
    ("fuse_loop_mt_312", (c_void_p, c_void_p), c_int),
)
_MOST_THREADS = 100_000  # requests are limited before that: modfs.mount.room
_IDLE_THREADS = 10  # as libfuse 2 has them

# What operations are given besides, at the end.
_EXTRA: dict[str, tuple[Any, ...]] = {
    "getattr": (c_void_p,),
    "readdir": (c_int,),
    "utimens": (c_void_p,),
    "truncate": (c_void_p,),
    "rename": (c_uint,),
    "chmod": (c_void_p,),
    "chown": (c_void_p,),
    "init": (c_void_p,),
}

_FIELDS = frozenset(("use_ino", "readdir_ino", "direct_io", "intr", "hard_remove"))
_NO_MORE = frozenset(("nonempty", "big_writes", "nopath"))


class Libfuse3:
    """See modfs.fuse.library.Libfuse."""

    filler = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p, c_long, c_int)
    filler_more: tuple[int, ...] = (0,)

    def __init__(self, module: Any) -> None:
        self.module = module
        self.extra = _EXTRA
        self._lib = module._libfuse
        declare(self._lib, _FUNCTIONS)
        self._fields: frozenset[str] = frozenset()

    def prepare(self, operations: Any) -> None:
        """It is said in ``configure``."""

    def configure(self, config: int) -> None:
        """Set the options that are fields, and have no paths computed for open files."""
        settings = self.module.fuse_config.from_address(config)
        settings.nullpath_ok = 1
        for name in self._fields:
            setattr(settings, name, 1)

    def run(self, options: Iterable[str], operations: Any, mountpoint: str) -> int:
        """Mount and serve until the end; not 0: it could not be mounted."""
        return 0 if self._serve(options, operations, mountpoint) else 1

    def serve(self, options: Iterable[str], operations: Any, descriptor: int) -> bool:
        """Serve what is mounted already until the end. False: it cannot be served."""
        return self._serve(options, operations, f"/dev/fd/{descriptor}")

    def _serve(self, options: Iterable[str], operations: Any, place: str) -> bool:
        lib = self._lib
        words = tuple(options)
        self._fields = _FIELDS.intersection(words)
        arguments = Arguments.of(word for word in words if word not in _FIELDS | _NO_MORE)
        found = lib.fuse_new_31(
            ctypes.byref(arguments), ctypes.byref(operations), ctypes.sizeof(operations), None
        )
        if not found:
            return False
        mounted: bool = lib.fuse_mount(found, place.encode("utf-8", "surrogateescape")) == 0
        if mounted:
            self._loop(found)
            lib.fuse_unmount(found)
        lib.fuse_destroy(found)  # which closes the descriptor
        return mounted

    def _loop(self, found: int) -> None:
        lib = self._lib
        session = lib.fuse_get_session(found)
        lib.fuse_set_signal_handlers(session)  # where nobody else handles a signal
        if hasattr(lib, "fuse_loop_mt_312"):
            declare(lib, _LOOP_CONFIG)
            config = lib.fuse_loop_cfg_create()
            lib.fuse_loop_cfg_set_max_threads(config, _MOST_THREADS)
            lib.fuse_loop_cfg_set_idle_threads(config, _IDLE_THREADS)
            lib.fuse_loop_mt_312(found, config)
            lib.fuse_loop_cfg_destroy(config)
        else:
            declare(lib, (("fuse_loop_mt_32", (c_void_p, c_void_p), c_int),))
            lib.fuse_loop_mt_32(found, ctypes.byref(_LoopConfig(0, _IDLE_THREADS)))
        lib.fuse_remove_signal_handlers(session)

    def descriptor(self, session: int) -> int:
        """/dev/fuse of a struct fuse that runs."""
        number: int = self._lib.fuse_session_fd(self._lib.fuse_get_session(session))
        return number


class _LoopConfig(ctypes.Structure):
    """struct fuse_loop_config before 3.12."""

    _fields_ = (("clone_fd", c_int), ("max_idle_threads", c_uint))
