"""The mounted file system: the kernel's files, the control file, the log.

    stats, the counters, unloaded_tainted    as in /sys/kernel/debug/modules (modfs.debugfs)
    kmsg                                     what the kernel would have logged
    control                                  requests, see modfs.control

The host's kernel lets one writer at a time into an inode. So that writers really run side by side,
``control`` is a symbolic link whose target is another name, and so another inode, each time it is
looked at.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable
from typing import NoReturn

from loader.live import Live
from modfs.control import HELP
from modfs.debugfs import FILES, proc_modules, sys_module
from modfs.fuse import DIRECTORY, Attributes
from modfs.requests import Client, Requests

_LINE_MAX = 64 << 10  # bytes of one request
_NAMES = 1024  # of control nodes; more while more of them are open
_NODES = b"/.control/"
_SERVER = b".control/server"  # the number of the process that serves
_ROOT = 1  # what opendir calls it
_ROOT_INODE, _CONTROL_INODE, _NODE_INODE = 1, 1000, 10_000


class Report:
    """An open file whose text is composed when it is first read, and again after a seek to 0."""

    __slots__ = ("_compose", "_text")

    def __init__(self, compose: Callable[[], str]) -> None:
        self._compose = compose
        self._text: bytes | None = None

    def read(self, size: int, offset: int) -> bytes:
        """Part of the text; empty past its end."""
        if self._text is None or offset == 0:
            self._text = self._compose().encode("utf-8", "surrogateescape")
        return self._text[offset : offset + size]

    def write(self, data: bytes) -> int:
        """OSError: EINVAL, as of a file that has no way to be written."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def flush(self) -> None: ...

    def release(self) -> None: ...


class ControlFile(Report):
    """An open control node: whole lines run as they are written, an unfinished one at close."""

    __slots__ = ("_client", "_closed", "_command", "_get_client", "_pending", "_requests", "_skip")

    def __init__(
        self,
        requests: Requests,
        get_client: Callable[[], tuple[int, int, int]],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(lambda: HELP + requests.results.text())
        self._requests = requests
        self._get_client = get_client
        self._closed = closed
        self._pending = b""
        self._skip = False  # the rest of a line that is too long
        self._client: Client | None = None
        self._command = ""

    def write(self, data: bytes) -> int:
        """Run the lines that ``data`` completes, in order. OSError: the first errno."""
        client = self._identify()
        lines = (self._pending + data).split(b"\n")
        if self._skip and len(lines) > 1:
            self._skip = False
            del lines[0]
        self._pending = b"" if self._skip else lines.pop()
        number = 0
        for line in lines if not self._skip else ():
            failed = self._run(line, client)
            number = number or failed
        if len(self._pending) > _LINE_MAX:
            self._pending = b""
            self._skip = True
            self._requests.results.add(client.pid, self._command, "…", "E2BIG (line too long)")
            number = number or errno.E2BIG
        if number:
            raise OSError(number, os.strerror(number))
        return len(data)

    def _identify(self) -> Client:
        uid, gid, tid = self._get_client()
        client = self._client
        if client is None or (client.uid, client.gid, client.tid) != (uid, gid, tid):
            client = self._client = Client(uid, gid, tid)
            self._command = client.command
        return client

    def _run(self, line: bytes, client: Client) -> int:
        if len(line) > _LINE_MAX:
            self._requests.results.add(client.pid, self._command, "…", "E2BIG (line too long)")
            return errno.E2BIG
        return self._requests.run(line.decode("utf-8", "surrogateescape"), client, self._command)

    def flush(self) -> None:
        """At each close(2): run what is left of a line, if its writer closes. OSError: its errno.

        A child that inherited the descriptor may close it while the line is still being written.
        """
        if self._pending and self._client and Client(*self._get_client()).pid == self._client.pid:
            self._finish()

    def release(self) -> None:
        """At the last close: nothing written is dropped."""
        try:
            if self._pending:
                self._finish()
        except OSError:
            pass  # nobody is left to be told; the result is there to read
        finally:
            self._closed()

    def _finish(self) -> None:
        line, self._pending = self._pending, b""
        number = self._run(line, self._client or Client(0, 0, 0))
        if number:
            raise OSError(number, os.strerror(number))


class _Nodes:
    """Names for control nodes: a new one for each writer, used again once it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._open: dict[int, int] = {}  # number -> how often it is open

    def take(self) -> int:
        """A number that nobody has open."""
        with self._lock:
            for _ in range(_NAMES + len(self._open)):
                self._next = (self._next + 1) % max(_NAMES, 2 * len(self._open))
                if self._next not in self._open:
                    break
            return self._next

    def opened(self, number: int) -> Callable[[], None]:
        """Note that it is open; call the answer at its close."""
        with self._lock:
            self._open[number] = self._open.get(number, 0) + 1

        def closed() -> None:
            with self._lock:
                self._open[number] -= 1
                if not self._open[number]:
                    del self._open[number]

        return closed


def _no_entry() -> NoReturn:
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


class ModulesDirectory:
    """/sys/kernel/debug/modules, served from a live engine (modfs.fuse.FileSystem)."""

    def __init__(self, live: Live, control_mode: int = 0o600) -> None:
        self.live = live
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.when_mounted: Callable[[], None] = lambda: None
        self._control_mode = control_mode
        self._texts: dict[bytes, Callable[[], str]] = {
            name.encode(): lambda make=file.text: make(live.statistics())  # type: ignore[misc]
            for name, file in FILES.items()
        }
        self._texts[b"kmsg"] = live.kmsg
        # For programs of ours that join this engine.
        self._texts[_SERVER] = lambda: f"{os.getpid()}\n"
        self._texts[b".control/proc_modules"] = lambda: proc_modules(live.snapshot())
        self._texts[b".control/sys_module"] = lambda: json.dumps(sys_module(live.snapshot()))
        root = str(live.tree.root.resolve()) if live.tree else ""
        self._texts[b".control/tree"] = lambda: f"{root}\n"
        self._texts[b".control/compression"] = lambda: f"{live.config.compression}\n"
        modes = dict.fromkeys(self._texts, 0o444)
        modes |= {name.encode(): file.mode for name, file in FILES.items()}
        self._attributes: dict[bytes, Attributes] = {
            b"/" + name: Attributes(stat.S_IFREG | mode, inode=number)
            for number, (name, mode) in enumerate(modes.items(), _ROOT_INODE + 1)
        }
        self._attributes[b"/"] = DIRECTORY
        self._attributes[b"/.control"] = DIRECTORY
        self._attributes[b"/control"] = Attributes(stat.S_IFLNK | 0o777, inode=_CONTROL_INODE)
        self._nodes = _Nodes()
        self._handles: dict[int, Report] = {}
        self._closed = threading.Condition()
        self._ending = False
        self._numbers = itertools.count(1)
        self.serve(lambda: (self.uid, self.gid, os.getpid()), lambda: False)

    def serve(
        self, client: Callable[[], tuple[int, int, int]], interrupted: Callable[[], bool]
    ) -> None:
        """How the operation that runs in a thread learns of its client (modfs.fuse.Server)."""
        self._client = client
        self._requests = Requests(self.live, interrupted)

    def mounted(self) -> None:
        """Called once the file system answers."""
        self.when_mounted()

    # -- names ------------------------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attributes:
        """OSError: ENOENT."""
        found = self._attributes.get(path)
        if found is not None:
            return found
        number = self._node(path)
        return Attributes(stat.S_IFREG | self._control_mode, inode=_NODE_INODE + number)

    def _node(self, path: bytes) -> int:
        digits = path.removeprefix(_NODES)
        if digits == path or not digits.isdigit() or len(digits) > 9:
            _no_entry()
        return int(digits)

    def readlink(self, path: bytes) -> bytes:
        """Another control node each time. OSError: EINVAL."""
        if path != b"/control":
            raise OSError(errno.EINVAL, "not a symbolic link")
        return b".control/%d" % self._nodes.take()

    def opendir(self, path: bytes) -> int:
        """A number for the directory. OSError: ENOTDIR."""
        if self.getattr(path) is not DIRECTORY:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return _ROOT if path == b"/" else 0

    def readdir(self, directory: int) -> Iterable[bytes]:
        """Names in a directory; control nodes are not listed."""
        if directory == _ROOT:
            yield from (name for name in self._texts if b"/" not in name)
            yield b"control"

    def releasedir(self, directory: int) -> None:
        """Nothing was kept for it."""

    # -- open files -------------------------------------------------------------------------------

    def open(self, path: bytes, flags: int) -> int:
        """A handle. OSError: ENOENT."""
        handle = next(self._numbers)
        self._handles[handle] = self.open_file(path)
        return handle

    def open_file(self, path: bytes) -> Report:
        """An open file. OSError: ENOENT."""
        compose = self._texts.get(path[1:])
        if compose is not None:
            return Report(compose)
        closed = self._nodes.opened(self._node(path))
        return ControlFile(self._requests, self._client, closed)

    def read(self, handle: int, size: int, offset: int) -> bytes:
        """Part of an open file."""
        return self._handles[handle].read(size, offset)

    def write(self, handle: int, data: bytes) -> int:
        """Requests. OSError: the errno of the first that failed."""
        return self._handles[handle].write(data)

    def flush(self, handle: int) -> None:
        """OSError: the errno of an unfinished line."""
        self._handles[handle].flush()

    def release(self, handle: int) -> None:
        """The last descriptor is closed."""
        self._handles[handle].release()
        del self._handles[handle]
        if self._ending:
            with self._closed:
                self._closed.notify_all()

    def wait_until_closed(self, seconds: float) -> None:
        """Wait until nothing is open, but not longer than that."""
        self._ending = True
        with self._closed:
            self._closed.wait_for(lambda: not self._handles, seconds)
