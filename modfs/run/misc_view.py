"""/sys/devices/virtual/misc: the host's devices in links, and test_kmod0 with its module."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

from loader.calls import Caller, Origin, Task
from loader.engine.kmod_device import NAME, Attribute, KmodDevice
from loader.engine.threads import LiveKernel
from modfs.fuse.files import DIRECTORY, Attributes
from modfs.mount.control_file import TextFile
from modfs.run.views import Opened

_MODULE = "test_kmod"
_ORIGIN = Origin(Task(_MODULE, 0))  # threads of the kernel
_FUNCTION = f"run_request [{_MODULE}]"
_LINK = Attributes(stat.S_IFLNK | 0o777)


class _AttributeFile(TextFile):
    """An open file of the device."""

    __slots__ = ("_attribute",)

    def __init__(self, attribute: Attribute) -> None:
        super().__init__(attribute.read or _unreadable)
        self._attribute = attribute

    def write(self, data: bytes) -> int:
        """OSError: its errno; EIO, it cannot be written."""
        if self._attribute.write is None:
            raise _error(errno.EIO)
        self._attribute.write(data)
        return len(data)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _unreadable() -> str:
    raise _error(errno.EIO)


class MiscView:
    """One subtree (modfs.run.views.View)."""

    def __init__(self, live: LiveKernel, real: Path, here: Path) -> None:
        """``real``: the folder where programs see the host's own; ``here``: where this process
        does."""
        self._live = live
        self._real, self._here = os.fsencode(real), os.fsencode(here)
        self._lock = threading.Lock()
        self._device: KmodDevice | None = None

    def _files(self) -> dict[str, Attribute]:
        """Of test_kmod0; none while its module is not live. It is made when it is first looked
        for."""
        kernel = self._live.kernel
        with kernel.lock:
            live = kernel.is_live(_MODULE)
        with self._lock:
            if live and self._device is None:
                self._device = self._made()
            elif not live and self._device is not None:
                self._device.remove()
                self._device = None
            return {} if self._device is None else self._device.files

    def _made(self) -> KmodDevice:
        live, caller = self._live, Caller(origin=lambda: _ORIGIN)
        return KmodDevice(
            lambda string: live.request_module(string, caller, function=_FUNCTION),
            lambda name: live.get_fs_type(name, caller),
            lambda lines: live.kernel.say(tuple(lines)),
        )

    def _attribute(self, path: bytes) -> Attribute | None:
        folder, _, name = path[1:].decode("utf-8", "replace").partition("/")
        return self._files().get(name) if folder == NAME else None

    def getattr(self, path: bytes) -> Attributes:
        if path == b"/" or (path == b"/%s" % NAME.encode() and self._files()):
            return DIRECTORY
        attribute = self._attribute(path)
        if attribute is not None:
            return Attributes(stat.S_IFREG | attribute.mode, size=4096)
        if path.count(b"/") > 1 or not os.path.lexists(self._here + path):
            raise _error(errno.ENOENT)
        return _LINK

    def text(self, path: bytes) -> None:
        """All files of sysfs are said to have one page."""

    def readlink(self, path: bytes) -> bytes:
        if self.getattr(path) is not _LINK:
            raise _error(errno.EINVAL)
        return self._real + path

    def names(self, path: bytes) -> Iterable[bytes]:
        files = self._files()
        if path != b"/":
            return [name.encode() for name in files]
        return [*os.listdir(self._here), *([NAME.encode()] if files else [])]

    def open_file(self, path: bytes, flags: int = os.O_RDONLY) -> Opened:
        attribute = self._attribute(path)
        if attribute is None:
            raise _error(errno.ENOENT)
        return _AttributeFile(attribute)
