"""Open files of the mount that set something of the kernel's."""

from __future__ import annotations

from loader.engine.settings import Setting
from modfs.mount.control_file import TextFile


class SettingFile(TextFile):
    """A file of /proc/sys or of a module's parameters."""

    __slots__ = ("_setting", "_written")

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting.read)
        self._setting = setting
        self._written = 0  # bytes

    def write(self, data: bytes) -> int:
        """Set it. OSError: the kernel's errno, such as EINVAL."""
        self._setting.write(data, self._written)
        self._written += len(data)
        return len(data)
