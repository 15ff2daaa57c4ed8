"""What is mounted where, without a question to whoever serves it; and fusermount."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import NamedTuple

from loader.errors import UserError, in_words
from modfs.fuse.missing import install_fuse
from modfs.linux import MNT_DETACH, UMOUNT_NOFOLLOW, failure, libc
from modfs.mount.aside import Silent, aside

FS_TYPE = "fuse.modfs"
SERVER = ".control/server"  # holds the process number of the server, in its own namespace
END = ".control/end"  # whoever reads it has the server end, as by SIGTERM
STATUS = ".control/status"  # what the server says of itself (modfs.mount.status)
ENDING = b"ending\n"  # what END holds
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)  # what a mount says whose server is gone
_FUSERMOUNT_SECONDS = 20.0


# -- what is mounted where ------------------------------------------------------------------------


class Mount(NamedTuple):
    """One row of /proc/self/mountinfo.

    ``device``: MAJOR:MINOR of the file system; the minor is the number of a FUSE connection
    (fuse_ctl_add_conn). ``options``: those of the file system.
    """

    number: int
    device: str
    place: str
    type: str
    options: str

    @property
    def connection(self) -> int:
        """The number of its FUSE connection."""
        return int(self.device.partition(":")[2])

    def user(self) -> tuple[int, int]:
        """(uid, gid) of who mounted it, as FUSE tells; (-1, -1) where it does not."""
        found = dict(re.findall(r"\b(user_id|group_id)=(\d+)", self.options))
        return int(found.get("user_id", -1)), int(found.get("group_id", -1))


def mounts() -> tuple[Mount, ...]:
    """All that this process can see, the one on top of others last."""
    rows = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).split("\n")
    return tuple(_mount(row.split(" ")) for row in rows if row)


def _mount(fields: list[str]) -> Mount:
    place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
    after = fields.index("-", 6)
    return Mount(int(fields[0]), fields[2], place, fields[after + 1], fields[after + 3])


def top_mount(place: str) -> Mount | None:
    """What is mounted exactly there, None if nothing is."""
    return next((mount for mount in reversed(mounts()) if mount.place == place), None)


def mounted_type(place: str) -> str | None:
    """The type of the file system mounted exactly there, None if there is none."""
    found = top_mount(place)
    return found.type if found else None


def find(path: str) -> tuple[str, Mount | None]:
    """The real path of ``path``, and what is mounted exactly there.

    OSError: there is no such file; Silent: somebody who serves a part of the path is.
    """
    real, number = aside(lambda: _real_path(path))
    return real, next((row for row in mounts() if (row.number, row.place) == (number, real)), None)


def _real_path(path: str) -> tuple[str, int]:
    """And the number of the mount: both known to the kernel, which asks no server for O_PATH."""
    fd = os.open(path, os.O_PATH)
    try:
        return os.readlink(f"/proc/self/fd/{fd}"), mount_number(fd)
    finally:
        os.close(fd)


def mount_number(fd: int) -> int:
    """Which mount an open file is in."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))


def fusermount(*arguments: str) -> str:
    """Run fusermount; what it complained about. UserError: there is none."""
    import shutil  # a mount that goes well needs neither
    import subprocess

    program = shutil.which("fusermount") or shutil.which("fusermount3")
    if program is None:
        raise UserError(f"fusermount is missing: {install_fuse()}")
    process = subprocess.Popen([program, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        said = process.communicate(timeout=_FUSERMOUNT_SECONDS)[1]
    except subprocess.TimeoutExpired:  # it has root's rights, so that we may not be able to end it
        return "fusermount does not come back"
    return said.strip() if process.returncode else ""


# -- unmounting -----------------------------------------------------------------------------------


def umount_idle(place: str) -> bool:
    """Take a mount away; False: it is in use. UserError: it cannot be done."""
    problem = _umount(place, lazy=False)
    if os.strerror(errno.EBUSY) in problem:
        return False
    if problem:
        raise UserError(f"{place}: {problem}")
    return True


def umount_lazily(place: str) -> None:
    """Take a mount away, also from under open files and from a server that is dead. UserError."""
    if mounted_type(place) == FS_TYPE and (problem := _umount(place, lazy=True)):
        raise UserError(f"{place}: {problem}")


def _umount(place: str, lazy: bool) -> str:
    """What stands in the way, "" if it is done. Root needs no fusermount, which may be missing."""
    if os.geteuid() == 0:
        try:
            aside(lambda: _umount2(place, MNT_DETACH if lazy else 0))
            return ""
        except OSError as error:
            if error.errno != errno.EPERM:  # root of a user namespace that did not mount it
                return os.strerror(errno.EBUSY) if error.errno == errno.EBUSY else in_words(error)
        except Silent:
            return "the unmounting does not end"
    return fusermount("-u", *(["-z"] if lazy else []), place)


def _umount2(place: str, flags: int) -> None:
    if libc.umount2(os.fsencode(place), flags | UMOUNT_NOFOLLOW):
        raise failure()
