"""What is mounted where, and fusermount."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from loader.errors import UserError
from modfs.fuse.files import INSTALL_FUSE

FS_TYPE = "fuse.modfs"
SERVER = ".control/server"  # holds the process number of the server


# -- what is mounted where ------------------------------------------------------------------------


def mounted_type(mountpoint: str) -> str | None:
    """The type of the file system mounted exactly there, None if there is none."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if place == mountpoint:
            found = fields[fields.index("-") + 1]
    return found


def is_dead(mountpoint: str) -> bool:
    """Mounted, but its server is gone: only opening a file tells."""
    try:
        os.close(os.open(f"{mountpoint}/{SERVER}", os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def fusermount(*arguments: str) -> str:
    """Run fusermount; what it complained about."""
    import shutil  # a mount that goes well needs neither
    import subprocess

    program = shutil.which("fusermount") or shutil.which("fusermount3")
    if program is None:
        raise UserError(f"fusermount is missing: {INSTALL_FUSE}")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


# -- unmounting -----------------------------------------------------------------------------------


def umount_lazily(mountpoint: str) -> None:
    """Take a mount away, also from under open files and from a server that is dead. UserError."""
    if mounted_type(mountpoint) == FS_TYPE and (problem := fusermount("-u", "-z", mountpoint)):
        raise UserError(f"{mountpoint}: {problem}")
