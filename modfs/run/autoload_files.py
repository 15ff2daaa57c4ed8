"""Calls that name a file system, a device or a program, and so may have the kernel ask for one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from stat import S_ISBLK, S_ISCHR
from typing import TYPE_CHECKING

from loader.calls import Caller
from loader.engine import askers
from loader.engine.askers import Ask
from loader.engine.exec import binfmt_string
from modfs import linux
from modfs.run import known
from modfs.run.arguments import folder, text
from modfs.run.glance import Number, glance
from modfs.run.scout import Order, Scout
from modfs.run.seccomp import Notification, read_string

if TYPE_CHECKING:
    from modfs.run.autoload import Autoload

_PAGE, _PATH_MAX = 4096, 4096
_MS_MGC_MSK, _MS_MGC_VAL = 0xFFFF0000, 0xC0ED0000
# MS_MOVE, and MS_UNBINDABLE to MS_SHARED: of mounts that are there; MS_NOUSER.
_NO_NEW_MOUNT = linux.MS_REMOUNT | linux.MS_BIND | 0x2000 | 0xF << 17 | 1 << 31
_ACCESS = (os.R_OK, os.W_OK, os.R_OK | os.W_OK, os.R_OK | os.W_OK)  # by O_ACCMODE
_AT_EMPTY_PATH, _AT_SYMLINK_NOFOLLOW = 0x1000, 0x100


class FileCalls:
    """Looks at these calls."""

    def __init__(self, autoload: Autoload, scout: Scout) -> None:
        self._autoload = autoload
        self._scout = scout
        self.looks: dict[str, Callable[[Notification, Caller], None]] = {
            "mount": self._mount,
            "fsopen": self._fsopen,
            "open": self._open,
            "creat": self._creat,
            "openat": self._openat,
            "openat2": self._openat2,
            "execve": self._execve,
            "execveat": self._execveat,
        }

    # -- file systems -----------------------------------------------------------------------------

    def _mount(self, call: Notification, caller: Caller) -> None:
        _, target, kind, flags, *_ = call.arguments
        flags &= 0xFFFFFFFF
        if flags & _MS_MGC_MSK == _MS_MGC_VAL:
            flags &= ~_MS_MGC_MSK
        path = read_string(call.tid, target, _PATH_MAX)
        if not flags & _NO_NEW_MOUNT and path and kind:
            found = partial(self._scout.look, Order(call.tid, path))
            self._file_system(call.tid, kind, caller, lambda: found() is not None)

    def _fsopen(self, call: Notification, caller: Caller) -> None:
        name, flags, *_ = call.arguments
        if not flags & 0xFFFFFFFE:  # FSOPEN_CLOEXEC
            self._file_system(call.tid, name, caller, lambda: True)

    def _file_system(
        self, tid: int, address: int, caller: Caller, comes_so_far: Callable[[], bool]
    ) -> None:
        data = read_string(tid, address, _PAGE)
        if data is None or len(data) >= _PAGE or not _may_mount(tid):
            return
        name = text(data)
        if not known.has_filesystem(name.partition(".")[0]) and comes_so_far():
            self._autoload.get_fs_type(name, caller)

    # -- devices ----------------------------------------------------------------------------------

    def _open(self, call: Notification, caller: Caller) -> None:
        self._device(call.tid, None, call.arguments[0], call.arguments[1], caller)

    def _creat(self, call: Notification, caller: Caller) -> None:
        self._device(call.tid, None, call.arguments[0], os.O_WRONLY, caller)

    def _openat(self, call: Notification, caller: Caller) -> None:
        place, path, flags, *_ = call.arguments
        self._device(call.tid, folder(place), path, flags, caller)

    def _openat2(self, call: Notification, caller: Caller) -> None:
        place, path, how, *_ = call.arguments
        data = linux.memory_of_thread(call.tid, how, 8)
        if data is not None:
            flags = int.from_bytes(data, "little")
            if not flags & (os.O_PATH | os.O_DIRECTORY):
                self._device(call.tid, folder(place), path, flags, caller)

    def _device(
        self, tid: int, place: int | None, address: int, flags: int, caller: Caller
    ) -> None:
        path = read_string(tid, address, _PATH_MAX)
        if not path:
            return
        follow = not flags & os.O_NOFOLLOW
        known_of_it = glance(tid, path, place, follow)
        if known_of_it is not None and not _driver_is_asked_for(known_of_it):
            return
        access = _ACCESS[flags & os.O_ACCMODE]
        seen = self._scout.look(Order(tid, path, place, follow, access))
        if seen is not None:
            asks = _driver_is_asked_for(Number(seen.mode, seen.major, seen.minor))
            self._autoload.ask(asks, caller)

    # -- programs ---------------------------------------------------------------------------------

    def _execve(self, call: Notification, caller: Caller) -> None:
        self._program(call.tid, None, call.arguments[0], 0, caller)

    def _execveat(self, call: Notification, caller: Caller) -> None:
        place, path, _, _, flags, *_ = call.arguments
        self._program(call.tid, folder(place), path, flags, caller)

    def _program(
        self, tid: int, place: int | None, address: int, flags: int, caller: Caller
    ) -> None:
        path = read_string(tid, address, _PATH_MAX)
        if not path and place is not None and flags & _AT_EMPTY_PATH:
            path, place = b"/proc/%d/fd/%d" % (tid, place), None
        if not path:
            return
        follow = not flags & _AT_SYMLINK_NOFOLLOW
        seen = self._scout.look(Order(tid, path, place, follow, os.X_OK))
        if seen is not None and seen.head and not known.has_format(seen.head, seen.name):
            self._autoload.ask(askers.search_binary_handler(binfmt_string(seen.head)), caller)


def _driver_is_asked_for(device: Number) -> list[Ask]:
    """Nothing, if there is one, or it is no device."""
    mode, *number = device
    if S_ISCHR(mode) and not known.has_character_device(*number):
        misc = device.major == known.MISC_MAJOR
        return askers.misc_open(device.minor) if misc else askers.base_probe(*number)
    if S_ISBLK(mode) and not known.has_block_device(*number):
        return askers.blk_request_module(*number)
    return []


def _may_mount(tid: int) -> bool:
    """CAP_SYS_ADMIN: in the user namespace of its mounts, which is its own or it has none."""
    try:
        return bool(linux.effective_capabilities(tid) >> linux.CAP_SYS_ADMIN & 1)
    except OSError:
        return False
