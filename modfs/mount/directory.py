"""The mounted file system: the kernel's files, the control file, the log.

    stats, the counters, unloaded_tainted    as in /sys/kernel/debug/modules (modfs.debugfs)
    kmsg                                     what the kernel would have logged
    control                                  requests, see modfs.control
    autoload                                 settings, see loader.engine.settings
    events, events_pipe                      the latest calls as a recording; all, as they come

The host's kernel lets one writer at a time into an inode. So that writers really run side by side,
``control`` is a symbolic link whose target is another name, and so another inode, each time it is
looked at.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NoReturn

from loader.calls import Caller
from loader.engine.settings import MODE, settings
from loader.engine.stats import Snapshot
from loader.engine.threads import LiveKernel
from modfs.control.opener import Ours
from modfs.fuse.files import DIRECTORY, Attributes, Nature, Operation
from modfs.mount.control_file import ControlFile, Nodes, TextFile, encoded
from modfs.mount.events import Events, PipeFile
from modfs.mount.options import KEPT
from modfs.mount.room import BoundedRequests
from modfs.mount.setting_file import SettingFile
from modfs.texts import FILES, proc_modules, sys_module

_NODES = b"/.control/"
_SERVER = b".control/server"  # the number of the process that serves
_END = b".control/end"  # who reads it has the server end
_STATUS = b".control/status"
_AUTOLOAD = b"autoload/"
_EVENTS, _PIPE = b"events", b"events_pipe"
_ROOT, _AUTOLOAD_FOLDER = 1, 2  # what opendir calls them
_FOLDER = Nature(waits=False, flushes=False, lasts=True)
_TEXT = Nature(waits=False, flushes=False)
_REQUESTS = Nature()  # in control nodes, and in what waits for events
_ROOT_INODE, _CONTROL_INODE, _NODE_INODE = 1, 1000, 10_000


def _no_entry() -> NoReturn:
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


class _Statistics:
    """A text of the statistics, made again only if something was counted since."""

    __slots__ = ("_kept", "_live", "_make")

    def __init__(self, live: LiveKernel, make: Callable[[Snapshot], str]) -> None:
        self._live, self._make = live, make
        self._kept: tuple[object, str] | None = None

    def __call__(self) -> str:
        counted, kept = self._live.kernel.counted(), self._kept
        if kept is None or kept[0] != counted:
            # What is counted meanwhile may be in the text, and then it is made once too often.
            self._kept = kept = counted, self._make(self._live.statistics())
        return kept[1]


def _as_json(what: Any) -> str:
    from json import dumps  # for programs that join: a mount starts sooner without

    return dumps(what)


def _unloaded(live: LiveKernel, make: Callable[[Snapshot], str]) -> str:
    return make(live.statistics(unloaded=True))


class ModulesDirectory:
    """/sys/kernel/debug/modules, served from a live engine (modfs.fuse.FileSystem)."""

    def __init__(
        self,
        live: LiveKernel,
        operation: Operation,
        control_mode: int = 0o600,
        end: Callable[[], None] | None = None,
        instead: Callable[[int], int] = lambda fd: fd,
        events: Events | None = None,
    ) -> None:
        """``end`` has the server end, where it can be told to; it returns at once. ``instead``: see
        modfs.control.opener.Ours."""
        self.live = live
        self._operation = operation
        self._requests = BoundedRequests(live, operation.interrupted)
        self._ours = Ours(operation.interrupted, instead)
        self.uid, self.gid = os.geteuid(), os.getegid()
        self._control_mode = control_mode
        self._texts: dict[bytes, Callable[[], str]] = {
            name.encode(): (
                partial(_unloaded, live, file.text)
                if name == "unloaded_tainted"
                else _Statistics(live, file.text)
            )
            for name, file in FILES.items()
        }
        self._texts[b"kmsg"] = live.kmsg
        self._events = events or Events(live, KEPT)
        self._texts[_EVENTS] = self._events.text
        # For programs of ours that join this engine.
        self._texts[_SERVER] = lambda: f"{os.getpid()}\n"
        since = time.time()
        self._texts[_STATUS] = lambda: self._requests.status(since)
        if end is not None:
            self._texts[_END] = lambda: f"{end() or 'ending'}\n"
        self._texts[b".control/proc_modules"] = lambda: proc_modules(live.snapshot())
        self._texts[b".control/sys_module"] = lambda: _as_json(sys_module(live.snapshot()))
        root = str(live.tree.root.resolve()) if live.tree else ""
        self._texts[b".control/tree"] = lambda: f"{root}\n"
        self._texts[b".control/compression"] = lambda: f"{live.config.compression}\n"
        self._settings = {
            _AUTOLOAD + os.path.basename(path).encode(): setting
            for path, setting in settings(live.kmod).items()
        }
        modes = dict.fromkeys(self._texts, 0o444) | dict.fromkeys(self._settings, MODE)
        modes |= {name.encode(): file.mode for name, file in FILES.items()}
        # Who asked, by command line and user, is nobody's business but who mounted (security.md).
        modes |= {_EVENTS: 0o400, _PIPE: 0o400}
        modes |= {_END: 0o400} if end is not None else {}
        self._attributes: dict[bytes, Attributes] = {
            b"/" + name: Attributes(stat.S_IFREG | mode, inode=number)
            for number, (name, mode) in enumerate(modes.items(), _ROOT_INODE + 1)
        }
        self._attributes[b"/"] = DIRECTORY
        self._attributes[b"/.control"] = DIRECTORY
        self._attributes[b"/autoload"] = DIRECTORY
        self._attributes[b"/control"] = Attributes(stat.S_IFLNK | 0o777, inode=_CONTROL_INODE)
        self._nodes = Nodes()
        self._handles: dict[int, TextFile | PipeFile] = {}
        self._closed = threading.Condition()
        self._ending = False
        self._numbers = itertools.count(1)

    # -- names ------------------------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attributes:
        """OSError: ENOENT."""
        found = self._attributes.get(path)
        if found is not None:
            return found
        number = self._node(path)
        return Attributes(stat.S_IFREG | self._control_mode, inode=_NODE_INODE + number)

    def nature(self, path: bytes) -> Nature:
        """Who writes requests, or follows events, may wait; other files are texts."""
        if self._attributes.get(path) is DIRECTORY:
            return _FOLDER
        return _TEXT if path[1:] in self._texts or path == b"/control" else _REQUESTS

    def text(self, path: bytes) -> bytes | None:
        """What is in a file now. None: what only the server's own programs read."""
        name = path[1:]
        if name.startswith(_NODES[1:]) and name[len(_NODES) - 1 :].isdigit():
            return encoded(self._requests.text())
        compose = None if name.startswith(b".control/") else self._texts.get(name)
        if compose is None and (setting := self._settings.get(name)) is not None:
            compose = setting.read
        return None if compose is None else encoded(compose())

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
        return {b"/": _ROOT, b"/autoload": _AUTOLOAD_FOLDER}.get(path, 0)

    def readdir(self, directory: int) -> Iterable[bytes]:
        """Names in a directory; control nodes are not listed."""
        if directory == _ROOT:
            yield from (name for name in self._texts if b"/" not in name)
            yield from (b"control", b"autoload", _PIPE)
        elif directory == _AUTOLOAD_FOLDER:
            yield from (name.removeprefix(_AUTOLOAD) for name in self._settings)

    def releasedir(self, directory: int) -> None:
        """Nothing was kept for it."""

    # -- open files -------------------------------------------------------------------------------

    def open(self, path: bytes, flags: int) -> int:
        """A handle. OSError: ENOENT."""
        handle = next(self._numbers)
        self._handles[handle] = self.open_file(path, flags)
        return handle

    def open_file(self, path: bytes, flags: int = 0) -> TextFile | PipeFile:
        """An open file. OSError: ENOENT; EAGAIN too many of events_pipe; EMFILE, ENFILE, ENOMEM:
        this server is short of it."""
        if path[1:] == _PIPE:
            return PipeFile(self._events, Caller(self._operation.interrupted), flags)
        compose = self._texts.get(path[1:])
        if compose is not None:
            return TextFile(compose)
        if (setting := self._settings.get(path[1:])) is not None:
            return SettingFile(setting)
        closed = self._nodes.opened(self._node(path))
        try:
            return ControlFile(self._requests, self._ours, self._operation.client, closed)
        except OSError:
            closed()
            raise

    def read(self, handle: int, size: int, offset: int) -> bytes:
        """Part of an open file. OSError: EAGAIN: it would wait, and there is no room for that."""
        file = self._handles[handle]
        if isinstance(file, PipeFile) and file.would_wait:
            with self._requests.reader():
                return file.read(size, offset)
        return file.read(size, offset)

    def poll(self, handle: int, notify: Callable[[], None] | None) -> bool:
        """Can something be read now? Else ``notify`` is called once it can."""
        file = self._handles[handle]
        return file.poll(notify) if isinstance(file, PipeFile) else True

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

    def reader(self) -> AbstractContextManager[None]:
        """Taken by who waits to read something. OSError: EAGAIN, there is no room for it."""
        return self._requests.reader()

    def note(self, pid: int, command: str, line: str, outcome: str) -> None:
        """Show a request that came another way, as if the program ``command`` had written it."""
        self._requests.results.add(pid, command, line, outcome)

    def let_go(self) -> None:
        """Whoever waits for a file to be opened, now or later, gets an errno instead."""
        self._ours.let_go()

    def wait_until_closed(self, seconds: float) -> None:
        """Wait until nothing is open, but not longer than that."""
        self._ending = True
        with self._closed:
            self._closed.wait_for(lambda: not self._handles, seconds)
