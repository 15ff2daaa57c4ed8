"""Unmounting: whoever waits in a request is let go, and no process but the server is touched.

A number in a file of the mount proves nothing: anybody's file system can hold any number, and the
number of a process is another one in each namespace. So the server is asked through the mount, by
a file that has it end when it is read: that reaches whoever serves this mount, and nobody else. If
nothing comes of that, the kernel is asked who serves it, and the connection is cut. All that is
done by force only: what is in use is left alone, as umount(8) does.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from pathlib import Path

from loader.errors import UserError
from modfs.linux import setgroups_of_thread
from modfs.mount.aside import ANSWER_SECONDS, Silent, aside
from modfs.mount.connection import abort, servers
from modfs.mount.ending import END_SECONDS
from modfs.mount.holders import holders
from modfs.mount.mountinfo import (
    DEAD,
    END,
    ENDING,
    FS_TYPE,
    SERVER,
    Mount,
    find,
    mount_number,
    mounts,
    umount_idle,
    umount_lazily,
)

_SHOWN = 5  # of those who use it


class BusyError(UserError):
    """Somebody uses the mount."""


def umount(path: str) -> str:
    """Unmount what nobody uses. BusyError: somebody does; UserError: it cannot be done.

    What it answers is to be told: "" where the server ended as it should.
    """
    mount = _mounted(path)
    if umount_idle(mount.place):
        return ""
    if _is_dead(mount):
        umount_lazily(mount.place)
        return ""
    raise BusyError(_busy(path, mount))


def umount_at_once(path: str) -> str:
    """Take it out of the tree now; its server ends when the last who uses it is gone. UserError."""
    umount_lazily(_mounted(path).place)
    return ""


def umount_by_force(path: str) -> str:
    """End the server; whoever waits in a request is let go with ENOTCONN. UserError.

    What it answers is to be told: "" where the server ended as it should.
    """
    mount = _mounted(path)
    since = time.monotonic()
    try:
        _ask(mount)
    except Silent:
        return f"{path}: {_force(mount, 'its server does not answer', wait=False)}"
    except OSError as error:
        if error.errno in DEAD:
            umount_lazily(mount.place)
            return ""
        return f"{path}: {_force(mount, 'it is served by something else', wait=True)}"
    if not _gone(mount, END_SECONDS + ANSWER_SECONDS):
        return f"{path}: {_force(mount, 'its server does not end', wait=False)}"
    if time.monotonic() - since < END_SECONDS:
        return ""
    return f"{path}: its server was busy, and has ended in the middle of its work"


def _mounted(path: str) -> Mount:
    try:
        _, mount = find(path)
    except OSError:
        mount = None
    except Silent:
        raise UserError(f"{path}: somebody who serves a part of this path is silent") from None
    if mount is None or mount.type != FS_TYPE:
        raise UserError(f"{path}: modfs is not mounted here")
    if os.geteuid() not in (0, mount.user()[0]):
        raise UserError(f"{path}: mounted by another user")
    return mount


def _is_dead(mount: Mount) -> bool:
    """Its server has gone, so that nobody can be served there any more."""

    def look() -> None:
        Path(mount.place, SERVER).read_bytes()

    try:
        aside(look)
    except OSError as error:
        return error.errno in DEAD
    except Silent:
        pass
    return False


def _busy(path: str, mount: Mount) -> str:
    found = holders(mount)
    shown = ", ".join(map(str, found[:_SHOWN])) or "somebody who cannot be seen from here"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{path}: in use by {shown}{more}; --force ends all that, --lazy waits for it"


# -- by the server ---------------------------------------------------------------------------------


def _ask(mount: Mount) -> None:
    """Have the server end. OSError: it was not told; Silent: perhaps it was."""

    def read() -> None:
        root = os.open(mount.place, os.O_PATH)
        if mount_number(root) != mount.number:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        _become(mount)
        if os.read(os.open(END, os.O_RDONLY, dir_fd=root), 100) != ENDING:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    aside(read)


def _become(mount: Mount) -> None:
    """Root becomes who mounted it: FUSE lets nobody else in, root or not."""
    uid, gid = mount.user()
    if os.geteuid() == 0 and uid > 0 and gid >= 0:
        setgroups_of_thread([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _gone(mount: Mount, seconds: float) -> bool:
    """Wait until the mount is gone, but not longer than that."""
    end = time.monotonic() + seconds
    with Path("/proc/self/mountinfo").open("rb") as table:
        poll = select.poll()
        poll.register(table, select.POLLPRI)  # proc(5): there when anything is mounted or unmounted
        while any(row[:2] == mount[:2] for row in mounts()):
            left = end - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    return True


# -- without it ------------------------------------------------------------------------------------


def _force(mount: Mount, why: str, wait: bool) -> str:
    """End what certainly serves the mount, cut its connection, take it away; what was done.

    ``wait``: the server gets time to end by itself.
    """
    ended = []
    for server in servers(mount):
        if wait:
            server.send(signal.SIGTERM)
        if not (wait and server.ended(END_SECONDS)):
            server.send(signal.SIGKILL)
            server.ended(1.0)
        ended.append(str(server.number))
        server.close()
    cut = abort(mount)
    umount_lazily(mount.place)
    if ended:
        return f"{why}: ended process {', '.join(ended)} and unmounted"
    if cut:
        return f"{why}: cut its connection and unmounted; no process was touched"
    return f"{why}: unmounted; no process was touched, and who waits in it may wait on"
