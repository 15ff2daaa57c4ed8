"""A file system of ours served by libfuse: fusepy's or mfusepy's structures, our own callbacks.

fusepy's FUSE class takes every call through layers that suit any file system; that is three to four
times what a C file system needs for an open, read and close. Here libfuse calls the operations
directly with plain addresses, is told not to compute paths for open files, and each of its threads
keeps its Python state from call to call.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import signal
import stat
import threading
from collections.abc import Callable, Container, Iterable
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from loader.errors import UserError
from modfs.fuse.files import FileSystem
from modfs.fuse.library import load
from modfs.fuse.measured import Measured
from modfs.fuse.polls import PollHandle, operations_type
from modfs.fuse.python_states import KeptStates
from modfs.fuse.repeats import Repeats
from modfs.fuse.server import WAKES_MAIN
from modfs.fuse.times import Times

log = logging.getLogger("modfs.fuse")


# -- operations -----------------------------------------------------------------------------------

# name -> argument types with libfuse 2; 3 gives some a word more (Libfuse.extra). All return int.
# Buffers and structures are plain addresses.
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "getattr": (c_char_p, c_void_p),
    "fgetattr": (c_char_p, c_void_p, c_void_p),  # libfuse 3's getattr is both
    "readlink": (c_char_p, c_void_p, c_size_t),
    "utimens": (c_char_p, c_void_p),
    "opendir": (c_char_p, c_void_p),
    "readdir": (c_void_p, c_void_p, c_void_p, c_long, c_void_p),
    "releasedir": (c_void_p, c_void_p),
    "open": (c_char_p, c_void_p),
    "read": (c_void_p, c_void_p, c_size_t, c_long, c_void_p),
    "write": (c_void_p, c_void_p, c_size_t, c_long, c_void_p),
    "flush": (c_void_p, c_void_p),
    "release": (c_void_p, c_void_p),
    "poll": (c_char_p, c_void_p, c_void_p, c_void_p),
    "truncate": (c_char_p, c_long),
    "create": (c_char_p, c_uint, c_void_p),
    # What debugfs refuses.
    "mknod": (c_char_p, c_uint, c_long),
    "mkdir": (c_char_p, c_uint),
    "unlink": (c_char_p,),
    "rmdir": (c_char_p,),
    "symlink": (c_char_p, c_char_p),
    "rename": (c_char_p, c_char_p),
    "link": (c_char_p, c_char_p),
    "chmod": (c_char_p, c_uint),
    "chown": (c_char_p, c_uint, c_uint),
}

_POLL_IN = select.POLLIN | select.POLLRDNORM
_POLL_OUT = select.POLLOUT | select.POLLWRNORM


class LibfuseServer:
    """See modfs.fuse.server.Server. ``mounted`` is called in a thread of its own."""

    def __init__(self, options: Iterable[str], without: Container[str] = ()) -> None:
        """``options`` as after mount's -o. ``without``: operations that are to be ENOSYS.

        UserError: libfuse is missing.
        """
        self._options = tuple(options)
        self._without = without
        self._libfuse = load()
        self._fuse = self._libfuse.module
        self._lib = self._fuse._libfuse
        self._session: int | None = None  # struct fuse, as long as libfuse has it
        self._session_lock = threading.Lock()
        self.descriptor: int | None = None
        """/dev/fuse, once it is mounted. poll(2) tells POLLERR when the connection is cut."""
        self._main_thread: int | None = None
        self._states = KeptStates()
        self._fh = self._fuse.fuse_file_info.fh.offset
        self._lock_owner = self._fuse.fuse_file_info.lock_owner.offset
        self._stat = self._fuse.c_stat
        self._paths: dict[int, bytes] = {}  # of open files, by their handles
        self._keep_alive: list[Any] = []
        self._times = Times()
        self._repeats = Repeats()
        self._reading = threading.local()  # flags: of the open file that is read
        self.sought: Callable[[int], int | None] = lambda handle: None
        """Asked for the size of an open file, which lseek(2) wants to know for SEEK_END and
        SEEK_DATA; None: that of its path. (fstat(2) asks for the path's.)"""

    # -- running ----------------------------------------------------------------------------------

    def run(
        self, mountpoint: str, files: FileSystem, mounted: Callable[[], None] = lambda: None
    ) -> int:
        """Mount ``files`` and serve them; returns when the file system is gone.

        ``mounted`` is called in a thread of its own once it answers. Not 0: it could not be
        mounted, for a reason that libfuse has printed to descriptor 2.
        """
        self._files, self._mounted = files, mounted
        self._measured = Measured(files.text)
        self._main_thread = threading.get_ident()
        return self._libfuse.run(self._options, self._operations(), mountpoint)

    def serve(self, descriptor: int, files: FileSystem, ready: Callable[[], None]) -> None:
        """Serve a connection of /dev/fuse that somebody has mounted, and close it in the end.

        Returns when it is cut. ``ready`` as ``mounted`` of ``run``. UserError: libfuse refuses it.
        """
        self._files, self._mounted = files, ready
        self._measured = Measured(files.text)
        self._main_thread = threading.get_ident()
        if not self._libfuse.serve(self._options, self._operations(), descriptor):
            raise UserError("libfuse cannot serve what is mounted")

    def exit(self) -> None:
        """End ``run``, from any thread. Whoever waits in an operation must be let go first."""
        with self._session_lock:
            if self._session is not None and self._main_thread is not None:
                self._lib.fuse_exit(self._session)
                # libfuse's main thread sleeps until a signal interrupts it.
                signal.pthread_kill(self._main_thread, WAKES_MAIN)

    def interrupted(self) -> bool:
        """Has the client of the operation that runs in this thread been sent a signal?"""
        return bool(self._lib.fuse_interrupted())

    def client(self) -> tuple[int, int, int]:
        """(uid, gid, pid) of the client of the operation that runs in this thread."""
        found: tuple[int, int, int] = self._fuse.fuse_get_context()
        return found

    def nonblocking(self) -> bool:
        """Has the file that is read in this thread O_NONBLOCK?"""
        return bool(getattr(self._reading, "flags", 0) & os.O_NONBLOCK)

    # -- callbacks --------------------------------------------------------------------------------

    def _operations(self) -> Any:
        kind_of_all = operations_type(self._fuse)
        operations = kind_of_all()
        types = {name: kind for name, kind, *_ in self._fuse.fuse_operations._fields_}
        types.setdefault("poll", c_void_p)
        for name, arguments in _PROTOTYPES.items():
            if name in self._without or name not in types:
                continue
            method = getattr(self, f"_{name}", _refuse)
            types_of_all = (*arguments, *self._libfuse.extra.get(name, ()))
            callback = ctypes.CFUNCTYPE(c_int, *types_of_all)(self._guarded(name, method))
            self._keep_alive.append(callback)
            setattr(operations, name, ctypes.cast(callback, types[name]))
        more = self._libfuse.extra.get("init", ())
        init = ctypes.CFUNCTYPE(c_void_p, c_void_p, *more)(self._init)
        destroy = ctypes.CFUNCTYPE(None, c_void_p)(self._destroy)
        self._keep_alive += (init, destroy)
        operations.init = ctypes.cast(init, types["init"])
        operations.destroy = ctypes.cast(destroy, types["destroy"])
        self._libfuse.prepare(operations)
        return operations

    def _guarded(self, name: str, method: Callable[..., int]) -> Callable[..., int]:
        """Errors become errnos; what nobody expected becomes EIO and a traceback in the log."""
        keep = self._states.keep

        def call(*arguments: Any) -> int:
            try:
                keep()
                return method(*arguments)
            except OSError as error:
                return -(error.errno or errno.EIO)
            except MemoryError:
                return -errno.ENOMEM
            except BaseException:
                log.exception("operation %s failed unexpectedly", name)
                return -errno.EIO

        return call

    def _init(self, connection: int, config: int = 0) -> int:
        self._libfuse.configure(config)
        session: int = self._lib.fuse_get_context().contents.fuse
        self._session = session
        self.descriptor = self._libfuse.descriptor(session)
        threading.Thread(target=self._mounted, daemon=True).start()
        return 0

    def _destroy(self, _: int) -> None:
        """libfuse frees the session next (fuse_session_destroy)."""
        with self._session_lock:
            self._session = None

    def _handle(self, info: int) -> int:
        return c_uint64.from_address(info + self._fh).value

    def _getattr(self, path: bytes | None, buffer: int, info: int = 0) -> int:
        """``info``: of an open file; libfuse 3 tells no path then."""
        size = self.sought(self._handle(info)) if info else None
        if path is None:
            path = self._paths[self._handle(info)]
        found = self._files.getattr(path)
        if size is None and stat.S_ISREG(found.mode):
            size = self._measured.size(path)
        ctypes.memset(buffer, 0, ctypes.sizeof(self._stat))
        status = self._stat.from_address(buffer)
        status.st_mode, status.st_nlink = found.mode, found.links
        status.st_size = found.size if size is None else size
        status.st_uid, status.st_gid = self._files.uid, self._files.gid
        status.st_ino = found.inode
        moments = (status.st_atimespec, status.st_mtimespec, status.st_ctimespec)
        for moment, nanoseconds in zip(moments, self._times.of(path), strict=True):
            moment.tv_sec, moment.tv_nsec = divmod(nanoseconds, 10**9)
        return 0

    _fgetattr = _getattr

    def _readlink(self, path: bytes, buffer: int, size: int) -> int:
        target = self._files.readlink(path)[: size - 1] + b"\0"
        ctypes.memmove(buffer, target, len(target))
        return 0

    def _opendir(self, path: bytes, info: int) -> int:
        c_uint64.from_address(info + self._fh).value = self._files.opendir(path)
        return 0

    def _readdir(
        self, path: int, buffer: int, fill: int, offset: int, info: int, flags: int = 0
    ) -> int:
        add, more = self._libfuse.filler(fill), self._libfuse.filler_more
        for name in (b".", b"..", *self._files.readdir(self._handle(info))):
            add(buffer, name, None, 0, *more)
        return 0

    def _releasedir(self, path: int, info: int) -> int:
        self._files.releasedir(self._handle(info))
        return 0

    def _open(self, path: bytes, info: int) -> int:
        flags = c_int.from_address(info).value
        handle = self._files.open(path, flags)
        self._paths[handle] = path
        c_uint64.from_address(info + self._fh).value = handle
        return 0

    def _read(self, path: int, buffer: int, size: int, offset: int, info: int) -> int:
        handle = self._handle(info)
        if not c_uint64.from_address(info + self._lock_owner).value:  # for pages, see Measured
            text = self._measured.text(self._paths[handle])
        else:
            text = None
        if text is None:
            data = self._read_directly(handle, size, offset, info)
        else:
            data = text[offset : offset + size]
        ctypes.memmove(buffer, data, len(data))
        return len(data)

    def _read_directly(self, handle: int, size: int, offset: int, info: int) -> bytes:
        tid = self.client()[2]
        if self._repeats.is_one(handle, tid, size, offset):
            return b""
        self._reading.flags = c_int.from_address(info).value
        data = self._files.read(handle, size, offset)
        self._repeats.answered(handle, tid, size, offset, len(data))
        return data

    def _write(self, path: int, buffer: int, size: int, offset: int, info: int) -> int:
        return self._files.write(self._handle(info), ctypes.string_at(buffer, size))

    def _flush(self, path: int, info: int) -> int:
        self._files.flush(self._handle(info))
        return 0

    def _poll(self, path: bytes, info: int, handle: int | None, ready: int) -> int:
        """``handle`` is to be told when the file can be read."""
        notify = PollHandle(self._lib, handle) if handle else None
        found = self._files.poll(self._handle(info), notify)
        if isinstance(found, bool):
            found = _POLL_OUT | (_POLL_IN if found else 0)
        c_uint.from_address(ready).value = found
        return 0

    def _release(self, path: int, info: int) -> int:
        handle = self._handle(info)
        self._paths.pop(handle, None)
        self._repeats.closed(handle)
        self._files.release(handle)
        return 0

    def _utimens(self, path: bytes | None, times: int, info: int = 0) -> int:
        """As on debugfs, whose files anybody can touch who may (simple_setattr)."""
        moments = [
            (
                c_long.from_address(times + 16 * i).value,
                c_long.from_address(times + 16 * i + 8).value,
            )
            for i in range(2)
        ]
        self._times.set(self._paths[self._handle(info)] if path is None else path, moments)
        return 0

    def _create(self, path: bytes, mode: int, info: int) -> int:
        return -errno.EACCES  # what the VFS says of a directory that cannot create

    def _truncate(self, path: bytes | None, size: int, info: int = 0) -> int:
        return 0  # ">" truncates before it writes; there is nothing to lose


def _refuse(*arguments: Any) -> int:
    return -errno.EPERM
