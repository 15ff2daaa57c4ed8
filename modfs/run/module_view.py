"""/sys/module: the modules that are loaded, as files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from modfs.devices.uevents import Synthetic, synthetic
from modfs.fuse.files import DIRECTORY, Attributes
from modfs.mount.control_file import TextFile, encoded
from modfs.run.views import Opened

_SIZE = 4096  # bytes: one page, whatever is in a file (sysfs_add_file_mode_ns)
_ADDRESS = 19  # bytes: 0x, 16 digits and a newline (MODULE_SECT_READ_SIZE)
_UEVENT = Attributes(stat.S_IFREG | 0o200, size=_SIZE)
_LINK = Attributes(stat.S_IFLNK | 0o777)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Uevent(TextFile):
    """/sys/module/NAME/uevent: an event for whoever hears those of the sandbox, if anybody can."""

    __slots__ = ("_send",)

    def __init__(self, send: Callable[[Synthetic], None]) -> None:
        super().__init__(str)
        self._send = send

    def read(self, size: int, offset: int) -> bytes:
        """OSError: EIO, as of an attribute that shows nothing (module_attr_show)."""
        raise _error(errno.EIO)

    def write(self, data: bytes) -> int:
        """OSError: EINVAL, no such event."""
        self._send(synthetic(data))
        return len(data)


class Parameters(Protocol):
    """Those of the modules that are loaded, which can be set."""

    def mode(self, module: str, parameter: str) -> int:
        """Its permissions."""

    def set(self, module: str, parameter: str, text: str) -> None:
        """OSError: what its own check says, such as EINVAL."""


class ParameterFile(TextFile):
    """/sys/module/NAME/parameters/PARAMETER."""

    __slots__ = ("_set",)

    def __init__(self, compose: Callable[[], str], set_: Callable[[str], None]) -> None:
        super().__init__(compose)
        self._set = set_

    def write(self, data: bytes) -> int:
        """What one write gives is one value, up to a page (kernfs_fop_write_iter)."""
        taken = data[:_SIZE]
        self._set(taken.partition(b"\0")[0].decode("utf-8", "surrogateescape"))
        return len(taken)


class SysModuleView:
    """/sys/module: a folder for each module, and the compression that the kernel knows."""

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        files: Callable[[str], dict[str, str]],
        compression: str,
        parameters: Parameters | None = None,
        send: Callable[[str, Synthetic], None] = lambda module, event: None,
    ) -> None:
        """``names`` of all; ``files`` of one, with their texts, empty if it is not there. Without
        ``parameters`` those can be read only. ``send``: an event of a module."""
        self._send = send
        self._module_names = names
        self._module_files = files
        self._parameters = parameters
        self._compression = b"" if compression == "none" else f"{compression}\n".encode()

    def _file(self, path: bytes) -> str | None:
        """The text of one file, None where there is none."""
        if path == b"/compression":
            return self._compression.decode() or None
        name, _, file = path[1:].decode("utf-8", "replace").partition("/")
        return self._module_files(name).get(file)

    def _names(self, path: bytes) -> set[str] | None:
        """What is in a directory, None if it is none."""
        if path == b"/":
            return {*self._module_names(), *(["compression"] if self._compression else [])}
        name, _, folder = path[1:].decode("utf-8", "replace").partition("/")
        files = self._module_files(name)
        if not files:
            return None
        if not folder:
            return {file.partition("/")[0] for file in files} | {"holders", "sections", "uevent"}
        if folder not in ("holders", "sections", "parameters", "notes"):
            return None
        inside = {
            file.removeprefix(f"{folder}/") for file in files if file.startswith(f"{folder}/")
        }
        return inside if inside or folder in ("holders", "sections") else None

    def getattr(self, path: bytes) -> Attributes:
        if self._names(path) is not None:
            return DIRECTORY
        if self._is_uevent(path):
            return _UEVENT
        if self._file(path) is None:
            raise _error(errno.ENOENT)
        if b"/holders/" in path:
            return _LINK
        return Attributes(stat.S_IFREG | self._mode(path), size=self._size(path))

    def _size(self, path: bytes) -> int:
        """Files with bytes have a size (add_notes_attrs, add_sect_attrs)."""
        if b"/sections/" in path:
            return _ADDRESS
        return len(encoded(self._file(path) or "")) if b"/notes/" in path else _SIZE

    def _mode(self, path: bytes) -> int:
        if b"/sections/" in path:
            return 0o400
        name, _, parameter = path[1:].decode("utf-8", "replace").partition("/parameters/")
        if not parameter or self._parameters is None:
            return 0o444
        return self._parameters.mode(name, parameter)

    def _is_uevent(self, path: bytes) -> bool:
        folder, _, name = path.rpartition(b"/")
        return name == b"uevent" and folder.count(b"/") == 1 and self._names(folder) is not None

    def text(self, path: bytes) -> None:
        """All files of sysfs are said to have one page."""

    def readlink(self, path: bytes) -> bytes:
        if b"/holders/" not in path:
            raise _error(errno.EINVAL)
        return b"../../" + path.rpartition(b"/")[2]

    def names(self, path: bytes) -> Iterable[bytes]:
        return [name.encode() for name in sorted(self._names(path) or ())]

    def open_file(self, path: bytes, flags: int = os.O_RDONLY) -> Opened:
        """OSError: EACCES, even root, against the file's mode (kernfs_fop_open)."""
        mode = stat.S_IMODE(self.getattr(path).mode)
        for needed, forbidden in ((0o444, os.O_WRONLY), (0o222, os.O_RDONLY)):
            if flags & os.O_ACCMODE != forbidden and not mode & needed:
                raise _error(errno.EACCES)
        if self._is_uevent(path):
            return Uevent(partial(self._send, os.fsdecode(path.split(b"/")[1])))
        text = self._file(path)
        if text is None:
            raise _error(errno.ENOENT)
        name, _, parameter = path[1:].decode("utf-8", "replace").partition("/parameters/")
        if parameter and self._parameters is not None:
            return ParameterFile(lambda: text, partial(self._parameters.set, name, parameter))
        return TextFile(lambda: text)
