"""A file system of ours, served by this process itself: it reads the kernel's requests from
/dev/fuse and writes the answers there.

libfuse would call Python back for each operation, through ctypes, in threads that Python does not
know; that takes more than twice as long as what is done here.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import select
import stat
import threading
from collections.abc import Callable, Container
from contextlib import suppress

from loader.errors import UserError
from modfs.fuse import protocol
from modfs.fuse.files import Attributes, FileSystem
from modfs.fuse.measured import Measured
from modfs.fuse.mounting import mount, unmount
from modfs.fuse.nodes import Node, Nodes
from modfs.fuse.options import Options
from modfs.fuse.protocol import ATTR_OUT, ENTRY_OUT, FH, IN_HEADER, OPEN_OUT, OUT_HEADER, READ_IN
from modfs.fuse.repeats import Repeats
from modfs.fuse.server import INTERRUPTS
from modfs.fuse.times import UTIME_NOW, UTIME_OMIT, Times
from modfs.fuse.workers import Worker, Workers

log = logging.getLogger("modfs.fuse")

_MOST = 1 << 17  # bytes of one read or write
_BUFFER = _MOST + 4096  # with what comes before them
_BODY = IN_HEADER.size  # where that begins
_DATA = _BODY + protocol.WRITE_IN.size
_AGAIN = frozenset((errno.EINTR, errno.EAGAIN, errno.ENOENT))  # ENOENT: a request was taken back
_CUT = frozenset((errno.ENODEV, errno.ECONNABORTED))
_NAME_MAX, _BLOCK = 255, 512  # statfs, as libfuse says where nobody else does
_OURS = 0x40000000  # what numbers of inodes begin with that nobody has chosen: 32 bits are enough

_POLL_IN = select.POLLIN | select.POLLRDNORM
_POLL_OUT = select.POLLOUT | select.POLLWRNORM

_Serve = Callable[[Node, bytearray], bytes | None]
"""From a node and a whole request to what follows the header of the answer; None: there is none."""


class _Local(threading.local):
    """The worker that the calling thread is; of another thread nobody asks for anything."""

    worker = Worker()


class _Directory:
    """An open directory, and its names as they were when they were first asked for."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.names: list[bytes] = []


class DirectServer:
    """See modfs.fuse.server.Server."""

    def __init__(self, options: Options, without: Container[str] = ()) -> None:
        self._options = options
        self.descriptor: int | None = None
        self.sought: Callable[[int], int | None] = lambda handle: None
        self._closing = threading.Lock()
        self._cut = False  # somebody else has ended the connection
        self._local = _Local()
        self._times = Times()
        self._repeats = Repeats()
        self._numbers = itertools.count(1)
        self._directories: dict[int, _Directory] = {}
        self._workers = Workers(self._read_requests, INTERRUPTS, self._close)
        self._entry_valid = _moments(options.entry_timeout)
        self._attr_valid = _moments(options.attr_timeout)
        self._operations: dict[int, _Serve] = {
            getattr(protocol, f"FUSE_{name.upper()}"): getattr(self, f"_{name}")
            for name in _OPERATIONS
            if name not in without
        }
        refused: _Serve = _refuse
        self._operations |= dict.fromkeys(_REFUSED, refused)

    # -- running -------------------------------------------------------------------------------

    def run(
        self, mountpoint: str, files: FileSystem, mounted: Callable[[], None] = lambda: None
    ) -> int:
        """See Server."""
        device = mount(mountpoint, self._options)
        if device is None:
            return 1
        try:
            self._serve(device, files, mounted)
        finally:
            if not self._is_cut():
                unmount(mountpoint)
        return 0

    def serve(self, descriptor: int, files: FileSystem, ready: Callable[[], None]) -> None:
        """See Server."""
        self._serve(descriptor, files, ready)

    def exit(self) -> None:
        """See Server."""
        self._workers.stop()

    def _serve(self, device: int, files: FileSystem, ready: Callable[[], None]) -> None:
        self.descriptor = device
        self._files, self._nodes = files, Nodes(files.nature)
        self._measured = Measured(files.text)
        _greet(device)
        try:
            self._workers.start()
        except RuntimeError:
            raise UserError("no thread can be had") from None
        ready()
        self._workers.wait()

    def _close(self) -> None:
        """No thread is left that could read."""
        with self._closing:
            device = self.descriptor
            if self._workers.over and device is not None:
                self._cut = self._cut or _is_cut(device)
                os.close(device)
                self.descriptor = None

    def _is_cut(self) -> bool:
        """Has somebody else ended the connection?"""
        with self._closing:
            return self._cut or (self.descriptor is not None and _is_cut(self.descriptor))

    def interrupted(self) -> bool:
        """See Server. Whoever asks is about to wait (loader.calls.Caller)."""
        self._workers.waits()
        return self._local.worker.interrupted

    def client(self) -> tuple[int, int, int]:
        """See Server."""
        return self._local.worker.who

    def nonblocking(self) -> bool:
        """See Server."""
        return bool(self._local.worker.flags & os.O_NONBLOCK)

    # -- requests ------------------------------------------------------------------------------

    def _read_requests(self, worker: Worker) -> None:
        """What each thread does."""
        self._local.worker = worker
        device, workers = self.descriptor, self._workers
        assert device is not None
        request = bytearray(_BUFFER)
        read, into, parsed, node_of = os.readv, [request], IN_HEADER.unpack_from, self._nodes.get
        while not workers.over:
            try:
                if not read(device, into):
                    return self._end(errno.ENODEV)
            except OSError as error:
                if error.errno in _AGAIN:
                    continue
                return self._end(error.errno or 0)
            _, opcode, unique, number, uid, gid, pid, _, _ = parsed(request)
            worker.who = uid, gid, pid
            node = node_of(number)
            if node is None or not node.nature.waits or opcode == protocol.FUSE_FORGET:
                self._answer(opcode, unique, node, request)
                continue
            try:
                workers.begin(worker, unique)
                self._answer(opcode, unique, node, request)
            finally:
                goes_on = workers.end(worker, unique)
            if not goes_on:
                return

    def _end(self, number: int) -> None:
        """Nothing more can be read, for an errno."""
        self._cut = number in _CUT
        if not self._cut:
            log.error("/dev/fuse cannot be read: %s", os.strerror(number))
        self._workers.stop()

    def _answer(self, opcode: int, unique: int, node: Node | None, request: bytearray) -> None:
        serve = self._operations.get(opcode)
        body: bytes | None = None
        if serve is None:
            reply = OUT_HEADER.pack(OUT_HEADER.size, -errno.ENOSYS, unique)
        elif node is None and opcode not in _OF_NO_NODE:
            reply = OUT_HEADER.pack(OUT_HEADER.size, -errno.ESTALE, unique)
        else:
            try:
                body = serve(node, request)  # type: ignore[arg-type]
                if body is None:
                    return
                reply = OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, unique) + body
            except BaseException as error:
                reply = OUT_HEADER.pack(OUT_HEADER.size, -_number(error, opcode), unique)
        try:
            os.write(self.descriptor, reply)  # type: ignore[arg-type]
        except OSError:  # who asked has gone, or all have
            if body is not None:
                self._take_back(opcode, body)

    def _take_back(self, opcode: int, body: bytes) -> None:
        """What was told to nobody: the kernel will not forget or close it."""
        (number,) = FH.unpack_from(body) if len(body) >= FH.size else (0,)
        with suppress(Exception):
            if opcode == protocol.FUSE_LOOKUP:
                self._nodes.forget(number, 1)
            elif opcode == protocol.FUSE_OPEN:
                self._files.release(number)
            elif opcode == protocol.FUSE_OPENDIR:
                self._files.releasedir(self._directories.pop(number).handle)

    # -- names and attributes ------------------------------------------------------------------

    def _lookup(self, node: Node, request: bytearray) -> bytes:
        name = bytes(request[_BODY : request.index(0, _BODY)])
        path = b"/" + name if node.path == b"/" else b"%s/%s" % (node.path, name)
        found = self._files.getattr(path)
        child = self._nodes.look_up(path)
        try:
            told = self._attributes(child, found)
            (seconds, part), (valid, valid_part) = self._entry_valid, self._valid(child)
            return ENTRY_OUT.pack(child.number, 0, seconds, valid, part, valid_part, *told)
        except BaseException:
            self._nodes.forget(child.number, 1)
            raise

    def _forget(self, node: Node, request: bytearray) -> None:
        self._nodes.forget(node.number, *protocol.FORGET_IN.unpack_from(request, _BODY))

    def _batch_forget(self, node: Node, request: bytearray) -> None:
        count, _ = protocol.BATCH_FORGET_IN.unpack_from(request, _BODY)
        first = _BODY + protocol.BATCH_FORGET_IN.size
        size = protocol.FORGET_ONE.size
        for number, lookups in protocol.FORGET_ONE.iter_unpack(
            request[first : first + count * size]
        ):
            self._nodes.forget(number, lookups)

    def _getattr(self, node: Node, request: bytearray) -> bytes:
        flags, handle = protocol.GETATTR_IN.unpack_from(request, _BODY)
        size = self.sought(handle) if flags & protocol.FUSE_GETATTR_FH else None
        return self._told(node, size)

    def _told(self, node: Node, size: int | None = None) -> bytes:
        """``size``: in bytes, if it is not that of the path."""
        told = self._attributes(node, self._files.getattr(node.path), size)
        return ATTR_OUT.pack(*self._valid(node), 0, *told)

    def _valid(self, node: Node) -> tuple[int, int]:
        """How long what is told of it may be remembered: seconds and nanoseconds."""
        return self._entry_valid if node.nature.lasts else self._attr_valid

    def _attributes(
        self, node: Node, found: Attributes, size: int | None = None
    ) -> tuple[int, ...]:
        """Those of fuse_attr."""
        files, path = self._files, node.path
        if size is None and stat.S_ISREG(found.mode):
            size = self._measured.size(path)
        atime, mtime, ctime = (divmod(moment, 10**9) for moment in self._times.of(path))
        return (
            found.inode or (_OURS | node.number % _OURS), found.size if size is None else size, 0,
            atime[0], mtime[0], ctime[0], atime[1], mtime[1], ctime[1],
            found.mode, found.links, files.uid, files.gid, 0, 0, 0,
        )  # fmt: skip

    def _setattr(self, node: Node, request: bytearray) -> bytes:
        """As on debugfs: times are anybody's to set who may (simple_setattr), owner and mode are
        not; ">" truncates before it writes, and there is nothing to lose."""
        valid, _, _, _, _, atime, mtime, _, atime_part, mtime_part, *_ = (
            protocol.SETATTR_IN.unpack_from(request, _BODY)
        )
        if valid & (protocol.FATTR_MODE | protocol.FATTR_UID | protocol.FATTR_GID):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if valid & (protocol.FATTR_ATIME | protocol.FATTR_MTIME):
            now = valid & protocol.FATTR_ATIME_NOW, valid & protocol.FATTR_MTIME_NOW
            given = valid & protocol.FATTR_ATIME, valid & protocol.FATTR_MTIME
            moments = zip((atime, mtime), (atime_part, mtime_part), given, now, strict=True)
            self._times.set(node.path, [_moment(*moment) for moment in moments])
        return self._told(node)

    def _readlink(self, node: Node, request: bytearray) -> bytes:
        return self._files.readlink(node.path)

    def _statfs(self, node: Node, request: bytearray) -> bytes:
        return protocol.STATFS_OUT.pack(0, 0, 0, 0, 0, _BLOCK, _NAME_MAX, 0, 0)

    # -- directories ---------------------------------------------------------------------------

    def _opendir(self, node: Node, request: bytearray) -> bytes:
        number = next(self._numbers)
        self._directories[number] = _Directory(self._files.opendir(node.path))
        return OPEN_OUT.pack(number, 0, 0)

    def _readdir(self, node: Node, request: bytearray) -> bytes:
        number, offset, size, *_ = READ_IN.unpack_from(request, _BODY)
        directory = self._directories[number]
        if not offset or not directory.names:  # seekdir(3) may come first
            directory.names = [b".", b"..", *self._files.readdir(directory.handle)]
        found = bytearray()
        for place, name in enumerate(directory.names[offset:], offset + 1):
            entry = protocol.DIRENT.pack(protocol.FUSE_UNKNOWN_INO, place, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return bytes(found)

    def _releasedir(self, node: Node, request: bytearray) -> bytes:
        (number,) = FH.unpack_from(request, _BODY)
        self._files.releasedir(self._directories.pop(number).handle)
        return b""

    # -- files ---------------------------------------------------------------------------------

    def _open(self, node: Node, request: bytearray) -> bytes:
        flags, _ = protocol.OPEN_IN.unpack_from(request, _BODY)
        handle = self._files.open(node.path, flags)
        answer = protocol.FOPEN_DIRECT_IO
        if not node.nature.flushes:
            answer |= protocol.FOPEN_NOFLUSH
        return OPEN_OUT.pack(handle, answer, 0)

    def _read(self, node: Node, request: bytearray) -> bytes:
        handle, offset, size, how, _, flags = READ_IN.unpack_from(request, _BODY)
        if not how & protocol.FUSE_READ_LOCKOWNER:  # for pages, see Measured
            text = self._measured.text(node.path)
            if text is not None:
                return text[offset : offset + size]
        worker = self._local.worker
        worker.flags = flags
        tid = worker.who[2]
        if self._repeats.is_one(handle, tid, size, offset):
            return b""
        data = self._files.read(handle, size, offset)
        self._repeats.answered(handle, tid, size, offset, len(data))
        return data

    def _write(self, node: Node, request: bytearray) -> bytes:
        handle, _, size, *_ = protocol.WRITE_IN.unpack_from(request, _BODY)
        with memoryview(request) as whole:
            data = bytes(whole[_DATA : _DATA + size])
        return protocol.WRITE_OUT.pack(self._files.write(handle, data), 0)

    def _flush(self, node: Node, request: bytearray) -> bytes:
        self._files.flush(*FH.unpack_from(request, _BODY))
        return b""

    def _poll(self, node: Node, request: bytearray) -> bytes:
        """Who polls may want to be told when the file can be read."""
        handle, told, flags, _ = protocol.POLL_IN.unpack_from(request, _BODY)

        def notify() -> None:
            body = protocol.POLL_WAKEUP_OUT.pack(told)
            size = OUT_HEADER.size + len(body)
            if not self._workers.over and self.descriptor is not None:
                with suppress(OSError):  # nobody polls it any more
                    head = OUT_HEADER.pack(size, protocol.FUSE_NOTIFY_POLL, 0)
                    os.write(self.descriptor, head + body)

        wanted = notify if flags & protocol.FUSE_POLL_SCHEDULE_NOTIFY else None
        found = self._files.poll(handle, wanted)
        if isinstance(found, bool):
            found = _POLL_OUT | (_POLL_IN if found else 0)
        return protocol.POLL_OUT.pack(found, 0)

    def _release(self, node: Node, request: bytearray) -> bytes:
        (handle,) = FH.unpack_from(request, _BODY)
        self._repeats.closed(handle)
        self._files.release(handle)
        return b""

    # -- others --------------------------------------------------------------------------------

    def _interrupt(self, node: Node, request: bytearray) -> None:
        self._workers.interrupt(*protocol.INTERRUPT_IN.unpack_from(request, _BODY))

    def _destroy(self, node: Node, request: bytearray) -> bytes:
        return b""

    def _create(self, node: Node, request: bytearray) -> bytes:
        """What the VFS says of a directory that cannot create."""
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


_OPERATIONS = (
    *("lookup", "forget", "batch_forget", "getattr", "setattr", "readlink", "statfs"),
    *("opendir", "readdir", "releasedir", "open", "read", "write", "flush", "poll", "release"),
    *("interrupt", "destroy", "create"),
)
_OF_NO_NODE = frozenset(
    (protocol.FUSE_BATCH_FORGET, protocol.FUSE_INTERRUPT, protocol.FUSE_DESTROY)
)
# What debugfs refuses.
_REFUSED = (
    *(protocol.FUSE_MKNOD, protocol.FUSE_MKDIR, protocol.FUSE_UNLINK, protocol.FUSE_RMDIR),
    *(protocol.FUSE_SYMLINK, protocol.FUSE_RENAME, protocol.FUSE_RENAME2, protocol.FUSE_LINK),
)


def _refuse(node: Node, request: bytearray) -> bytes:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def _number(error: BaseException, opcode: int) -> int:
    """The errno that is told; what nobody expected is logged, and becomes EIO."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    log.exception("operation %d failed unexpectedly", opcode)
    return errno.EIO


def _moments(seconds: float) -> tuple[int, int]:
    """Seconds and nanoseconds."""
    return int(seconds), int(seconds % 1 * 10**9)


def _moment(seconds: int, part: int, given: int, now: int) -> tuple[int, int]:
    """As utimensat(2) has it."""
    if not given:
        return 0, UTIME_OMIT
    return (0, UTIME_NOW) if now else (seconds, part)


# -- the connection --------------------------------------------------------------------------------


def _greet(device: int) -> None:
    """Answer FUSE_INIT, which comes first. UserError: the kernel's protocol is another one."""
    while True:
        request = os.read(device, _BUFFER)
        _, opcode, unique, *_ = IN_HEADER.unpack_from(request)
        major, minor, readahead, flags = protocol.INIT_IN.unpack_from(request, _BODY)
        if opcode != protocol.FUSE_INIT or (major, minor) < (
            protocol.FUSE_KERNEL_VERSION,
            protocol.LEAST_MINOR_VERSION,
        ):
            raise UserError(f"the kernel's FUSE is {major}.{minor}: too old")
        wanted = protocol.FUSE_ASYNC_READ | protocol.FUSE_ATOMIC_O_TRUNC
        wanted |= protocol.FUSE_BIG_WRITES | protocol.FUSE_PARALLEL_DIROPS
        body = protocol.INIT_OUT.pack(
            protocol.FUSE_KERNEL_VERSION, min(minor, protocol.FUSE_KERNEL_MINOR_VERSION),
            readahead, flags & wanted, 0, 0, _MOST, 1, 0, 0, 0,
        )  # fmt: skip
        os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, unique) + body)
        if major == protocol.FUSE_KERNEL_VERSION:  # else the kernel asks again, with this one
            return


def _is_cut(device: int) -> bool:
    """Has it been unmounted, or aborted (fuse_dev_poll)?"""
    poll = select.poll()
    poll.register(device, 0)
    return bool(poll.poll(0))
