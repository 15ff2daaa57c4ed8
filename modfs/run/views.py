"""What programs under ``modfs run`` see of their kernel: one file system, bound to its places.

debug     /sys/kernel/debug/modules   (modfs.mount.directory)
module    /sys/module                 the modules that are loaded (modfs.run.module_view)
proc      /proc/modules; or all of /proc in links, where the host's kernel has no such file
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from loader.engine.settings import Setting
from modfs.fuse.files import DIRECTORY, Attributes, Nature
from modfs.mount.control_file import TextFile, encoded
from modfs.mount.directory import ModulesDirectory
from modfs.mount.setting_file import SettingFile

_FILE = Attributes(stat.S_IFREG | 0o444)
_SETTING = Attributes(stat.S_IFREG | 0o644)
_PRIVATE = Attributes(stat.S_IFREG | 0o400)
_LINK = Attributes(stat.S_IFLNK | 0o777)


class Opened(Protocol):
    """An open file (modfs.mount.control_file)."""

    def read(self, size: int, offset: int) -> bytes: ...

    def write(self, data: bytes) -> int: ...

    def flush(self) -> None: ...

    def release(self) -> None: ...


@runtime_checkable
class Polled(Protocol):
    """An open file that cannot always be read."""

    def poll(self, notify: Callable[[], None] | None) -> bool | int: ...


@runtime_checkable
class Sought(Protocol):
    """An open file that is to know of lseek(2)."""

    def sought(self) -> int: ...


class View(Protocol):
    """One subtree. Paths start with "/"; OSError: ENOENT and the like."""

    def getattr(self, path: bytes) -> Attributes: ...

    def text(self, path: bytes) -> bytes | None: ...

    def readlink(self, path: bytes) -> bytes: ...

    def names(self, path: bytes) -> Iterable[bytes]: ...

    def open_file(self, path: bytes, flags: int = os.O_RDONLY) -> Opened: ...


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class DebugView:
    """The files of a ModulesDirectory."""

    def __init__(self, files: ModulesDirectory) -> None:
        self._files = files
        self.getattr, self.text = files.getattr, files.text
        self.readlink = files.readlink

    def open_file(self, path: bytes, flags: int = os.O_RDONLY) -> Opened:
        return self._files.open_file(path)

    def names(self, path: bytes) -> Iterable[bytes]:
        return self._files.readdir(self._files.opendir(path))


class ProcView:
    """Files of our own, and links to everything else in the real /proc, which is mounted in here.

    Links to links such as ``net`` still mean whoever follows them: the real procfs answers.
    """

    def __init__(
        self,
        files: dict[str, Callable[[], str]],
        client: Callable[[], tuple[int, int, int]],
        real: Path | None,
        here: Path = Path("/proc"),
        settings: Mapping[str, Setting] | None = None,
        private: Mapping[str, Callable[[], Opened]] | None = None,
    ) -> None:
        """``files`` by path, such as "modules"; ``settings``: those that can be written, such as
        "sys/kernel/modprobe"; ``private``: those that only root opens, and what each is then;
        ``client``: who asks, see modfs.fuse.files; ``real``: the folder with
        the real procfs, None to have only the files; ``here``: where this process has it."""
        self._files = {b"/" + path.encode(): compose for path, compose in files.items()}
        self._settings = {b"/" + path.encode(): each for path, each in (settings or {}).items()}
        self._files |= {path: setting.read for path, setting in self._settings.items()}
        self._private = {b"/" + path.encode(): each for path, each in (private or {}).items()}
        self._client = client
        self._real = None if real is None else os.fsencode(real)
        self._here = os.fsencode(here)
        self._folders = {b"/"}
        self._hidden = b"" if real is None else b"/" + os.fsencode(real.name)
        for path in (*self._files, *self._private):
            while path := path.rpartition(b"/")[0]:
                self._folders.add(path)

    def getattr(self, path: bytes) -> Attributes:
        if path in self._folders or (path == self._hidden and path):
            return DIRECTORY
        if path in self._files:
            return _SETTING if path in self._settings else _FILE
        if path in self._private:
            return _PRIVATE
        if self._real is None or not os.path.lexists(self._here + path):
            raise _error(errno.ENOENT)
        return _LINK

    def text(self, path: bytes) -> bytes | None:
        """What is in a file now."""
        compose = self._files.get(path)
        return None if compose is None else encoded(compose())

    def readlink(self, path: bytes) -> bytes:
        if self.getattr(path) is not _LINK or self._real is None:
            raise _error(errno.EINVAL)
        if path in (b"/self", b"/thread-self"):
            return self._self(thread=path != b"/self")
        return self._real + path

    def _self(self, thread: bool) -> bytes:
        """As proc_self_get_link and proc_thread_self_get_link. OSError: it is gone."""
        tid = self._client()[2]
        with open(self._here + b"/%d/status" % tid, "rb") as status:
            tgid = next(line.split()[1] for line in status if line.startswith(b"Tgid:"))
        return b"%s/task/%d" % (tgid, tid) if thread else tgid

    def names(self, path: bytes) -> Iterable[bytes]:
        own = (name.rpartition(b"/") for name in (*self._files, *self._private, *self._folders))
        found = [name for folder, _, name in own if name and (folder or b"/") == path]
        if self._real is not None:  # in its order, which programs such as ps take for sorted
            found += os.listdir(self._here + path)
        return dict.fromkeys(found)

    def open_file(self, path: bytes, flags: int = os.O_RDONLY) -> Opened:
        if path in self._private:
            return self._private[path]()
        if path not in self._files:
            raise _error(errno.ENOENT)
        setting = self._settings.get(path)
        return TextFile(self._files[path]) if setting is None else SettingFile(setting)


class Views:
    """All subtrees as one file system (modfs.fuse.files.FileSystem)."""

    def __init__(self, views: dict[str, View]) -> None:
        self.uid, self.gid = os.geteuid(), os.getegid()
        self._views = {name.encode(): view for name, view in views.items()}
        self._numbers = itertools.count(1)
        self._opened: dict[int, Opened] = {}
        self._folders: dict[int, tuple[View, bytes]] = {}

    def _find(self, path: bytes) -> tuple[View, bytes]:
        name, _, rest = path[1:].partition(b"/")
        view = self._views.get(name)
        if view is None:
            raise _error(errno.ENOENT)
        return view, b"/" + rest

    def getattr(self, path: bytes) -> Attributes:
        """OSError: ENOENT."""
        if path == b"/":
            return DIRECTORY
        view, rest = self._find(path)
        return view.getattr(rest)

    def nature(self, path: bytes) -> Nature:
        """What the views show comes and goes, and some of it is looked for elsewhere."""
        return Nature()

    def text(self, path: bytes) -> bytes | None:
        """What is in a file now. OSError: ENOENT."""
        view, rest = self._find(path)
        return view.text(rest)

    def readlink(self, path: bytes) -> bytes:
        """OSError: ENOENT, EINVAL."""
        view, rest = self._find(path)
        return view.readlink(rest)

    def opendir(self, path: bytes) -> int:
        """OSError: ENOENT, ENOTDIR."""
        if path == b"/":
            return 0
        view, rest = self._find(path)
        if not stat.S_ISDIR(view.getattr(rest).mode):
            raise _error(errno.ENOTDIR)
        number = next(self._numbers)
        self._folders[number] = (view, rest)
        return number

    def readdir(self, directory: int) -> Iterable[bytes]:
        """Names in an open directory."""
        if not directory:
            return list(self._views)
        view, rest = self._folders[directory]
        return view.names(rest)

    def releasedir(self, directory: int) -> None:
        """The directory is closed."""
        self._folders.pop(directory, None)

    def open(self, path: bytes, flags: int) -> int:
        """A handle. OSError: ENOENT."""
        view, rest = self._find(path)
        number = next(self._numbers)
        self._opened[number] = view.open_file(rest, flags)
        return number

    def read(self, handle: int, size: int, offset: int) -> bytes:
        """Part of an open file."""
        return self._opened[handle].read(size, offset)

    def poll(self, handle: int, notify: Callable[[], None] | None) -> bool | int:
        """Can something be read now? Of most files always."""
        file = self._opened[handle]
        return file.poll(notify) if isinstance(file, Polled) else True

    def sought(self, handle: int) -> int | None:
        """The size that lseek(2) is told of an open file; None: that of its path."""
        file = self._opened[handle]
        return file.sought() if isinstance(file, Sought) else None

    def write(self, handle: int, data: bytes) -> int:
        """OSError: EBADF, or a request's errno."""
        return self._opened[handle].write(data)

    def flush(self, handle: int) -> None:
        """OSError: the errno of an unfinished request."""
        self._opened[handle].flush()

    def release(self, handle: int) -> None:
        """The last descriptor is closed."""
        self._opened.pop(handle).release()
