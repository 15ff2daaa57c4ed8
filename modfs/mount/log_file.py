"""The server's log file, in a folder that others may write to as well."""

from __future__ import annotations

import errno
import os
import stat

# O_NONBLOCK: nobody need be at the other end of a pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def open_log(path: str) -> int:
    """A descriptor to append to ``path``, which is made with mode 0600.

    What others could have put there is refused, so that nothing is written where they want it and
    nobody reads along: a symbolic link (ELOOP); a file of another user, other than root (EPERM); a
    file with a second name (EMLINK); what is neither a file nor a device (EINVAL). OSError also
    where open(2) fails.
    """
    descriptor = os.open(path, _FLAGS | os.O_CLOEXEC, 0o600)
    if number := _refused(os.fstat(descriptor)):
        os.close(descriptor)
        raise OSError(number, os.strerror(number))
    os.set_blocking(descriptor, True)
    return descriptor


def _refused(status: os.stat_result) -> int:
    if status.st_uid not in (0, os.geteuid()):
        return errno.EPERM
    if stat.S_ISREG(status.st_mode):
        return errno.EMLINK if status.st_nlink != 1 else 0
    return 0 if stat.S_ISCHR(status.st_mode) else errno.EINVAL
